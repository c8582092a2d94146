#include "core/mdp/soft_bellman.h"

#include <vector>

namespace bilevel {
namespace {

constexpr double kUnitRoundoff = 0x1p-53;

// Sets the entries of unavailable actions to zero.
void ZeroUnavailable(const TabularMdp& mdp, Vector& weight) {
  if (mdp.all_available()) return;
  for (Eigen::Index row = 0; row < mdp.num_rows(); ++row) {
    if (!mdp.available(row)) weight[row] = 0;
  }
}

// States are walked through in parts of this many slices.
constexpr int64_t kSlicesInPart = 2048;

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
  for (Vector* result : {&backup.q, &backup.pi, &backup.log_pi}) result->resize(rows);
  SoftSweep sweep = SweepOf(follower, v, backup.value);
  sweep.q = backup.q.data();
  sweep.pi = backup.pi.data();
  sweep.log_pi = backup.log_pi.data();
  RunInParts(follower, sweep);
  return backup;
}

StepRange SoftValueBackup(const RegularizedMdp& follower, const Vector& v, Vector& backup) {
  return RunInParts(follower, SweepOf(follower, v, backup));
}

SoftBackupRounding BoundSoftBellmanRounding(const RegularizedMdp& follower, const Vector& v, const SoftBackup& backup) {
  const TabularMdp& mdp = *follower.mdp;
  const int A = mdp.num_actions();
  SoftBackupRounding rounding;
  // k products and sums, one product with gamma, one sum with r.
  const double steps = mdp.row_steps() + 4;
  rounding.q = steps * kUnitRoundoff *
               (follower.reward.cwiseAbs() + follower.discount * mdp.ExpectNext(v.cwiseAbs(), follower.parallel_for));
  if (follower.reward_rounding.size() != 0) rounding.q += follower.reward_rounding;
  ZeroUnavailable(mdp, rounding.q);
  // The exponent carries a relative error of three roundings and exp one of two; both enter (T V)(s) weighted by pi.
  const Vector spread = SumOverActions(
      mdp, (backup.pi.array() *
            (6 * kUnitRoundoff * (RepeatForActions(mdp, backup.value) - backup.q).array().abs() + rounding.q.array()))
               .matrix());
  rounding.value =
      spread.array() + (A + 8) * kUnitRoundoff * follower.temperature + 2 * kUnitRoundoff * backup.value.array().abs();
  return rounding;
}

}  // namespace bilevel
