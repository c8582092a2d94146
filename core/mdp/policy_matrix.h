// P^pi(s, s2) = sum_a pi(a|s) P(s2|s,a) as a sparse matrix, and its transpose.
//
// Which pairs (s, s2) can occur is found once; numbers are filled in for each policy. Where actions share successors,
// as on grids, their entries are merged. Where they hardly do, P^pi is not stored: products go through P and pi.

#ifndef BILEVEL_CORE_MDP_POLICY_MATRIX_H_
#define BILEVEL_CORE_MDP_POLICY_MATRIX_H_

#include <cstdint>
#include <vector>

#include "core/base/aligned_array.h"
#include "core/base/parallel.h"
#include "core/mdp/tabular_mdp.h"

namespace bilevel {

class PolicyMatrix {
 public:
  // mdp must outlive this. Memory: for each entry of P 1 byte (4 where a state has more than 256 successors) and 28 for
  // each pair (s, s2) where merged, else 16 for each entry. Cost: O(entries log(entries of a state)).
  PolicyMatrix(const TabularMdp& mdp, ParallelFor parallel_for);

  // pi: [S*A], rows summing to one (not checked). Cost: O(entries).
  void SetPolicy(const Vector& pi);

  // P^pi v and (P^pi)^T z, [S]; into another vector than the factor. The first transposed one after SetPolicy costs
  // O(entries) more.
  void Multiply(const Vector& v, Vector& result) const {
    Multiply(v, result, [](int64_t, int64_t) {});
  }
  void MultiplyTransposed(const Vector& z, Vector& result) const {
    MultiplyTransposed(z, result, [](int64_t, int64_t) {});
  }
  // Calls then(begin, end) in the same threads for parts of kStatesInPart states as they are there.
  template <typename Then>
  void Multiply(const Vector& v, Vector& result, const Then& then) const {
    result.resize(num_states());
    ForParts(parallel_for_, num_states(), kStatesInPart, [&](int64_t begin, int64_t end) {
      MultiplyStates(v, begin, end, result);
      then(begin, end);
    });
  }
  template <typename Then>
  void MultiplyTransposed(const Vector& z, Vector& result, const Then& then) const {
    FillTransposed();
    result.resize(num_states());
    ForParts(parallel_for_, num_states(), kStatesInPart, [&](int64_t begin, int64_t end) {
      MultiplyStatesTransposed(z, begin, end, result);
      then(begin, end);
    });
  }

  int num_states() const { return mdp_->num_states(); }
  const ParallelFor& parallel_for() const { return parallel_for_; }
  bool merged() const { return merged_; }
  // Stored pairs; where not merged, a pair counts once for each action that leads there.
  uint64_t num_entries() const { return transposed_pattern_.num_entries(); }
  // Largest number of entries in a row, in a column, and largest |s - s2| of a pair.
  int max_row_entries() const { return max_row_entries_; }
  int max_column_entries() const { return max_column_entries_; }
  int bandwidth() const { return bandwidth_; }

  // Calls visit(s, s2, probability) for all pairs, by s; where not merged, a pair may come more than once.
  template <typename Visitor>
  void ForEach(Visitor visit) const {
    if (!merged_) {
      const int A = mdp_->num_actions();
      mdp_->ForEachEntry(
          [&](Eigen::Index row, uint64_t, uint32_t column, double p) { visit(row / A, column, pi_[row] * p); });
      return;
    }
    for (Eigen::Index s = 0; s < num_states(); ++s) {
      ForEachInRow(s, [&](uint32_t column, double p) { visit(s, column, p); });
    }
  }

  // Where merged: calls visit(s2, probability) for the pairs of s, s2 increasing.
  template <typename Visitor>
  void ForEachInRow(Eigen::Index s, Visitor visit) const {
    pattern_.ForEachInRow(s, [&](uint64_t, uint64_t place) { visit(pattern_.column(place), values_[place]); });
  }

 private:
  // Counts pairs (s, s2), and decides whether they are merged.
  uint64_t CountPairs();
  void BuildMerged(uint64_t pairs);
  void BuildTransposed();
  template <typename Slot>
  void FindSlots(const std::vector<uint64_t>& offsets, const std::vector<uint32_t>& columns,
                 AlignedArray<Slot>& slots) const;
  template <typename Slot>
  void FillMerged(const Vector& pi, const AlignedArray<Slot>& slots);
  void FillTransposed() const;
  void MultiplyStates(const Vector& v, int64_t begin, int64_t end, Vector& result) const;
  void MultiplyStatesTransposed(const Vector& z, int64_t begin, int64_t end, Vector& result) const;

  const TabularMdp* mdp_;
  ParallelFor parallel_for_;
  bool merged_ = false;
  int max_row_entries_ = 0, max_column_entries_ = 0, bandwidth_ = 0;
  Vector pi_;
  // Where merged: of P^pi, with numbers by place, and for each place in P which entry of its state's row it adds to, in
  // bytes if rows are short.
  ActionRows pattern_;
  AlignedArray<double> values_;
  AlignedArray<uint8_t> short_slots_;
  AlignedArray<uint32_t> slots_;
  // Of its transpose, with numbers by place, and the place in it of each place in P^pi (or P, where not merged).
  ActionRows transposed_pattern_;
  AlignedArray<uint32_t> to_transposed_;
  // Filled in when first used for a policy.
  mutable AlignedArray<double> transposed_;
  mutable bool transposed_is_old_ = true;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_POLICY_MATRIX_H_
