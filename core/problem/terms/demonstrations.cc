#include "core/problem/terms/demonstrations.h"

#include "core/base/floating_point.h"

namespace bilevel {

TermValue EvaluateTerm(const Demonstrations& term, const TermInput& input, const TermValue* /*near*/) {
  TermValue result;
  result.value = -term.shares.dot(input.backup.log_pi);
  result.y = -term.shares;
  return result;
}

TermRadius BoundTermError(const Demonstrations& term, const TermInput& input, const TermValue& value,
                          const TermErrorInput& errors) {
  const TabularMdp& mdp = input.mdp;
  const Vector visits = RepeatForActions(mdp, SumOverActions(mdp, term.shares));
  TermRadius radius;
  radius.value = term.shares.dot(errors.error.log_pi_radius) +
                 (static_cast<double>(mdp.num_rows()) + 4) * kUnitRoundoff * value.value;
  // yc = pi visits - shares.
  radius.centered_y = errors.error.pi_radius.cwiseProduct(visits) +
                      (mdp.num_actions() + 4.0) * kUnitRoundoff * (term.shares + input.pi().cwiseProduct(visits));
  return radius;
}

TermTangent DifferentiateTerm(const Demonstrations& term, const TermInput& /*input*/, const TermValue& /*value*/,
                              const TermTangentInput& /*tangent*/) {
  TermTangent result;
  result.y = Vector::Zero(term.shares.size());
  return result;
}

}  // namespace bilevel
