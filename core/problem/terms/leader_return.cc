#include "core/problem/terms/leader_return.h"

#include "core/problem/terms/occupancy_cost.h"

namespace bilevel {

TermValue EvaluateTerm(const LeaderReturn& term, const TermInput& input, const TermValue* near) {
  const OccupancyHorizon horizon = HorizonOf(term.discount, term.initial, input);
  TermValue result;
  result.cost = term.reward.Evaluate(input.x, input.theta);
  result.occupancy =
      EvaluateOccupancy(input.policy(), horizon.gamma, horizon.rho, near == nullptr ? nullptr : &near->occupancy);
  FinishOccupancyTerm(input, horizon, near, result);
  result.value = horizon.rho.dot(result.policy_value.value);
  if (term.reward.depends_on_parameters()) result.direct.reward = result.occupancy.visits;
  return result;
}

TermRadius BoundTermError(const LeaderReturn& term, const TermInput& input, const TermValue& value,
                          const TermErrorInput& errors) {
  const OccupancyHorizon horizon = HorizonOf(term.discount, term.initial, input);
  HorizonMajorant majorant(input, horizon, errors);
  const OccupancyRadius occupancy =
      BoundOccupancy(input.policy(), horizon.gamma, horizon.rho, value.occupancy, errors.error, majorant.get());
  TermRadius radius =
      BoundOccupancyTerm(input, horizon, value, errors.error, occupancy,
                         term.reward.BoundRounding(input.x, input.theta, errors.theta_rounding), majorant.get());
  if (value.direct.reward.size() != 0) {
    radius.direct.reward = occupancy.visits;
    radius.direct_reward_mass = occupancy.mass;
  }
  return radius;
}

TermTangent DifferentiateTerm(const LeaderReturn& term, const TermInput& input, const TermValue& value,
                              const TermTangentInput& tangent) {
  const OccupancyHorizon horizon = HorizonOf(term.discount, term.initial, input);
  const OccupancyTangent occupancy =
      DifferentiateOccupancy(input.policy(), horizon.gamma, value.occupancy, DirectionOf(horizon, tangent),
                             horizon.follows_environment ? tangent.initial : Vector());
  TermTangent result = DifferentiateOccupancyTerm(input, horizon, value, tangent, occupancy,
                                                  term.reward.Pushforward(input.x, tangent.x, tangent.theta));
  if (term.reward.depends_on_parameters()) result.direct.reward = occupancy.visits;
  return result;
}

}  // namespace bilevel
