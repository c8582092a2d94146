#include "core/mdp/follower_error.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/mdp/majorant.h"

namespace bilevel {
namespace {

constexpr double kUnitRoundoff = 0x1p-53;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNewtonTolerance = 1e-4;
constexpr int kKappaTries = 4;

// |log pi_{V'} - log pi_V| <= gamma b/tau (max(hi, 0) - min(lo, 0)) for lo <= V' - V <= hi (math.md section 2).
double LogPolicyChange(const RegularizedMdp& follower, const Vector& lo, const Vector& hi) {
  return follower.discount * follower.mdp->max_row_sum() / follower.temperature *
         (std::max(hi.maxCoeff(), 0.0) - std::min(lo.minCoeff(), 0.0));
}

// |pi* - pi| from |log pi* - log pi| <= change; the last summand covers underflow.
double PolicyChange(double pi, double log_pi, double change) {
  const double radius = change < 1 ? pi * std::expm1(change) : std::exp(std::min(0.0, log_pi + change));
  return std::min(1.0, radius * (1 + 1e-14) + 2 * std::numeric_limits<double>::min());
}

// Relative rounding error of the computed pi, entry by entry: that of Q and T V over tau, and a few operations.
Vector LogPolicyRounding(const RegularizedMdp& follower, const Vector& v, const SoftBackup& backup) {
  const TabularMdp& mdp = *follower.mdp;
  const SoftBackupRounding rounding = BoundSoftBellmanRounding(follower, v, backup);
  return (rounding.q + RepeatForActions(mdp, rounding.value)) / follower.temperature +
         kUnitRoundoff * (6 * backup.log_pi.cwiseAbs() + Vector::Constant(backup.pi.size(), mdp.num_actions() + 8.0));
}

// Completes an error whose bracket of V* - v is known:
//   log pi* - log pi = (gamma P (V* - v) - (V* - T v)) / tau.
void BoundPolicy(const RegularizedMdp& follower, const Vector& v, const SoftBackup& backup, const Vector& log_rounding,
                 FollowerError& error) {
  const TabularMdp& mdp = *follower.mdp;
  const double gamma = follower.discount;
  const Vector r = backup.value - v;
  const Vector shift =
      gamma * mdp.ExpectNext(error.value_shift, follower.parallel_for) - RepeatForActions(mdp, error.value_shift - r);
  const Vector radius =
      gamma * mdp.ExpectNext(error.value_radius, follower.parallel_for) + RepeatForActions(mdp, error.value_radius);
  error.log_pi_radius = (shift.cwiseAbs() + radius) * ((1 + 1e-12) / follower.temperature) + log_rounding;
  error.pi_radius.resize(backup.pi.size());
  double largest = 0;
  for (Eigen::Index row = 0; row < backup.pi.size(); ++row) {
    if (!mdp.available(row)) {
      error.log_pi_radius[row] = error.pi_radius[row] = 0;
      continue;
    }
    largest = std::max(largest, error.log_pi_radius[row]);
    error.pi_radius[row] = PolicyChange(backup.pi[row], backup.log_pi[row], error.log_pi_radius[row]);
  }
  error.kappa = std::expm1(largest) * (1 + 1e-12);
}

}  // namespace

FollowerError BoundFollowerError(const RegularizedMdp& follower, const LowerLevelSolution& solution,
                                 PolicySystem& system, const Interrupt& interrupt) {
  const TabularMdp& mdp = *follower.mdp;
  const SoftBackup& backup = solution.backup;
  const double gamma = follower.discount;
  FollowerError error;

  const Vector r = backup.value - solution.value;
  Vector e = Vector::Zero(r.size());
  system.Solve(gamma, r, kNewtonTolerance * solution.residual, interrupt, e);
  if (!e.allFinite()) e.setZero();
  const Vector U = solution.value + e;
  error.value_shift = U - solution.value;
  const SoftBackup at_u = ApplySoftBellman(follower, U);
  const Vector g = (at_u.value - U).cwiseAbs() * (1 + 4 * kUnitRoundoff) +
                   BoundSoftBellmanRounding(follower, U, at_u).value + kUnitRoundoff * U.cwiseAbs();

  const Vector log_rounding = LogPolicyRounding(follower, solution.value, backup);
  const double pi_rounding = 2 * log_rounding.maxCoeff();

  double kappa = std::expm1(2 * LogPolicyChange(follower, error.value_shift, error.value_shift) + pi_rounding) + 1e-12;
  for (int attempt = 0;; ++attempt) {
    error.value_radius = Majorant(mdp, system, gamma, kappa, interrupt).Bound(g);
    const Vector& eta = error.value_radius;
    const double needed =
        std::expm1(LogPolicyChange(follower, error.value_shift - eta, error.value_shift + eta) + pi_rounding);
    if (needed <= kappa || kappa == kInfinity) break;
    kappa = attempt < kKappaTries ? 2 * needed : kInfinity;
  }

  BoundPolicy(follower, solution.value, backup, log_rounding, error);
  return error;
}

RefinedFollower RefineFollower(const RegularizedMdp& follower, const LowerLevelSolution& solution,
                               const FollowerError& error) {
  RefinedFollower refined;
  refined.value = solution.value + error.value_shift;
  refined.backup = ApplySoftBellman(follower, refined.value);
  refined.error.value_shift = Vector::Zero(refined.value.size());
  refined.error.value_radius = error.value_radius + 2 * kUnitRoundoff * refined.value.cwiseAbs();
  BoundPolicy(follower, refined.value, refined.backup, LogPolicyRounding(follower, refined.value, refined.backup),
              refined.error);
  return refined;
}

Vector CenteredRadius(const TabularMdp& mdp, const Vector& pi, const Vector& pi_radius, const Vector& g,
                      const Vector& g_radius) {
  const Vector mean = SumOverActions(mdp, pi.cwiseProduct(g));
  const Vector centered = (g - RepeatForActions(mdp, mean)).cwiseAbs();
  const Vector pi_high = pi + pi_radius;
  // It is pi' (g' - E' g'), and sum_a (pi' - pi) = 0 lets g be centred.
  const Vector mean_change = SumOverActions(mdp, pi_radius.cwiseProduct(centered) + pi_high.cwiseProduct(g_radius));
  return pi_radius.cwiseProduct(centered) + pi_high.cwiseProduct(g_radius + RepeatForActions(mdp, mean_change));
}

}  // namespace bilevel
