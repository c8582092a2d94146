#include "core/mdp/follower_error.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/base/floating_point.h"
#include "core/mdp/for_states.h"

namespace bilevel {
namespace {

// Solves for e stop at this share of the residual; what is left of it counts in eta.
constexpr double kNewtonTolerance = 1e-4, kRoughNewtonTolerance = 1e-3;
constexpr int kKappaTries = 4;
// A uniform eta is taken if it is at most this share of the range of e.
constexpr double kSmallBesideShift = 0.05;

// |log pi_{V'} - log pi_V| <= gamma b/tau (max(hi, 0) - min(lo, 0)) for lo <= V' - V <= hi (math.md section 2).
double LogPolicyChange(const RegularizedMdp& follower, const Vector& lo, const Vector& hi) {
  return follower.discount * follower.mdp->max_row_sum() / follower.temperature *
         (std::max(hi.maxCoeff(), 0.0) - std::min(lo.minCoeff(), 0.0));
}

// |pi* - pi| from |log pi* - log pi| <= change; the last summand covers underflow.
double PolicyChange(double pi, double log_pi, double change) {
  // exp(c) - 1 <= c + (e - 2) c^2 for 0 <= c <= 1.
  const double radius = change < 1 ? pi * change * (1 + 0.7183 * change) : std::exp(std::min(0.0, log_pi + change));
  return std::min(1.0, radius * (1 + 1e-14) + 2 * std::numeric_limits<double>::min());
}

// Relative rounding error of the computed pi, entry by entry: that of Q and T V over tau, and a few operations. Takes
// rounding.q over.
Vector LogPolicyRounding(const RegularizedMdp& follower, const SoftBackup& backup, SoftBackupRounding rounding) {
  const TabularMdp& mdp = *follower.mdp;
  const double steps = mdp.num_actions() + 8.0;
  ForStates(follower.parallel_for, mdp, [&](Eigen::Index s, Eigen::Index first, Eigen::Index end) {
    for (Eigen::Index row = first; row < end; ++row) {
      rounding.q[row] = (rounding.q[row] + rounding.value[s]) / follower.temperature +
                        kUnitRoundoff * (6 * std::abs(backup.log_pi[row]) + steps);
    }
  });
  return std::move(rounding.q);
}

// Completes an error whose bracket of V* - v is known, r = T v - v:
//   log pi* - log pi = (gamma P (V* - v) - (V* - T v)) / tau.
void BoundPolicy(const RegularizedMdp& follower, const Vector& r, const SoftBackup& backup, const Vector& log_rounding,
                 FollowerError& error) {
  const TabularMdp& mdp = *follower.mdp;
  const double gamma = follower.discount;
  const bool shifts = error.value_shift.size() != 0 && !error.value_shift.isZero(0);
  Vector shift;
  if (shifts) shift = mdp.ExpectNext(error.value_shift, follower.parallel_for);
  error.log_pi_radius = mdp.ExpectNext(error.value_radius, follower.parallel_for);
  error.pi_radius.resize(backup.pi.size());
  const double largest =
      MostOfStates(follower.parallel_for, mdp, [&](Eigen::Index s, Eigen::Index first, Eigen::Index end) {
        double most = 0;
        for (Eigen::Index row = first; row < end; ++row) {
          double& radius = error.log_pi_radius[row];
          if (!mdp.available(row)) {
            radius = error.pi_radius[row] = 0;
            continue;
          }
          const double center = shifts ? gamma * shift[row] - (error.value_shift[s] - r[s]) : r[s];
          radius =
              (std::abs(center) + (gamma * radius + error.value_radius[s])) * ((1 + 1e-12) / follower.temperature) +
              log_rounding[row];
          most = std::max(most, radius);
          error.pi_radius[row] = PolicyChange(backup.pi[row], backup.log_pi[row], radius);
        }
        return most;
      });
  error.kappa = std::expm1(largest) * (1 + 1e-12);
}

// |T U - U|, at least.
Vector BackupGap(const RegularizedMdp& follower, const Vector& U) {
  const SoftBackup at_u = ApplySoftBellman(follower, U);
  return (at_u.value - U).cwiseAbs() * (1 + 4 * kUnitRoundoff) + BoundSoftBellmanRounding(follower, U, at_u).value +
         kUnitRoundoff * U.cwiseAbs();
}

// eta >= 0 with (I - gamma (1 + kappa) P^pi) eta >= g, where all policies between that at V + shift and that at V +
// shift +- eta are at most (1 + kappa) pi, pi being what the system holds, the computed policy at V.
Vector Bracket(const RegularizedMdp& follower, const Vector& g, const Vector& shift, double pi_rounding,
               PolicySystem& system, const Interrupt& interrupt) {
  double kappa = std::expm1(2 * LogPolicyChange(follower, shift, shift) + pi_rounding) + 1e-12;
  for (int attempt = 0;; ++attempt) {
    Vector eta = Majorant(*follower.mdp, system, follower.discount, kappa, interrupt).Bound(g);
    const double needed = std::expm1(LogPolicyChange(follower, shift - eta, shift + eta) + pi_rounding);
    if (needed <= kappa || kappa == kInfinity) return eta;
    kappa = attempt < kKappaTries ? 2 * needed : kInfinity;
  }
}

}  // namespace

LargestError LargestOf(const FollowerError& error) {
  return {error.ValueBound().maxCoeff<Eigen::PropagateNaN>(), error.log_pi_radius.maxCoeff<Eigen::PropagateNaN>()};
}

FollowerError BoundFollowerError(const RegularizedMdp& follower, const LowerLevelSolution& solution,
                                 PolicySystem& system, const Interrupt& interrupt, Majorant::Effort effort) {
  const SoftBackup& backup = solution.backup;
  FollowerError error;

  const Vector r = backup.value - solution.value;
  Vector e = Vector::Zero(r.size());
  const bool rough = effort == Majorant::Effort::kNorms;
  system.Solve(follower.discount, r, (rough ? kRoughNewtonTolerance : kNewtonTolerance) * solution.residual, interrupt,
               e);
  if (!e.allFinite()) e.setZero();
  e += solution.value;  // U
  error.value_shift = e - solution.value;
  const Vector g = BackupGap(follower, e);

  const Vector log_rounding =
      LogPolicyRounding(follower, backup, BoundSoftBellmanRounding(follower, solution.value, backup));
  const double pi_rounding = 2 * log_rounding.maxCoeff();

  if (rough) {
    error.value_radius = Majorant(*follower.mdp, system, follower.discount, kInfinity, interrupt, effort).Bound(g);
    const double range = error.value_shift.maxCoeff() - error.value_shift.minCoeff();
    if (!(error.value_radius.maxCoeff() <= kSmallBesideShift * range)) effort = Majorant::Effort::kSolves;
  }
  if (effort == Majorant::Effort::kSolves) {
    error.value_radius = Bracket(follower, g, error.value_shift, pi_rounding, system, interrupt);
  }

  BoundPolicy(follower, r, backup, log_rounding, error);
  return error;
}

RefinedFollower RefineFollower(const RegularizedMdp& follower, const LowerLevelSolution& solution,
                               const FollowerError& error) {
  RefinedFollower refined;
  refined.value = solution.value + error.value_shift;
  refined.backup = ApplySoftBellman(follower, refined.value);
  refined.error.value_radius = error.value_radius + 2 * kUnitRoundoff * refined.value.cwiseAbs();
  const Vector log_rounding =
      LogPolicyRounding(follower, refined.backup, BoundSoftBellmanRounding(follower, refined.value, refined.backup));
  BoundPolicy(follower, refined.backup.value - refined.value, refined.backup, log_rounding, refined.error);
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
