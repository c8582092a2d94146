#include "core/mdp/soft_bellman.h"

#include <cmath>
#include <vector>

#include "core/base/floating_point.h"
#include "core/mdp/for_states.h"

namespace bilevel {
namespace {

// As core/mdp/row_kernels.h has it, with v and T V in place.
SoftSweep SweepOf(const RegularizedMdp& follower, const Vector& v, Vector& backup) {
  const TabularMdp& mdp = *follower.mdp;
  backup.resize(mdp.num_states());
  return {.rows = &mdp.transitions(),
          .available = mdp.available_actions(),
          .reward = follower.reward.data(),
          .value = v.data(),
          .discount = follower.discount,
          .temperature = follower.temperature,
          .backup = backup.data()};
}

StepRange RunInParts(const RegularizedMdp& follower, const SoftSweep& sweep) {
  const int64_t slices = NumSlices(follower.mdp->num_states());
  std::vector<StepRange> ranges(static_cast<size_t>((slices + kSlicesInPart - 1) / kSlicesInPart));
  ForParts(follower.parallel_for, slices, kSlicesInPart, [&](int64_t begin, int64_t end) {
    ranges[static_cast<size_t>(begin / kSlicesInPart)] = RunSoftSweep(sweep, {begin, end});
  });
  StepRange result = ranges.front();
  for (const StepRange& range : ranges) result.Include(range);
  return result;
}

}  // namespace

Vector SumOverActions(const TabularMdp& mdp, const Vector& weight) {
  return Eigen::Map<const Eigen::MatrixXd>(weight.data(), mdp.num_actions(), mdp.num_states())
      .colwise()
      .sum()
      .transpose();
}

Vector RepeatForActions(const TabularMdp& mdp, const Vector& v) {
  Vector result(mdp.num_rows());
  Eigen::Map<Eigen::MatrixXd>(result.data(), mdp.num_actions(), mdp.num_states()).rowwise() = v.transpose();
  return result;
}

Vector NegativeEntropy(const TabularMdp& mdp, const SoftBackup& backup) {
  return SumOverActions(mdp, backup.pi.binaryExpr(backup.log_pi, [](double p, double l) { return p > 0 ? p * l : 0; }));
}

SoftBackup ApplySoftBellman(const RegularizedMdp& follower, const Vector& v) {
  const Eigen::Index rows = follower.mdp->num_rows();
  SoftBackup backup;
  for (Vector* result : {&backup.pi, &backup.log_pi}) result->resize(rows);
  SoftSweep sweep = SweepOf(follower, v, backup.value);
  sweep.pi = backup.pi.data();
  sweep.log_pi = backup.log_pi.data();
  RunInParts(follower, sweep);
  return backup;
}

StepRange SoftValueBackup(const RegularizedMdp& follower, const Vector& v, Vector& backup) {
  return RunInParts(follower, SweepOf(follower, v, backup));
}

Vector ActionValues(const TabularMdp& mdp, double temperature, const SoftBackup& backup) {
  Vector q = RepeatForActions(mdp, backup.value) + temperature * backup.log_pi;
  for (Eigen::Index row = 0; row < q.size(); ++row) {
    if (!mdp.available(row)) q[row] = 0;
  }
  return q;
}

SoftBackupRounding BoundSoftBellmanRounding(const RegularizedMdp& follower, const Vector& v, const SoftBackup& backup) {
  const TabularMdp& mdp = *follower.mdp;
  const double gamma = follower.discount, tau = follower.temperature;
  const bool reward_errs = follower.reward_rounding.size() != 0;
  // k products and sums, one product with gamma, one sum with r.
  const double steps = (mdp.row_steps() + 4) * kUnitRoundoff;
  const double constant = (mdp.num_actions() + 8) * kUnitRoundoff * tau;
  SoftBackupRounding rounding{mdp.ExpectNext(v.cwiseAbs(), follower.parallel_for), Vector(mdp.num_states())};
  ForStates(follower.parallel_for, mdp, [&](Eigen::Index s, Eigen::Index first, Eigen::Index end) {
    // The exponent carries a relative error of three roundings and exp one of two; both enter (T V)(s) weighted by pi.
    double spread = 0;
    for (Eigen::Index row = first; row < end; ++row) {
      double& q = rounding.q[row];
      if (!mdp.available(row)) {
        q = 0;
        continue;
      }
      q = steps * (std::abs(follower.reward[row]) + gamma * q) + (reward_errs ? follower.reward_rounding[row] : 0.0);
      spread += backup.pi[row] * (6 * kUnitRoundoff * tau * std::abs(backup.log_pi[row]) + q);
    }
    rounding.value[s] = spread + constant + 2 * kUnitRoundoff * std::abs(backup.value[s]);
  });
  return rounding;
}

}  // namespace bilevel
