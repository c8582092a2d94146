#include "core/mdp/action_rows.h"

#include <algorithm>

namespace bilevel {
namespace {

// Filled-up slices are used up to this many places for each entry.
constexpr double kMostFilling = 1.25;

}  // namespace

ActionRows::ActionRows(int num_states, int num_actions, std::span<const uint64_t> offsets,
                       std::span<const uint32_t> columns, std::span<const double> values)
    : num_states_(num_states), num_actions_(num_actions), offsets_(offsets.size()) {
  std::copy(offsets.begin(), offsets.end(), offsets_.begin());
  const int64_t A = num_actions, slices = NumSlices(num_states);
  AlignedArray<uint32_t> lines(static_cast<size_t>(slices * A + 1));
  uint64_t count = 0;
  for (int64_t slice = 0; slice < slices; ++slice) {
    const int64_t first = slice * kLanes, last = std::min<int64_t>(first + kLanes, num_states);
    for (int64_t a = 0; a < A; ++a) {
      uint64_t longest = 0;
      for (int64_t s = first; s < last; ++s) longest = std::max(longest, RowEnd(s * A + a) - RowBegin(s * A + a));
      lines[static_cast<size_t>(slice * A + a)] = static_cast<uint32_t>(count);
      count += longest;
    }
  }
  lines[static_cast<size_t>(slices * A)] = static_cast<uint32_t>(count);
  if (static_cast<double>(count * kLanes) > kMostFilling * static_cast<double>(columns.size())) {
    columns_ = AlignedArray<uint32_t>(columns.size());
    values_ = AlignedArray<double>(values.size());
    std::copy(columns.begin(), columns.end(), columns_.begin());
    std::copy(values.begin(), values.end(), values_.begin());
    return;
  }
  layout_ = Layout::kSlices;
  lines_ = std::move(lines);
  columns_ = AlignedArray<uint32_t>(count * kLanes);
  if (!values.empty()) values_ = AlignedArray<double>(count * kLanes);
  for (int64_t slice = 0; slice < slices; ++slice) {
    for (int64_t a = 0; a < A; ++a) {
      const size_t block = static_cast<size_t>(slice * A + a);
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        const int64_t s = slice * kLanes + lane, row = s * A + a;
        const uint64_t begin = s < num_states ? RowBegin(row) : 0, end = s < num_states ? RowEnd(row) : 0;
        uint64_t place = uint64_t{kLanes} * lines_[block] + static_cast<uint64_t>(lane);
        // Filling points at a state nearby, which is at hand.
        const uint32_t filling = begin < end ? columns[end - 1] : static_cast<uint32_t>(slice * kLanes);
        for (uint64_t k = begin; place < uint64_t{kLanes} * lines_[block + 1]; ++k, place += kLanes) {
          columns_[place] = k < end ? columns[k] : filling;
          if (!values.empty()) values_[place] = k < end ? values[k] : 0.0;
        }
      }
    }
  }
}

}  // namespace bilevel
