// P^pi(s, s2) = sum_a pi(a|s) P(s2|s,a) as a sparse matrix, and its transpose.
//
// Which pairs (s, s2) can occur is found once for an environment (core/mdp/policy_pattern.h); numbers are filled in for
// each policy. Where actions share successors, as on grids, their entries are merged. Where they hardly do, P^pi is not
// stored: products go through P and pi.

#ifndef BILEVEL_CORE_MDP_POLICY_MATRIX_H_
#define BILEVEL_CORE_MDP_POLICY_MATRIX_H_

#include <cstdint>
#include <memory>

#include "core/base/aligned_array.h"
#include "core/base/flush_tiny.h"
#include "core/base/parallel.h"
#include "core/mdp/policy_pattern.h"
#include "core/mdp/row_kernels.h"
#include "core/mdp/tabular_mdp.h"

namespace bilevel {

template <typename Real>
using VectorOf = Eigen::Matrix<Real, Eigen::Dynamic, 1>;

class PolicyMatrix {
 public:
  // mdp must outlive this. Memory: where merged 8 bytes for each pair (s, s2) and as many for the transpose, else 8 for
  // each entry for that alone; besides, once for all, what PolicyPattern says, and what it costs.
  PolicyMatrix(const TabularMdp& mdp, ParallelFor parallel_for);

  // pi: [S*A], rows summing to one (not checked). Cost: O(entries).
  void SetPolicy(const Vector& pi);

  // P^pi v and (P^pi)^T z, [S]; into another vector than the factor. The first transposed one after SetPolicy costs
  // O(entries) more, the first of all for this environment about that of ten products.
  void Multiply(const Vector& v, Vector& result) const {
    Multiply(v, result, [](int64_t, int64_t) {});
  }
  void MultiplyTransposed(const Vector& z, Vector& result) const {
    MultiplyTransposed(z, result, [](int64_t, int64_t) {});
  }
  // Calls then(begin, end) in the same threads for parts of kStatesInPart states as they are there. Real: double or
  // float; P^pi is in double precision either way.
  template <typename Real, typename Then>
  void Multiply(const VectorOf<Real>& v, VectorOf<Real>& result, const Then& then) const {
    result.resize(num_states());
    ForParts(parallel_for_, num_states(), kStatesInPart, [&](int64_t begin, int64_t end) {
      const FlushTiny<Real> flush;
      MultiplyStates(v.data(), begin, end, result.data());
      then(begin, end);
    });
  }
  template <typename Real, typename Then>
  void MultiplyTransposed(const VectorOf<Real>& z, VectorOf<Real>& result, const Then& then) const {
    const PolicyPattern::Transposed& transposed = FillTransposed();
    result.resize(num_states());
    ForParts(parallel_for_, num_states(), kStatesInPart, [&](int64_t begin, int64_t end) {
      const FlushTiny<Real> flush;
      MultiplyRows(transposed.rows, transposed_values_.data(), z.data(), {begin / kLanes, NumSlices(end)},
                   result.data());
      then(begin, end);
    });
  }

  int num_states() const { return mdp_->num_states(); }
  const ParallelFor& parallel_for() const { return parallel_for_; }
  bool merged() const { return pattern_->merged(); }
  // Stored pairs; where not merged, a pair counts once for each action that leads there.
  uint64_t num_entries() const { return merged() ? pattern_->pairs().num_entries() : mdp_->num_entries(); }
  // Largest number of entries in a row, in a column, and largest |s - s2| of a pair.
  int max_row_entries() const { return pattern_->max_row_entries(); }
  int max_column_entries() const {
    return pattern_->MakeTransposed(mdp_->transitions(), parallel_for_).max_row_entries;
  }
  int bandwidth() const { return pattern_->bandwidth(); }

  // Calls visit(s, s2, probability) for all pairs, by s; where not merged, a pair may come more than once.
  template <typename Visitor>
  void ForEach(Visitor visit) const {
    if (!merged()) {
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
    const ActionRows& pairs = pattern_->pairs();
    pairs.ForEachInRow(s, 0, [&](uint64_t, uint64_t place) { visit(pairs.column(place), values_[place]); });
  }

 private:
  template <typename Slot>
  void FillMerged(const Vector& pi, const AlignedArray<Slot>& slots);
  const PolicyPattern::Transposed& FillTransposed() const;
  template <typename Real>
  void MultiplyStates(const Real* v, int64_t begin, int64_t end, Real* result) const {
    const SliceRange range{begin / kLanes, NumSlices(end)};
    if (merged()) {
      MultiplyRows(pattern_->pairs(), values_.data(), v, range, result);
    } else {
      MultiplyPolicy(mdp_->transitions(), pi_.data(), v, range, result);
    }
  }

  const TabularMdp* mdp_;
  ParallelFor parallel_for_;
  std::shared_ptr<const PolicyPattern> pattern_;
  Vector pi_;                    // where not merged
  AlignedArray<double> values_;  // of the pattern's pairs, where merged
  mutable AlignedArray<double> transposed_values_;
  mutable bool transposed_is_old_ = true;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_POLICY_MATRIX_H_
