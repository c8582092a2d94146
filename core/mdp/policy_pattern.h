// Where P^pi(s, s2) = sum_a pi(a|s) P(s2|s,a) can have entries, whatever the policy: found once for an environment, and
// shared by all who have a policy there. Numbers are another matter (core/mdp/policy_matrix.h).

#ifndef BILEVEL_CORE_MDP_POLICY_PATTERN_H_
#define BILEVEL_CORE_MDP_POLICY_PATTERN_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "core/base/aligned_array.h"
#include "core/base/parallel.h"
#include "core/mdp/action_rows.h"

namespace bilevel {

class PolicyPattern {
 public:
  // (P^pi)^T: sources of each state in order, and the place there of each place of P^pi (of P, where not merged), kNone
  // for filling.
  struct Transposed {
    ActionRows rows;
    AlignedArray<uint32_t> places;
    int max_row_entries = 0;
  };
  static constexpr uint32_t kNone = static_cast<uint32_t>(-1);

  // rows: of P. Memory: for each entry of P 1 byte (4 where a state has more than 256 successors) and 4 for each pair
  // (s, s2), where merged. Cost: O(entries log(entries of a state)).
  PolicyPattern(const ActionRows& rows, const ParallelFor& parallel_for);

  // Whether actions share so many successors that P^pi is stored, rather than gone through action by action.
  bool merged() const { return merged_; }
  // Largest number of entries in a row, and largest |s - s2| of a pair.
  int max_row_entries() const { return max_row_entries_; }
  int bandwidth() const { return bandwidth_; }

  // Where merged: rows of P^pi, without numbers, and for each place in P which entry of its state's row it adds to, in
  // bytes if rows are short; the other one is empty.
  const ActionRows& pairs() const { return pairs_; }
  const AlignedArray<uint8_t>& short_slots() const { return short_slots_; }
  const AlignedArray<uint32_t>& slots() const { return slots_; }

  // Made when first asked for, once, from whichever thread that is; rows as above. Memory: 8 bytes for each pair (for
  // each entry, where not merged). Cost: O(entries), about that of ten products.
  const Transposed& MakeTransposed(const ActionRows& rows, const ParallelFor& parallel_for) const;

  // Of memory, now.
  double Bytes() const;

 private:
  uint64_t CountPairs(const ActionRows& rows);
  void Merge(const ActionRows& rows, uint64_t count, const ParallelFor& parallel_for);
  template <typename Slot>
  static void FindSlots(const ActionRows& rows, const std::vector<uint64_t>& offsets,
                        const std::vector<uint32_t>& columns, const ParallelFor& parallel_for,
                        AlignedArray<Slot>& slots);
  void Transpose(const ActionRows& rows, const ParallelFor& parallel_for) const;

  bool merged_ = false;
  int max_row_entries_ = 0, bandwidth_ = 0;
  ActionRows pairs_;
  AlignedArray<uint8_t> short_slots_;
  AlignedArray<uint32_t> slots_;
  mutable std::once_flag transposed_once_;
  mutable Transposed transposed_;
  mutable std::atomic<bool> has_transposed_ = false;
};

// Calls visit(place, s, row) for all places of the states of some slices; filling has the row of its lane.
template <typename Visitor>
void ForEachPlace(const ActionRows& rows, int64_t first_slice, int64_t last_slice, Visitor visit) {
  const int64_t S = rows.num_states(), A = rows.num_actions();
  if (rows.layout() == ActionRows::Layout::kRows) {
    for (int64_t row = first_slice * kLanes * A, end = std::min(last_slice * kLanes, S) * A; row < end; ++row) {
      for (uint64_t k = rows.RowBegin(row); k < rows.RowEnd(row); ++k) visit(k, row / A, row);
    }
    return;
  }
  for (int64_t slice = first_slice; slice < last_slice; ++slice) {
    for (int64_t a = 0; a < A; ++a) {
      const int64_t block = slice * A + a;
      for (uint64_t line = rows.lines()[block]; line < rows.lines()[block + 1]; ++line) {
        for (int64_t lane = 0; lane < kLanes; ++lane) {
          const int64_t s = std::min(slice * kLanes + lane, S - 1);
          visit(kLanes * line + static_cast<uint64_t>(lane), s, s * A + a);
        }
      }
    }
  }
}

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_POLICY_PATTERN_H_
