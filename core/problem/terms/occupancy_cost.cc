#include "core/problem/terms/occupancy_cost.h"

#include "core/base/floating_point.h"

namespace bilevel {

OccupancyHorizon HorizonOf(const std::optional<double>& discount, const Vector& initial, const TermInput& input) {
  const bool own_initial = initial.size() != 0;
  return {discount.value_or(input.discount), own_initial ? initial : input.mdp.initial_distribution(),
          !discount.has_value(), !own_initial};
}

void FinishOccupancyTerm(const TermInput& input, const OccupancyHorizon& horizon, const TermValue* near,
                         TermValue& term) {
  term.policy_value =
      EvaluatePolicy(input.policy(), horizon.gamma, term.cost, near == nullptr ? nullptr : &near->policy_value);
  const Vector& visits = term.occupancy.visits;
  term.y = visits.cwiseProduct(term.policy_value.advantage);
  if (!input.environment_moves) return;
  term.direct.environment.row = horizon.gamma * visits;
  term.direct.environment.column = term.policy_value.value;
  if (horizon.follows_environment) term.direct.environment.initial = term.policy_value.value;
}

TermRadius BoundOccupancyTerm(const TermInput& input, const OccupancyHorizon& horizon, const TermValue& term,
                              const FollowerError& error, const OccupancyRadius& occupancy, const Vector& cost_radius,
                              Majorant& majorant) {
  const TabularMdp& mdp = input.mdp;
  const Vector visits = term.occupancy.visits.cwiseAbs();
  const Vector abs_advantage = term.policy_value.advantage.cwiseAbs();
  const Vector abs_value = term.policy_value.value.cwiseAbs();
  const PolicyValueRadius value_radius =
      BoundPolicyValue(input.policy(), horizon.gamma, term.cost, cost_radius, term.policy_value, error, majorant);

  TermRadius radius;
  radius.value = horizon.rho.dot(value_radius.value) +
                 (mdp.num_states() + 4.0 + mdp.probability_rounding()) * kUnitRoundoff * horizon.rho.dot(abs_value);
  // yc = d pi (Q_c - V_c), up to the residual of V_c, which enters through the advantage.
  radius.centered_y = occupancy.visits.cwiseProduct(abs_advantage + value_radius.advantage) +
                      visits.cwiseProduct(value_radius.advantage) +
                      visits.cwiseProduct(RepeatForActions(mdp, term.policy_value.residual.cwiseAbs())) +
                      8 * kUnitRoundoff *
                          (visits.cwiseProduct(RepeatForActions(mdp, abs_value)) +
                           (mdp.num_actions() + 1.0) * visits.cwiseProduct(abs_advantage));
  if (occupancy.mass > 0) {
    radius.centered_y_mass = occupancy.mass * (abs_advantage + value_radius.advantage).maxCoeff<Eigen::PropagateNaN>();
  }
  if (!input.environment_moves) return radius;
  radius.direct.environment.row = horizon.gamma * (occupancy.visits + 2 * kUnitRoundoff * visits);
  radius.direct.environment.column = value_radius.value;
  if (horizon.follows_environment) radius.direct.environment.initial = value_radius.value;
  return radius;
}

PolicyDirection DirectionOf(const OccupancyHorizon& horizon, const TermTangentInput& tangent) {
  return {tangent.pi, tangent.transitions, horizon.follows_context ? tangent.discount : 0.0};
}

TermTangent DifferentiateOccupancyTerm(const TermInput& input, const OccupancyHorizon& horizon, const TermValue& term,
                                       const TermTangentInput& tangent, const OccupancyTangent& occupancy,
                                       const Vector& cost_tangent) {
  const PolicyDirection direction = DirectionOf(horizon, tangent);
  const PolicyValueTangent value =
      DifferentiatePolicyValue(input.policy(), horizon.gamma, term.policy_value, direction, cost_tangent);
  TermTangent result;
  result.y =
      occupancy.visits.cwiseProduct(term.policy_value.advantage) + term.occupancy.visits.cwiseProduct(value.advantage);
  if (!input.environment_moves) return result;
  result.direct.environment.row = horizon.gamma * occupancy.visits + direction.discount * term.occupancy.visits;
  result.direct.environment.column = value.value;
  if (horizon.follows_environment) result.direct.environment.initial = value.value;
  return result;
}

HorizonMajorant::HorizonMajorant(const TermInput& input, const OccupancyHorizon& horizon, const TermErrorInput& errors)
    : follower_(errors.majorant) {
  if (follower_.gamma() != horizon.gamma) {
    own_.emplace(input.mdp, input.system, horizon.gamma, errors.error.kappa, input.interrupt, errors.majorant.effort());
  }
}

}  // namespace bilevel
