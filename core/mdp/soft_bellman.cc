#include "core/mdp/soft_bellman.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace bilevel {
namespace {

constexpr double kUnitRoundoff = 0x1p-53;

// Row-wise max over available actions: [S].
Vector RowMax(const TabularMdp& mdp, const Vector& q) {
  const int S = mdp.num_states(), A = mdp.num_actions();
  if (mdp.all_available()) {
    return Eigen::Map<const Eigen::MatrixXd>(q.data(), A, S).colwise().maxCoeff().transpose();
  }
  Vector result(S);
  for (int s = 0; s < S; ++s) {
    double largest = -std::numeric_limits<double>::infinity();
    for (Eigen::Index row = Eigen::Index{s} * A; row < (s + Eigen::Index{1}) * A; ++row) {
      if (mdp.available(row)) largest = std::max(largest, q[row]);
    }
    result[s] = largest;
  }
  return result;
}

// Sets the entries of unavailable actions to zero.
void ZeroUnavailable(const TabularMdp& mdp, Vector& weight) {
  if (mdp.all_available()) return;
  for (Eigen::Index row = 0; row < mdp.num_rows(); ++row) {
    if (!mdp.available(row)) weight[row] = 0;
  }
}

// With exponent = (q - rowmax)/tau, 0 where unavailable:
struct LogSumExp {
  Vector exponent;  // [S*A]
  Vector weight;    // exp(exponent), 0 where unavailable [S*A]
  Vector sum;       // of weight over actions [S]
  Vector value;     // rowmax + tau log(sum) [S]
};

LogSumExp SoftMaximum(const RegularizedMdp& follower, const Vector& q) {
  const TabularMdp& mdp = *follower.mdp;
  const Eigen::Index S = mdp.num_states(), A = mdp.num_actions();
  const Vector largest = RowMax(mdp, q);
  LogSumExp result;
  result.exponent.resize(S * A);
  for (Eigen::Index s = 0; s < S; ++s) {
    for (Eigen::Index row = s * A; row < (s + 1) * A; ++row) {
      result.exponent[row] = (q[row] - largest[s]) / follower.temperature;
    }
  }
  ZeroUnavailable(mdp, result.exponent);
  // Below this exp is subnormal and Eigen's is clamped; such an action has probability 0 (log pi keeps its value).
  constexpr double kUnderflow = -709;
  result.weight = result.exponent.array().exp();
  result.weight = (result.exponent.array() < kUnderflow).select(0.0, result.weight);
  ZeroUnavailable(mdp, result.weight);
  result.sum = SumOverActions(mdp, result.weight);
  result.value = largest.array() + follower.temperature * result.sum.array().log();
  return result;
}

Vector ActionValues(const RegularizedMdp& follower, const Vector& v) {
  Vector q = follower.mdp->ExpectNext(v);
  q = follower.reward + follower.discount * q;
  ZeroUnavailable(*follower.mdp, q);
  return q;
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
  const TabularMdp& mdp = *follower.mdp;
  const Eigen::Index S = mdp.num_states(), A = mdp.num_actions();
  SoftBackup backup;
  backup.q = ActionValues(follower, v);
  LogSumExp soft = SoftMaximum(follower, backup.q);
  const Vector log_sum = soft.sum.array().log();
  backup.value = std::move(soft.value);
  backup.pi = std::move(soft.weight);
  backup.log_pi = std::move(soft.exponent);
  for (Eigen::Index s = 0; s < S; ++s) {
    for (Eigen::Index row = s * A; row < (s + 1) * A; ++row) {
      backup.pi[row] /= soft.sum[s];
      backup.log_pi[row] -= log_sum[s];
    }
  }
  ZeroUnavailable(mdp, backup.log_pi);
  return backup;
}

Vector SoftValueBackup(const RegularizedMdp& follower, const Vector& v) {
  return SoftMaximum(follower, ActionValues(follower, v)).value;
}

SoftBackupRounding BoundSoftBellmanRounding(const RegularizedMdp& follower, const Vector& v, const SoftBackup& backup) {
  const TabularMdp& mdp = *follower.mdp;
  const int A = mdp.num_actions();
  SoftBackupRounding rounding;
  // k products and sums, one product with gamma, one sum with r.
  const double steps = mdp.row_steps() + 4;
  rounding.q = steps * kUnitRoundoff * (follower.reward.cwiseAbs() + follower.discount * mdp.ExpectNext(v.cwiseAbs()));
  if (follower.reward_rounding.size() != 0) rounding.q += follower.reward_rounding;
  ZeroUnavailable(mdp, rounding.q);
  // The exponent carries a relative error of two roundings and exp one of a few; both enter (T V)(s) weighted by pi.
  const Vector spread = SumOverActions(
      mdp, (backup.pi.array() *
            (4 * kUnitRoundoff * (RepeatForActions(mdp, backup.value) - backup.q).array().abs() + rounding.q.array()))
               .matrix());
  rounding.value =
      spread.array() + (A + 8) * kUnitRoundoff * follower.temperature + 2 * kUnitRoundoff * backup.value.array().abs();
  return rounding;
}

}  // namespace bilevel
