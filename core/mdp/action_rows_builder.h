// Puts ActionRows together in their final storage, from pieces in row order that may be cut anywhere: all offsets
// first, then entries.

#ifndef BILEVEL_CORE_MDP_ACTION_ROWS_BUILDER_H_
#define BILEVEL_CORE_MDP_ACTION_ROWS_BUILDER_H_

#include <algorithm>
#include <cstdint>
#include <span>

#include "core/mdp/action_rows.h"

namespace bilevel {

class ActionRowsBuilder {
 public:
  enum class Values { kNone, kDoubles, kFloats };

  // Bytes held by rows of these sizes: at most, since the layout is not known before the offsets are.
  static double MostBytes(int64_t num_states, int64_t num_actions, uint64_t num_entries, Values values);

  // Takes memory for offsets, and touches none.
  ActionRowsBuilder(int num_states, int num_actions);

  // The next of S*A + 1. They must begin with 0, never fall, and stay below 2^32, or the rows are not to be used.
  // Cost: O(piece).
  void AddOffsets(std::span<const uint64_t> piece);
  bool has_all_offsets() const { return num_offsets_ == rows_.offsets_.size(); }

  // After the last offset: chooses the layout and takes memory for entries, and touches next to none of it.
  void TakePlaces(Values values);
  // What the rows hold at most, after TakePlaces; less where hardly any line is a run.
  double Bytes() const;

  // How far a walk through all entries has come. No division on the way.
  struct Cursor {
    int64_t row = 0;
    uint64_t entry = 0;  // the next one's number
    int action = 0;
    int lane = 0;
    int64_t block = 0;
    uint32_t slice = 0;  // its first state
  };

  // A row as it is stored; filling goes from its last entry on, stride by stride, up to `last`.
  struct Row {
    int64_t number = 0;
    uint64_t first = 0, stride = 1, last = 0;  // places
    uint64_t entries = 0;
    uint32_t slice = 0;  // its first state
  };

  // Walks on with the next entries: calls part(place, stride, run) for each run of them that lies in one row, beginning
  // at that place, and end(row) after each row. Either may say false, which ends the walk there.
  template <typename T, typename Part, typename End>
  bool Walk(Cursor& at, std::span<const T> piece, const Part& part, const End& end) {
    return rows_.layout_ == ActionRows::Layout::kRows ? WalkLayout<1>(at, piece, part, end)
                                                      : WalkLayout<kLanes>(at, piece, part, end);
  }

  // All entries at once.
  void PutColumns(std::span<const uint32_t> columns);
  void PutValues(std::span<const double> values);
  // Filling of a row: a state nearby, which is at hand, and 0.
  void FillColumns(const Row& row) {
    const uint64_t end = row.first + row.entries * row.stride;
    if (end >= row.last) return;
    const uint32_t filling = row.entries == 0 ? row.slice : columns()[end - row.stride];
    for (uint64_t place = end; place < row.last; place += row.stride) columns()[place] = filling;
  }
  template <typename Real>
  void FillValues(const Row& row, Real* values) {
    for (uint64_t place = row.first + row.entries * row.stride; place < row.last; place += row.stride) {
      values[place] = 0;
    }
  }

  uint32_t* columns() { return rows_.columns_.data(); }
  // By place; null where they are of the other type.
  double* values() { return rows_.values_.data(); }
  float* floats() { return rows_.floats_.data(); }

  ActionRows Finish() &&;

 private:
  template <uint64_t kStride, typename T, typename Part, typename End>
  bool WalkLayout(Cursor& at, std::span<const T> piece, const Part& part, const End& end);

  // Bytes of full slices of these sizes where they are to be used, else 0.
  static double FullBytes(int64_t num_states, int64_t num_actions, uint64_t num_entries);
  // Whether rows that are not sliced are to be full slices.
  bool BecomesFull() const;
  void FindRuns();
  void MakeFull();

  ActionRows rows_;
  // Of offsets.
  uint64_t num_offsets_ = 0, last_offset_ = 0;
  int action_ = 0, lane_ = 0;
  int64_t state_ = 0, block_ = 0;
  uint64_t num_lines_ = 0;
};

template <uint64_t kStride, typename T, typename Part, typename End>
bool ActionRowsBuilder::WalkLayout(Cursor& at, std::span<const T> piece, const Part& part, const End& end) {
  constexpr bool kSlices = kStride != 1;
  const uint32_t* const offsets = rows_.offsets_.data();
  const uint32_t* const lines = rows_.lines_.data();
  const int64_t num_rows = rows_.num_rows();
  const int num_actions = rows_.num_actions_;
  while (at.row < num_rows) {
    const uint64_t begin = offsets[at.row], row_end = offsets[at.row + 1];
    const uint64_t first = kSlices ? uint64_t{kLanes} * lines[at.block] + static_cast<uint64_t>(at.lane) : begin;
    const uint64_t count = std::min<uint64_t>(piece.size(), row_end - at.entry);
    if (count != 0) {
      if (!part(first + (at.entry - begin) * kStride, kStride, piece.first(count))) return false;
      at.entry += count;
      piece = piece.subspan(count);
    }
    if (at.entry < row_end) return true;
    const Row row{.number = at.row,
                  .first = first,
                  .stride = kStride,
                  .last = kSlices ? uint64_t{kLanes} * lines[at.block + 1] : row_end,
                  .entries = row_end - begin,
                  .slice = at.slice};
    if (!end(row)) return false;
    ++at.row;
    ++at.block;
    if (++at.action == num_actions) {
      at.action = 0;
      if (++at.lane == kLanes) {
        at.lane = 0;
        at.slice += kLanes;
      } else {
        at.block -= num_actions;
      }
    }
  }
  return true;
}

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_ACTION_ROWS_BUILDER_H_
