#include "core/hypergradient/pullback.h"

#include <cmath>
#include <utility>

#include "core/base/floating_point.h"

namespace bilevel {
namespace {

Cotangents AtPolicy(const OutputCotangents& cotangents, const Vector& pi) {
  Cotangents result;
  result.y = cotangents.policy.size() == 0 ? Vector::Zero(pi.size()) : Vector(pi.cwiseProduct(cotangents.policy));
  result.q = cotangents.q;
  result.value = cotangents.value;
  return result;
}

// |yc' - yc| for y = pi o g with fixed g, and the roundings of yc.
Vector BoundCentered(const TabularMdp& mdp, const Vector& pi, const Vector& g, const Vector& pi_radius) {
  if (g.size() == 0) return Vector::Zero(pi.size());
  const Vector size =
      pi.cwiseProduct(g.cwiseAbs() + RepeatForActions(mdp, SumOverActions(mdp, pi.cwiseProduct(g.cwiseAbs()))));
  return CenteredRadius(mdp, pi, pi_radius, g, Vector::Zero(g.size())) +
         (mdp.num_actions() + 8.0) * kUnitRoundoff * size;
}

// The gradients at one answer, and bounds on their distances to those at the exact answer.
struct Evaluation {
  Adjoint adjoint;
  Vector transitions;
  double discount = 0, temperature = 0;
  double reward_radius = 0, transitions_radius = 0, discount_radius = 0, temperature_radius = 0;
};

void AddTemperature(const RegularizedMdp& follower, const Answer& answer, Evaluation& result) {
  // yc is 0 wherever log pi is -infinity.
  const Vector weighted = result.adjoint.centered_y.binaryExpr(answer.backup.log_pi,
                                                               [](double y, double l) { return y == 0 ? 0.0 : y * l; });
  result.temperature =
      (result.adjoint.z.dot(NegativeEntropy(*follower.mdp, answer.backup)) - weighted.sum()) / follower.temperature;
}

void AddTransitions(const RegularizedMdp& follower, const Answer& answer, Evaluation& result) {
  result.transitions = Vector::Zero(static_cast<Eigen::Index>(follower.mdp->num_entries()));
  follower.mdp->ForEachEntry([&](Eigen::Index row, uint64_t entry, uint32_t column, double) {
    result.transitions[static_cast<Eigen::Index>(entry)] =
        follower.discount * result.adjoint.reward_gradient[row] * answer.value[column];
  });
}

Evaluation Evaluate(const RegularizedMdp& follower, const Answer& answer, const OutputCotangents& cotangents,
                    const PullbackOptions& options, const Vector& start, const Interrupt& interrupt,
                    PolicySystem& system) {
  Evaluation result;
  result.adjoint = SolveAdjoint(follower, answer.backup.pi, AtPolicy(cotangents, answer.backup.pi),
                                options.adjoint_tolerance, start, interrupt, system);
  result.discount = result.adjoint.reward_gradient.dot(follower.mdp->ExpectNext(answer.value));
  AddTemperature(follower, answer, result);
  if (options.want_transitions) AddTransitions(follower, answer, result);
  return result;
}

void BoundTemperature(const RegularizedMdp& follower, const SoftBackup& backup, const AdjointError& adjoint_error,
                      const Vector& centered_radius, const FollowerError& error, Evaluation& result) {
  const TabularMdp& mdp = *follower.mdp;
  const Vector entropy = -NegativeEntropy(mdp, backup);
  const Vector abs_log = backup.log_pi.cwiseAbs();
  const Vector entropy_radius =
      SumOverActions(mdp, error.pi_radius.cwiseProduct((backup.log_pi + RepeatForActions(mdp, entropy)).cwiseAbs()) +
                              (backup.pi + error.pi_radius).cwiseProduct(error.log_pi_radius)) +
      (mdp.num_actions() + 4.0) * kUnitRoundoff * entropy;
  const Vector abs_z = result.adjoint.z.cwiseAbs();
  const Vector abs_y = result.adjoint.centered_y.cwiseAbs();
  const double radius = adjoint_error.z.dot(entropy) + (abs_z + adjoint_error.z).dot(entropy_radius) +
                        centered_radius.dot(abs_log) + (abs_y + centered_radius).dot(error.log_pi_radius);
  const double size = abs_z.dot(entropy) + abs_y.dot(abs_log);
  result.temperature_radius =
      (radius + (static_cast<double>(mdp.num_rows()) + 8) * kUnitRoundoff * size) / follower.temperature;
}

void BoundDiscount(const RegularizedMdp& follower, const Answer& answer, const AdjointError& adjoint_error,
                   const Vector& value_bound, Evaluation& result) {
  const TabularMdp& mdp = *follower.mdp;
  const Vector abs_lambda = result.adjoint.reward_gradient.cwiseAbs();
  const Vector reach = mdp.ExpectNext(answer.value.cwiseAbs());
  const double steps = static_cast<double>(mdp.num_rows()) + mdp.row_steps() + 8;
  result.discount_radius = adjoint_error.reward_gradient.dot(reach) +
                           (abs_lambda + adjoint_error.reward_gradient).dot(mdp.ExpectNext(value_bound)) +
                           steps * kUnitRoundoff * abs_lambda.dot(reach);
}

void BoundTransitions(const RegularizedMdp& follower, const Answer& answer, const Vector& lambda_radius,
                      const Vector& value_bound, Evaluation& result) {
  double squares = 0;
  follower.mdp->ForEachEntry([&](Eigen::Index row, uint64_t, uint32_t column, double) {
    const double lambda = std::abs(result.adjoint.reward_gradient[row]), value = std::abs(answer.value[column]);
    const double radius = follower.discount * (lambda_radius[row] * (value + value_bound[column]) +
                                               lambda * value_bound[column] + 4 * kUnitRoundoff * lambda * value);
    squares += radius * radius;
  });
  result.transitions_radius = std::sqrt(squares);
}

// `system` must hold the answer's policy.
void Bound(const RegularizedMdp& follower, const Answer& answer, const FollowerError& error,
           const OutputCotangents& cotangents, const PullbackOptions& options, const Interrupt& interrupt,
           PolicySystem& system, Evaluation& result) {
  const Vector& pi = answer.backup.pi;
  const Vector centered_radius = BoundCentered(*follower.mdp, pi, cotangents.policy, error.pi_radius);
  Majorant majorant(*follower.mdp, system, follower.discount, error.kappa, interrupt);
  const AdjointError adjoint_error = BoundAdjointError(follower, pi, AtPolicy(cotangents, pi), result.adjoint, error,
                                                       centered_radius, 0, majorant, system);
  const Vector value_bound = error.ValueBound();
  result.reward_radius = adjoint_error.reward_gradient.norm();
  BoundTemperature(follower, answer.backup, adjoint_error, centered_radius, error, result);
  BoundDiscount(follower, answer, adjoint_error, value_bound, result);
  if (options.want_transitions) {
    BoundTransitions(follower, answer, adjoint_error.reward_gradient, value_bound, result);
  }
}

}  // namespace

PullbackResult Pullback(const RegularizedMdp& follower, const LowerLevelSolution& solution, const FollowerError& error,
                        const OutputCotangents& cotangents, const PullbackOptions& options, const Vector& start,
                        const Interrupt& interrupt, PolicySystem& system) {
  Evaluation here =
      Evaluate(follower, {solution.value, solution.backup}, cotangents, options, start, interrupt, system);

  // One Newton step further, where the error is of second order; its distance to here is known exactly.
  const RefinedFollower next = RefineFollower(follower, solution, error);
  const Answer further{next.value, next.backup};
  system.SetPolicy(next.backup.pi, PolicySystem::Change::kSlight);
  Evaluation there = Evaluate(follower, further, cotangents, options, here.adjoint.z, interrupt, system);
  Bound(follower, further, next.error, cotangents, options, interrupt, system, there);

  constexpr double kPadding = 1 + 1e-10;
  PullbackResult result;
  result.reward = here.adjoint.reward_gradient;
  result.discount = here.discount;
  result.temperature = here.temperature;
  result.reward_error_estimate = (there.adjoint.reward_gradient - here.adjoint.reward_gradient).norm();
  result.reward_error_bound = kPadding * (result.reward_error_estimate + there.reward_radius);
  result.discount_error_bound = kPadding * (std::abs(there.discount - here.discount) + there.discount_radius);
  result.temperature_error_bound =
      kPadding * (std::abs(there.temperature - here.temperature) + there.temperature_radius);
  if (options.want_transitions) {
    result.transitions_error_bound =
        kPadding * ((there.transitions - here.transitions).norm() + there.transitions_radius);
    result.transitions = std::move(here.transitions);
  }
  result.adjoint = std::move(here.adjoint);
  return result;
}

}  // namespace bilevel
