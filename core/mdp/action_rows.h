// Rows of a sparse matrix, one for each state s and action a, stored for walking through the states eight at a time.
//
// Slices: eight consecutive states make a slice. Within it each action has a block of lines, a line holding one entry
// of each of the eight rows side by side, so that sums, exponentials and logarithms run over states in lanes. Rows
// shorter than their block are filled up with entries of value 0. Where that would cost more than a quarter, entries
// stay row by row (CSR). A line whose columns follow each other, as neighbouring states of grids and queues have them,
// is read as it stands; of others each number is gathered. Small ones of which a good part is stored are full slices:
// the lines of a block are all columns in order, and nothing has to be gathered.
//
// Entries keep the order that they have within their row, and sums run in it: all layouts give the same bits for finite
// vectors, at any number of threads.
//
// Values are doubles or, to take half the memory, floats. Sums are in double precision either way: the same numbers
// give the same bits. Full slices are always of doubles.

#ifndef BILEVEL_CORE_MDP_ACTION_ROWS_H_
#define BILEVEL_CORE_MDP_ACTION_ROWS_H_

#include <cstdint>
#include <limits>
#include <span>

#include "core/base/aligned_array.h"
#include "core/base/lanes.h"

namespace bilevel {

// Work on all slices or states is cut into parts of so many.
inline constexpr int64_t kSlicesInPart = 2048;
inline constexpr int64_t kStatesInPart = kSlicesInPart * kLanes;

// Slices that S states make.
constexpr int64_t NumSlices(int64_t num_states) { return (num_states + kLanes - 1) / kLanes; }

class ActionRows {
 public:
  enum class Layout { kSlices, kRows, kFull };

  ActionRows() = default;
  // CSR with row s*A + a: offsets [S*A + 1], columns [offsets.back()], fewer than 2^32; values likewise, or empty: then
  // none are held, and kernels are given some; never kFull. Cost: O(entries).
  ActionRows(int num_states, int num_actions, std::span<const uint64_t> offsets, std::span<const uint32_t> columns,
             std::span<const double> values);

  Layout layout() const { return layout_; }
  int num_states() const { return num_states_; }
  int num_actions() const { return num_actions_; }
  int64_t num_rows() const { return static_cast<int64_t>(num_states_) * num_actions_; }
  uint64_t num_entries() const { return offsets_.empty() ? 0 : offsets_[offsets_.size() - 1]; }
  // What is held: entries and filling.
  uint64_t num_places() const { return columns_.size(); }

  // Entries are known by their number in row order, [0, num_entries()); their place is where they are stored.
  uint64_t RowBegin(int64_t row) const { return offsets_[static_cast<size_t>(row)]; }
  uint64_t RowEnd(int64_t row) const { return offsets_[static_cast<size_t>(row) + 1]; }
  // Place of the first entry of a row, and from one entry of a row to the next. Not for kFull.
  uint64_t FirstPlace(int64_t s, int64_t a) const {
    if (layout_ == Layout::kRows) return RowBegin(s * num_actions_ + a);
    return uint64_t{kLanes} * lines_[static_cast<size_t>(s / kLanes * num_actions_ + a)] +
           static_cast<uint64_t>(s % kLanes);
  }
  uint64_t Stride() const { return layout_ == Layout::kRows ? 1 : kLanes; }

  uint32_t column(uint64_t place) const { return columns_[place]; }
  double value(uint64_t place) const { return floats_.empty() ? values_[place] : double{floats_[place]}; }
  // Calls visit(values), a pointer to doubles or to floats by place, null where none are held.
  template <typename Visitor>
  void VisitValues(Visitor visit) const {
    if (floats_.empty()) {
      visit(values_.data());
    } else {
      visit(floats_.data());
    }
  }
  bool in_floats() const { return !floats_.empty(); }
  // Makes values doubles, if they were not, that can be written.
  double* ToDoubles();

  // Calls visit(entry, place) for the entries of a row, in order. Without its state and action it has to divide.
  template <typename Visitor>
  void ForEachInRow(int64_t row, Visitor visit) const {
    ForEachInRow(row / num_actions_, row % num_actions_, visit);
  }
  template <typename Visitor>
  void ForEachInRow(int64_t s, int64_t a, Visitor visit) const {
    const int64_t row = s * num_actions_ + a;
    if (layout_ == Layout::kFull) {
      for (uint64_t k = RowBegin(row), end = RowEnd(row); k < end; ++k) visit(k, uint64_t{places_[k]});
      return;
    }
    uint64_t place = FirstPlace(s, a);
    for (uint64_t k = RowBegin(row), end = RowEnd(row); k < end; ++k, place += Stride()) visit(k, place);
  }

  // The arrays themselves, for kernels: lines [slices*A + 1], the first line of each block (not for kRows); runs, the
  // first column of each line whose columns follow each other, else kNoRun (null unless kSlices, and where there are
  // few); offsets [S*A + 1]; columns and values by place, the latter in one of two types.
  const uint32_t* lines() const { return lines_.data(); }
  static constexpr uint32_t kNoRun = std::numeric_limits<uint32_t>::max();
  const uint32_t* runs() const { return runs_.data(); }
  const uint32_t* offsets() const { return offsets_.data(); }
  const uint32_t* columns() const { return columns_.data(); }
  const double* values() const { return values_.data(); }
  const float* floats() const { return floats_.data(); }

 private:
  friend class ActionRowsBuilder;

  int num_states_ = 0;
  int num_actions_ = 0;
  Layout layout_ = Layout::kRows;
  AlignedArray<uint32_t> offsets_;
  AlignedArray<uint32_t> lines_;
  AlignedArray<uint32_t> runs_;
  AlignedArray<uint32_t> places_;  // [entries], kFull alone
  AlignedArray<uint32_t> columns_;
  AlignedArray<double> values_;
  AlignedArray<float> floats_;  // in place of values_
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_ACTION_ROWS_H_
