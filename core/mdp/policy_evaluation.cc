#include "core/mdp/policy_evaluation.h"

#include "core/base/floating_point.h"
#include "core/mdp/soft_bellman.h"

namespace bilevel {

PolicyValue EvaluatePolicy(const PolicyInput& input, double gamma, const Vector& c, const PolicyValue* near) {
  const TabularMdp& mdp = input.mdp;
  const Vector expected = SumOverActions(mdp, input.pi.cwiseProduct(c));
  PolicyValue result;
  result.value = near == nullptr ? Vector::Zero(mdp.num_states()) : near->value;
  input.system.Solve(gamma, expected, input.tolerance * expected.lpNorm<Eigen::Infinity>(), input.interrupt,
                     result.value);
  result.advantage =
      c + gamma * mdp.ExpectNext(result.value, input.system.parallel_for()) - RepeatForActions(mdp, result.value);
  result.residual = SumOverActions(mdp, input.pi.cwiseProduct(result.advantage));
  return result;
}

Occupancy EvaluateOccupancy(const PolicyInput& input, double gamma, const Vector& rho, const Occupancy* near) {
  const TabularMdp& mdp = input.mdp;
  Occupancy result;
  result.states = near == nullptr ? Vector::Zero(mdp.num_states()) : near->states;
  input.system.SolveTransposed(gamma, rho, input.tolerance, input.interrupt, result.states);
  result.visits = input.pi.cwiseProduct(RepeatForActions(mdp, result.states));
  result.residual = rho - result.states + gamma * mdp.PushForward(result.visits, input.system.parallel_for());
  return result;
}

PolicyValueRadius BoundPolicyValue(const PolicyInput& input, double gamma, const Vector& c, const Vector& c_radius,
                                   const PolicyValue& value, const FollowerError& error, Majorant& majorant) {
  const TabularMdp& mdp = input.mdp;
  const Vector abs_value = value.value.cwiseAbs(), abs_advantage = value.advantage.cwiseAbs();
  // Rounding of c + gamma P V_c - V_c, entry by entry.
  const Vector q_radius = (mdp.row_steps() + 6.0) * kUnitRoundoff *
                              (c.cwiseAbs() + gamma * mdp.ExpectNext(abs_value, input.system.parallel_for()) +
                               RepeatForActions(mdp, abs_value)) +
                          c_radius;
  // (I - gamma P^pi') (V_c' - V_c) = residual + sum_a (pi' - pi) (Q_c - V_c) + sum_a pi' (c' - c), exact ones with '.
  const Vector gap =
      value.residual.cwiseAbs() +
      SumOverActions(
          mdp,
          error.pi_radius.cwiseProduct(abs_advantage) +
              (input.pi + error.pi_radius).cwiseProduct(q_radius + mdp.num_actions() * kUnitRoundoff * abs_advantage));
  PolicyValueRadius radius;
  radius.value = majorant.Bound(gap);
  radius.advantage = gamma * mdp.ExpectNext(radius.value, input.system.parallel_for()) +
                     RepeatForActions(mdp, radius.value) + q_radius;
  return radius;
}

OccupancyRadius BoundOccupancy(const PolicyInput& input, double gamma, const Vector& rho, const Occupancy& occupancy,
                               const FollowerError& error, Majorant& majorant) {
  const TabularMdp& mdp = input.mdp;
  // (I - gamma P^pi')^T (d' - d) = residual + gamma P^T ((pi' - pi) d).
  const Vector d = RepeatForActions(mdp, occupancy.states.cwiseAbs());
  const Vector visits = occupancy.visits.cwiseAbs();
  const double steps = input.system.column_steps() * mdp.num_actions() + 8.0;
  const Vector gap =
      occupancy.residual.cwiseAbs() +
      gamma * mdp.PushForward(error.pi_radius.cwiseProduct(d), input.system.parallel_for()) +
      steps * kUnitRoundoff *
          (occupancy.states.cwiseAbs() + rho + gamma * mdp.PushForward(visits, input.system.parallel_for()));
  OccupancyRadius radius;
  if (majorant.effort() == Majorant::Effort::kNorms) {
    radius.states = Vector::Zero(gap.size());
    radius.mass = majorant.BoundSum(gap.sum());
  } else {
    radius.states = majorant.BoundTransposed(gap);
  }
  radius.visits = RepeatForActions(mdp, radius.states).cwiseProduct(input.pi + error.pi_radius) +
                  d.cwiseProduct(error.pi_radius) + 4 * kUnitRoundoff * visits;
  return radius;
}

PolicyValueTangent DifferentiatePolicyValue(const PolicyInput& input, double gamma, const PolicyValue& value,
                                            const PolicyDirection& direction, const Vector& c_tangent) {
  const TabularMdp& mdp = input.mdp;
  PolicyValueTangent result;
  // Of Q_c at fixed V_c.
  Vector q = c_tangent;
  if (direction.discount != 0) q += direction.discount * mdp.ExpectNext(value.value, input.system.parallel_for());
  if (!direction.transitions.empty()) q += gamma * mdp.ExpectNext(direction.transitions, value.value);
  const Vector b = SumOverActions(mdp, direction.pi.cwiseProduct(value.advantage) + input.pi.cwiseProduct(q));
  result.value = Vector::Zero(mdp.num_states());
  input.system.Solve(gamma, b, input.tolerance * b.lpNorm<Eigen::Infinity>(), input.interrupt, result.value);
  result.advantage =
      q + gamma * mdp.ExpectNext(result.value, input.system.parallel_for()) - RepeatForActions(mdp, result.value);
  return result;
}

OccupancyTangent DifferentiateOccupancy(const PolicyInput& input, double gamma, const Occupancy& occupancy,
                                        const PolicyDirection& direction, const Vector& rho_tangent) {
  const TabularMdp& mdp = input.mdp;
  const Vector moved = direction.pi.cwiseProduct(RepeatForActions(mdp, occupancy.states));
  Vector b = gamma * mdp.PushForward(moved, input.system.parallel_for());
  if (direction.discount != 0) b += direction.discount * mdp.PushForward(occupancy.visits, input.system.parallel_for());
  if (!direction.transitions.empty()) b += gamma * mdp.PushForward(direction.transitions, occupancy.visits);
  if (rho_tangent.size() != 0) b += rho_tangent;
  OccupancyTangent result;
  result.states = Vector::Zero(mdp.num_states());
  input.system.SolveTransposed(gamma, b, input.tolerance * b.lpNorm<1>(), input.interrupt, result.states);
  result.visits = moved + input.pi.cwiseProduct(RepeatForActions(mdp, result.states));
  return result;
}

}  // namespace bilevel
