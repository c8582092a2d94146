#include "core/problem/separable_quadratic.h"

#include "core/mdp/soft_bellman.h"

namespace bilevel {
namespace {

constexpr double kUnitRoundoff = 0x1p-53;

}  // namespace

TermValue EvaluateTerm(const SeparableQuadratic& term, const TermInput& input, const TermValue* /*near*/) {
  const Vector mu = RepeatForActions(input.mdp, term.state_weights);
  const Vector gap = input.pi - term.target;
  TermValue result;
  result.value = 0.5 * mu.dot(gap.cwiseAbs2());
  result.y = mu.cwiseProduct(input.pi).cwiseProduct(gap);
  return result;
}

TermRadius BoundTermError(const SeparableQuadratic& term, const TermInput& input, const TermValue& value,
                          const TermErrorInput& errors) {
  const TabularMdp& mdp = input.mdp;
  const Vector mu = RepeatForActions(mdp, term.state_weights);
  const Vector& change = errors.error.pi_radius;
  const Vector pi_high = input.pi + change;
  const Vector gap = input.pi - term.target;
  const Vector slope = mu.cwiseProduct(gap);  // df/dpi
  const Vector mean = SumOverActions(mdp, input.pi.cwiseProduct(slope));
  const Vector centered = (slope - RepeatForActions(mdp, mean)).cwiseAbs();
  const Vector slope_change = mu.cwiseProduct(change);
  // yc' = pi' (g' - E' g'), g' = g + dg, and sum_a (pi' - pi) = 0 lets g be centred.
  const Vector mean_change = SumOverActions(mdp, change.cwiseProduct(centered) + pi_high.cwiseProduct(slope_change));

  TermRadius radius;
  radius.value = mu.dot(change.cwiseProduct(gap.cwiseAbs() + 0.5 * change)) +
                 (static_cast<double>(mdp.num_rows()) + 4) * kUnitRoundoff * value.value;
  radius.centered_y =
      change.cwiseProduct(centered) + pi_high.cwiseProduct(slope_change + RepeatForActions(mdp, mean_change)) +
      (mdp.num_actions() + 8.0) * kUnitRoundoff *
          (value.y.cwiseAbs() + input.pi.cwiseProduct(RepeatForActions(mdp, SumOverActions(mdp, value.y.cwiseAbs()))));
  return radius;
}

}  // namespace bilevel
