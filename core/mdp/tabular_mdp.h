// A finite Markov decision process without reward, discount or temperature: who can go where.
//
// P(s2 | s, a) is [S*A, S], sparse, row s*A + a. A row sums to 1 - termination_probability(s, a): what is missing ends
// the episode. Actions may be unavailable in a state; policies are 0 there and their rows are dropped.
//
// The rest of the code reaches P only through the operations below, so storage can change without touching the
// mathematics. Stored entries are known by their position in the caller's CSR order.

#ifndef BILEVEL_CORE_MDP_TABULAR_MDP_H_
#define BILEVEL_CORE_MDP_TABULAR_MDP_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "Eigen/Core"
#include "absl/status/statusor.h"
#include "core/base/parallel.h"
#include "core/mdp/action_rows.h"
#include "core/mdp/policy_pattern.h"

namespace bilevel {

using Vector = Eigen::VectorXd;

// A field error (with an empty path) unless p >= 0 sums to 1 within the tolerance.
absl::Status CheckProbabilityVector(const Vector& p, double tolerance);

struct TabularMdpSpec {
  int num_states = 0;   // S >= 1
  int num_actions = 0;  // A >= 1
  // CSR of P: offsets [S*A + 1], columns [entries] strictly increasing within a row, probabilities [entries] in [0, 1].
  // At most TabularMdp::kMaxEntries.
  std::vector<uint64_t> offsets;
  std::vector<uint32_t> columns;
  std::vector<double> probabilities;
  // [S*A] in [0, 1]; empty means 0.
  Vector termination_probability;
  // [S*A] of 0 and 1; empty means all available. Each state needs one available action.
  std::vector<uint8_t> available_actions;
  // [S], >= 0, sum 1 +- 1e-9; empty means uniform.
  Vector initial_distribution;
  // Probabilities were rounded to binary32: row sums are accepted within 1e-6 and renormalised.
  bool single_precision = false;
};

class TabularMdp {
 public:
  static constexpr uint64_t kMaxEntries = 3'000'000'000;

  // Validates once; afterwards the invariants hold. INVALID_ARGUMENT (a field error) names the first broken rule.
  // Cost: O(entries).
  static absl::StatusOr<TabularMdp> Create(TabularMdpSpec spec);

  int num_states() const { return num_states_; }
  int num_actions() const { return num_actions_; }
  Eigen::Index num_rows() const { return static_cast<Eigen::Index>(num_states_) * num_actions_; }
  uint64_t num_entries() const { return transitions_.num_entries(); }

  bool all_available() const { return available_.empty(); }
  bool available(Eigen::Index row) const { return available_.empty() || available_[static_cast<size_t>(row)] != 0; }
  const Vector& initial_distribution() const { return initial_distribution_; }

  // Smallest and largest sum of an available row of P.
  double min_row_sum() const { return min_row_sum_; }
  double max_row_sum() const { return max_row_sum_; }
  // Whether all available rows of P add up to one, as far as it matters at this discount. What rounding to single
  // precision takes from them, up to 6e-8, does not unless 1 - discount is as small.
  bool rows_sum_to_one(double discount) const { return min_row_sum_ > 1 - std::min(1e-7, 0.1 * (1 - discount)); }
  // Largest number of entries in a row.
  int max_row_entries() const { return max_row_entries_; }

  // Relative error of a stored or initial probability, in units of roundoff: 0 unless Move said otherwise.
  double probability_rounding() const { return probability_rounding_; }
  // max_row_entries() + probability_rounding(): each sum_s2 P v errs by at most (this + a few) roundoffs of sum_s2 P
  // |v|.
  double row_steps() const { return max_row_entries_ + probability_rounding_; }

  // P v: [S] -> [S*A]; 0 in unavailable rows. parallel_for, here and below, affects only the time.
  Vector ExpectNext(const Vector& v, const ParallelFor& parallel_for = RunInOrder) const;
  // P^T y: [S*A] -> [S].
  Vector PushForward(const Vector& y, const ParallelFor& parallel_for = RunInOrder) const;

  // The same with other numbers, [entries], in place of the probabilities.
  Vector ExpectNext(std::span<const double> entries, const Vector& v) const;
  Vector PushForward(std::span<const double> entries, const Vector& y) const;

  // [entries], in the caller's order.
  std::vector<double> Probabilities() const;

  // Replaces probabilities [entries] and initial distribution [S]; the supports stay, and the caller vouches for sums
  // that are valid. Both may be off by `rounding` units of roundoff, relative. Cost: O(entries).
  void Move(std::span<const double> probabilities, Vector initial_distribution, double rounding);
  // P^pi, dense [S, S]: row s is sum_a pi(a|s) P(.|s,a).
  Eigen::MatrixXd DensePolicyTransitions(const Vector& pi) const;
  // The same, into memory that may have been used before.
  void FormDensePolicyTransitions(const Vector& pi, Eigen::MatrixXd& result) const;

  // Calls visit(row, entry, column, probability) for every stored entry of an available row, in storage order.
  template <typename Visitor>
  void ForEachEntry(Visitor visit) const {
    for (Eigen::Index row = 0; row < num_rows(); ++row) {
      if (!available(row)) continue;
      transitions_.ForEachInRow(row, [&](uint64_t entry, uint64_t place) {
        visit(row, entry, transitions_.column(place), transitions_.value(place));
      });
    }
  }

  // Where P^pi can have entries: made when first asked for, while others who ask wait, and kept for all who ask later,
  // those that have copies of this too.
  std::shared_ptr<const PolicyPattern> SharePolicyPattern(const ParallelFor& parallel_for) const;
  // What is kept of it, in bytes; and forgets it, so that its memory is free when the last user is done.
  double PolicyPatternBytes() const;
  void ForgetPolicyPattern() const;

  // P as it is stored, and [S*A] of 0 and 1 (null: all available): for kernels.
  const ActionRows& transitions() const { return transitions_; }
  const uint8_t* available_actions() const { return available_.empty() ? nullptr : available_.data(); }

 private:
  friend class TabularMdpBuilder;
  struct LazyPattern {
    std::once_flag once;
    std::unique_ptr<const PolicyPattern> pattern;
    std::atomic<bool> is_made = false;
  };
  struct KeptPattern {
    std::mutex mutex;
    std::shared_ptr<LazyPattern> lazy;
  };

  TabularMdp() = default;

  int num_states_ = 0;
  int num_actions_ = 0;
  ActionRows transitions_;
  std::vector<uint8_t> available_;  // empty: all
  Vector initial_distribution_;
  double min_row_sum_ = 0;
  double max_row_sum_ = 0;
  int max_row_entries_ = 0;
  double probability_rounding_ = 0;
  std::shared_ptr<KeptPattern> kept_pattern_ = std::make_shared<KeptPattern>();
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_TABULAR_MDP_H_
