#include "core/problem/leader_return.h"

#include <optional>

#include "core/mdp/soft_bellman.h"

namespace bilevel {
namespace {

constexpr double kUnitRoundoff = 0x1p-53;

}  // namespace

TermValue EvaluateTerm(const LeaderReturn& term, const TermInput& input, const TermValue* near) {
  const TabularMdp& mdp = input.mdp;
  const double gamma = term.discount;
  PolicySystem& system = input.system;
  const Vector c = term.reward.Evaluate(input.x, input.theta);
  const Vector expected = SumOverActions(mdp, input.pi.cwiseProduct(c));

  TermValue result;
  result.leader_value = near == nullptr ? Vector::Zero(mdp.num_states()) : near->leader_value;
  system.Solve(gamma, expected, input.tolerance * expected.lpNorm<Eigen::Infinity>(), input.interrupt,
               result.leader_value);
  const Vector q = c + gamma * mdp.ExpectNext(result.leader_value);
  result.leader_advantage = q - RepeatForActions(mdp, result.leader_value);
  result.value_residual = SumOverActions(mdp, input.pi.cwiseProduct(result.leader_advantage));

  result.occupancy = near == nullptr ? Vector::Zero(mdp.num_states()) : near->occupancy;
  system.SolveTransposed(gamma, term.initial, input.tolerance, input.interrupt, result.occupancy);
  const Vector visits = input.pi.cwiseProduct(RepeatForActions(mdp, result.occupancy));
  result.occupancy_residual = term.initial - result.occupancy + gamma * mdp.PushForward(visits);

  result.value = term.initial.dot(result.leader_value);
  result.y = visits.cwiseProduct(q);
  if (term.reward.depends_on_parameters()) result.direct_weight = visits;
  return result;
}

TermRadius BoundTermError(const LeaderReturn& term, const TermInput& input, const TermValue& value,
                          const TermErrorInput& errors) {
  const TabularMdp& mdp = input.mdp;
  const double gamma = term.discount;
  const FollowerError& error = errors.error;
  std::optional<Majorant> own;
  if (errors.majorant.gamma() != gamma) own.emplace(mdp, input.system, gamma, error.kappa, input.interrupt);
  Majorant& majorant = own.has_value() ? *own : errors.majorant;
  const Vector abs_value = value.leader_value.cwiseAbs();
  const Vector abs_advantage = value.leader_advantage.cwiseAbs();
  const Vector c = term.reward.Evaluate(input.x, input.theta);

  // Rounding of c + gamma P V_c - V_c, entry by entry.
  const Vector q_rounding = (mdp.max_row_entries() + 6.0) * kUnitRoundoff *
                                (c.cwiseAbs() + gamma * mdp.ExpectNext(abs_value) + RepeatForActions(mdp, abs_value)) +
                            term.reward.BoundRounding(input.x, input.theta, errors.theta_rounding);
  // (I - gamma P^pi') (V_c' - V_c) = residual + sum_a (pi' - pi) (Q_c - V_c), exact quantities with '.
  const Vector value_gap =
      value.value_residual.cwiseAbs() +
      SumOverActions(mdp, error.pi_radius.cwiseProduct(abs_advantage) +
                              (input.pi + error.pi_radius)
                                  .cwiseProduct(q_rounding + mdp.num_actions() * kUnitRoundoff * abs_advantage));
  const Vector value_radius = majorant.Bound(value_gap);

  // (I - gamma P^pi')^T (d' - d) = residual + gamma P^T ((pi' - pi) d).
  const Vector d = RepeatForActions(mdp, value.occupancy.cwiseAbs());
  const Vector visits = input.pi.cwiseProduct(d);
  const double steps = static_cast<double>(input.system.max_column_entries()) * mdp.num_actions() + 8.0;
  const Vector occupancy_gap =
      value.occupancy_residual.cwiseAbs() + gamma * mdp.PushForward(error.pi_radius.cwiseProduct(d)) +
      steps * kUnitRoundoff * (value.occupancy.cwiseAbs() + term.initial + gamma * mdp.PushForward(visits));
  const Vector occupancy_radius = RepeatForActions(mdp, majorant.BoundTransposed(occupancy_gap));

  const Vector advantage_radius =
      gamma * mdp.ExpectNext(value_radius) + RepeatForActions(mdp, value_radius) + q_rounding;
  const Vector pi_high = input.pi + error.pi_radius;

  TermRadius radius;
  radius.value =
      term.initial.dot(value_radius) + (mdp.num_states() + 4.0) * kUnitRoundoff * term.initial.dot(abs_value);
  radius.direct_weight =
      occupancy_radius.cwiseProduct(pi_high) + d.cwiseProduct(error.pi_radius) + 4 * kUnitRoundoff * visits;
  // yc = d pi (Q_c - V_c), up to the residual of V_c, which enters through the advantage.
  const Vector advantage_high = abs_advantage + advantage_radius;
  radius.centered_y = radius.direct_weight.cwiseProduct(advantage_high) + visits.cwiseProduct(advantage_radius) +
                      visits.cwiseProduct(RepeatForActions(mdp, value.value_residual.cwiseAbs())) +
                      8 * kUnitRoundoff *
                          (value.y.cwiseAbs() + visits.cwiseProduct(RepeatForActions(mdp, abs_value)) +
                           mdp.num_actions() * visits.cwiseProduct(abs_advantage));
  if (value.direct_weight.size() == 0) radius.direct_weight.resize(0);
  return radius;
}

}  // namespace bilevel
