#include "core/problem/terms/follower_value.h"

#include "core/base/floating_point.h"

namespace bilevel {

TermValue EvaluateTerm(const FollowerValue& term, const TermInput& input, const TermValue* /*near*/) {
  const bool own = term.initial.size() != 0;
  TermValue result;
  result.follower_value = own ? term.initial : input.mdp.initial_distribution();
  result.value = result.follower_value.dot(input.value);
  result.y = Vector::Zero(input.pi().size());
  if (!own && input.environment_moves) result.direct.environment.initial = input.value;
  return result;
}

TermRadius BoundTermError(const FollowerValue& /*term*/, const TermInput& input, const TermValue& value,
                          const TermErrorInput& errors) {
  const Vector value_bound = errors.error.ValueBound();
  const double steps = input.mdp.num_states() + input.mdp.probability_rounding() + 4.0;
  TermRadius radius;
  radius.value = value.follower_value.dot(value_bound + steps * kUnitRoundoff * input.value.cwiseAbs());
  radius.centered_y = Vector::Zero(input.pi().size());
  if (value.direct.environment.initial.size() != 0) radius.direct.environment.initial = value_bound;
  return radius;
}

TermTangent DifferentiateTerm(const FollowerValue& /*term*/, const TermInput& input, const TermValue& value,
                              const TermTangentInput& tangent) {
  TermTangent result;
  result.y = Vector::Zero(input.pi().size());
  if (value.direct.environment.initial.size() != 0) {
    result.follower_value = tangent.initial;
    result.direct.environment.initial = tangent.value;
  }
  return result;
}

}  // namespace bilevel
