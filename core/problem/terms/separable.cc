#include "core/problem/terms/separable.h"

#include <cmath>

namespace bilevel {
namespace {

constexpr double kUnitRoundoff = 0x1p-53;

// dh/dpi, up to a constant in each state, 0 where it is multiplied by pi = 0 anyway. Not for kForwardKl.
Vector Slope(const Separable& term, const TermInput& input) {
  const Vector& log_pi = input.backup.log_pi;
  switch (term.kind) {
    case Separable::Kind::kSquaredDistance:
      return input.pi() - term.target;
    case Separable::Kind::kReverseKl:
      return log_pi - term.target.unaryExpr([](double t) { return t > 0 ? std::log(t) : 0.0; });
    default:
      return -log_pi;
  }
}

// How the slope moves with the policy.
Vector SlopeChange(Separable::Kind kind, const Vector& pi, const Vector& log_pi) {
  if (kind == Separable::Kind::kSquaredDistance) return pi;
  return kind == Separable::Kind::kEntropy ? Vector(-log_pi) : log_pi;
}

// sum_a mu h at fixed slope factors, summed over states.
double Sum(const Separable& term, const TermInput& input, const Vector& mu) {
  const Vector& pi = input.pi();
  switch (term.kind) {
    case Separable::Kind::kSquaredDistance:
      return 0.5 * mu.dot((pi - term.target).cwiseAbs2());
    case Separable::Kind::kForwardKl: {
      const Vector gap = term.target.binaryExpr(
          input.backup.log_pi, [](double t, double log_pi) { return t > 0 ? t * (std::log(t) - log_pi) : 0.0; });
      return mu.dot(gap);
    }
    default:
      return mu.dot(pi.cwiseProduct(Slope(term, input)));
  }
}

}  // namespace

TermValue EvaluateTerm(const Separable& term, const TermInput& input, const TermValue* /*near*/) {
  const Vector mu = RepeatForActions(input.mdp, term.state_weights);
  TermValue result;
  result.value = Sum(term, input, mu);
  result.y = term.kind == Separable::Kind::kForwardKl
                 ? Vector(-mu.cwiseProduct(term.target))
                 : Vector(mu.cwiseProduct(input.pi()).cwiseProduct(Slope(term, input)));
  return result;
}

TermRadius BoundTermError(const Separable& term, const TermInput& input, const TermValue& value,
                          const TermErrorInput& errors) {
  const TabularMdp& mdp = input.mdp;
  const Vector mu = RepeatForActions(mdp, term.state_weights);
  const Vector& pi = input.pi();
  const Vector& change = errors.error.pi_radius;
  const Vector& log_change = errors.error.log_pi_radius;
  const double sums = static_cast<double>(mdp.num_rows()) + 4;
  TermRadius radius;
  if (term.kind == Separable::Kind::kForwardKl) {
    const Vector visits = RepeatForActions(mdp, SumOverActions(mdp, term.target));
    const Vector size = term.target.cwiseProduct(input.backup.log_pi.cwiseAbs());
    radius.value = mu.dot(term.target.cwiseProduct(log_change)) + sums * kUnitRoundoff * (mu.dot(size) + value.value);
    // yc = mu (pi visits - t).
    radius.centered_y = mu.cwiseProduct(visits.cwiseProduct(change) + (mdp.num_actions() + 4.0) * kUnitRoundoff *
                                                                          (term.target + pi.cwiseProduct(visits)));
    return radius;
  }
  const bool squared = term.kind == Separable::Kind::kSquaredDistance;
  const Vector slope = Slope(term, input);
  const Vector abs_slope = slope.cwiseAbs();
  const Vector slope_radius =
      squared ? Vector(change + kUnitRoundoff * abs_slope)
              : Vector(log_change + 4 * kUnitRoundoff * (abs_slope + input.backup.log_pi.cwiseAbs()));
  radius.value = squared ? mu.dot(change.cwiseProduct(abs_slope + 0.5 * change))
                         : mu.dot(change.cwiseProduct(abs_slope) + (pi + change).cwiseProduct(slope_radius));
  radius.value += sums * kUnitRoundoff * (squared ? value.value : mu.dot(pi.cwiseProduct(abs_slope)));
  const Vector abs_y = value.y.cwiseAbs();
  radius.centered_y = mu.cwiseProduct(CenteredRadius(mdp, pi, change, slope, slope_radius)) +
                      (mdp.num_actions() + 8.0) * kUnitRoundoff *
                          (abs_y + pi.cwiseProduct(RepeatForActions(mdp, SumOverActions(mdp, abs_y))));
  return radius;
}

TermTangent DifferentiateTerm(const Separable& term, const TermInput& input, const TermValue& value,
                              const TermTangentInput& tangent) {
  TermTangent result;
  if (term.kind == Separable::Kind::kForwardKl) {
    result.y = Vector::Zero(value.y.size());
    return result;
  }
  const Vector mu = RepeatForActions(input.mdp, term.state_weights);
  result.y = mu.cwiseProduct(tangent.pi.cwiseProduct(Slope(term, input)) +
                             input.pi().cwiseProduct(SlopeChange(term.kind, tangent.pi, tangent.log_pi)));
  return result;
}

}  // namespace bilevel
