// P^pi(s, s2) = sum_a pi(a|s) P(s2|s,a) as a sparse matrix, and its transpose.
//
// Which pairs (s, s2) can occur is found once; numbers are filled in for each policy. Where actions share successors,
// as on grids, their entries are merged. Where they hardly do, P^pi is not stored: products go through P and pi.

#ifndef BILEVEL_CORE_MDP_POLICY_MATRIX_H_
#define BILEVEL_CORE_MDP_POLICY_MATRIX_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "core/base/aligned_array.h"
#include "core/base/flush_tiny.h"
#include "core/base/parallel.h"
#include "core/mdp/row_kernels.h"
#include "core/mdp/tabular_mdp.h"

namespace bilevel {

template <typename Real>
using VectorOf = Eigen::Matrix<Real, Eigen::Dynamic, 1>;

class PolicyMatrix {
 public:
  // mdp must outlive this. Memory: for each entry of P 1 byte (4 where a state has more than 256 successors) and 28 for
  // each pair (s, s2) where merged, else 16 for each entry. Cost: O(entries log(entries of a state)).
  PolicyMatrix(const TabularMdp& mdp, ParallelFor parallel_for);

  // pi: [S*A], rows summing to one (not checked). Cost: O(entries).
  void SetPolicy(const Vector& pi);

  // P^pi v and (P^pi)^T z, [S]; into another vector than the factor. The first transposed one after SetPolicy costs
  // O(entries) more, the first of all about that of ten products.
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
    const Transposed& transposed = FillTransposed();
    result.resize(num_states());
    ForParts(parallel_for_, num_states(), kStatesInPart, [&](int64_t begin, int64_t end) {
      const FlushTiny<Real> flush;
      MultiplyRows(transposed.pattern, transposed.values.data(), z.data(), {begin / kLanes, NumSlices(end)},
                   result.data());
      then(begin, end);
    });
  }

  int num_states() const { return mdp_->num_states(); }
  const ParallelFor& parallel_for() const { return parallel_for_; }
  bool merged() const { return merged_; }
  // Stored pairs; where not merged, a pair counts once for each action that leads there.
  uint64_t num_entries() const { return merged_ ? pattern_.num_entries() : mdp_->num_entries(); }
  // Largest number of entries in a row, in a column, and largest |s - s2| of a pair.
  int max_row_entries() const { return max_row_entries_; }
  int max_column_entries() const { return TheTransposed().max_row_entries; }
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
  // (P^pi)^T with numbers by place, and the place in it of each place in P^pi (or P, where not merged).
  struct Transposed {
    ActionRows pattern;
    AlignedArray<double> values;
    AlignedArray<uint32_t> places;
    int max_row_entries = 0;
    bool is_old = true;
  };

  // Counts pairs (s, s2), and decides whether they are merged.
  uint64_t CountPairs();
  void BuildMerged(uint64_t pairs);
  // Built when first asked for.
  const Transposed& TheTransposed() const;
  void BuildTransposed(Transposed& transposed) const;
  template <typename Slot>
  void FindSlots(const std::vector<uint64_t>& offsets, const std::vector<uint32_t>& columns,
                 AlignedArray<Slot>& slots) const;
  template <typename Slot>
  void FillMerged(const Vector& pi, const AlignedArray<Slot>& slots);
  const Transposed& FillTransposed() const;
  template <typename Real>
  void MultiplyStates(const Real* v, int64_t begin, int64_t end, Real* result) const {
    const SliceRange range{begin / kLanes, NumSlices(end)};
    if (merged_) {
      MultiplyRows(pattern_, values_.data(), v, range, result);
    } else {
      MultiplyPolicy(mdp_->transitions(), pi_.data(), v, range, result);
    }
  }

  const TabularMdp* mdp_;
  ParallelFor parallel_for_;
  bool merged_ = false;
  int max_row_entries_ = 0, bandwidth_ = 0;
  Vector pi_;
  // Where merged: of P^pi, with numbers by place, and for each place in P which entry of its state's row it adds to, in
  // bytes if rows are short.
  ActionRows pattern_;
  AlignedArray<double> values_;
  AlignedArray<uint8_t> short_slots_;
  AlignedArray<uint32_t> slots_;
  mutable std::unique_ptr<Transposed> transposed_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_POLICY_MATRIX_H_
