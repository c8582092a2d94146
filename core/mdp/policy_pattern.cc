#include "core/mdp/policy_pattern.h"

#include <algorithm>
#include <cstdlib>

namespace bilevel {
namespace {

// Pairs are merged when there are at most so many of them for each entry of P.
constexpr double kWorthMerging = 0.75;
// Entries of a row that bytes can tell apart.
constexpr int kShortRow = 256;

double BytesOf(const ActionRows& rows) {
  const auto blocks = static_cast<double>(NumSlices(rows.num_states()) * rows.num_actions());
  return sizeof(uint32_t) *
         (static_cast<double>(rows.num_rows()) + blocks + (1 + 1.0 / kLanes) * static_cast<double>(rows.num_places()));
}

}  // namespace

PolicyPattern::PolicyPattern(const ActionRows& rows, const ParallelFor& parallel_for) {
  const uint64_t count = CountPairs(rows);
  merged_ = static_cast<double>(count) <= kWorthMerging * static_cast<double>(rows.num_entries());
  if (merged_) Merge(rows, count, parallel_for);
}

uint64_t PolicyPattern::CountPairs(const ActionRows& rows) {
  const int S = rows.num_states(), A = rows.num_actions();
  std::vector<uint32_t> seen(static_cast<size_t>(S), kNone);
  uint64_t pairs = 0;
  for (int s = 0; s < S; ++s) {
    const uint64_t before = pairs;
    for (int64_t row = int64_t{s} * A; row < (int64_t{s} + 1) * A; ++row) {
      rows.ForEachInRow(row, [&](uint64_t, uint64_t place) {
        const uint32_t column = rows.column(place);
        bandwidth_ = std::max(bandwidth_, std::abs(s - static_cast<int>(column)));
        pairs += seen[column] != static_cast<uint32_t>(s);
        seen[column] = static_cast<uint32_t>(s);
      });
    }
    max_row_entries_ = std::max(max_row_entries_, static_cast<int>(pairs - before));
  }
  return pairs;
}

void PolicyPattern::Merge(const ActionRows& rows, uint64_t count, const ParallelFor& parallel_for) {
  const int S = rows.num_states(), A = rows.num_actions();
  std::vector<uint64_t> offsets = {0};
  std::vector<uint32_t> columns;
  offsets.reserve(static_cast<size_t>(S) + 1);
  columns.reserve(count);
  for (int s = 0; s < S; ++s) {
    const auto begin = static_cast<std::ptrdiff_t>(columns.size());
    for (int64_t row = int64_t{s} * A; row < (int64_t{s} + 1) * A; ++row) {
      rows.ForEachInRow(row, [&](uint64_t, uint64_t place) { columns.push_back(rows.column(place)); });
    }
    std::sort(columns.begin() + begin, columns.end());
    columns.erase(std::unique(columns.begin() + begin, columns.end()), columns.end());
    offsets.push_back(columns.size());
  }
  pairs_ = ActionRows(S, 1, offsets, columns, {});
  if (max_row_entries_ <= kShortRow) {
    FindSlots(rows, offsets, columns, parallel_for, short_slots_);
  } else {
    FindSlots(rows, offsets, columns, parallel_for, slots_);
  }
}

template <typename Slot>
void PolicyPattern::FindSlots(const ActionRows& rows, const std::vector<uint64_t>& offsets,
                              const std::vector<uint32_t>& columns, const ParallelFor& parallel_for,
                              AlignedArray<Slot>& slots) {
  const int S = rows.num_states(), A = rows.num_actions();
  slots = AlignedArray<Slot>(rows.num_places());
  ForParts(parallel_for, NumSlices(S), kSlicesInPart, [&](int64_t first, int64_t last) {
    // Filling adds 0 to whatever comes first.
    ForEachPlace(rows, first, last, [&](uint64_t place, int64_t, int64_t) { slots[place] = 0; });
    for (int64_t s = first * kLanes; s < std::min<int64_t>(last * kLanes, S); ++s) {
      const auto begin = columns.begin() + static_cast<std::ptrdiff_t>(offsets[static_cast<size_t>(s)]);
      const auto end = columns.begin() + static_cast<std::ptrdiff_t>(offsets[static_cast<size_t>(s) + 1]);
      for (int64_t row = s * A; row < (s + 1) * A; ++row) {
        rows.ForEachInRow(row, [&](uint64_t, uint64_t place) {
          slots[place] = static_cast<Slot>(std::lower_bound(begin, end, rows.column(place)) - begin);
        });
      }
    }
  });
}

const PolicyPattern::Transposed& PolicyPattern::MakeTransposed(const ActionRows& rows) const {
  std::call_once(transposed_once_, [&] {
    Transpose(merged_ ? pairs_ : rows);
    has_transposed_ = true;
  });
  return transposed_;
}

void PolicyPattern::Transpose(const ActionRows& rows) const {
  const int S = rows.num_states(), A = rows.num_actions();
  std::vector<uint64_t> offsets(static_cast<size_t>(S) + 1, 0);
  for (int64_t row = 0; row < rows.num_rows(); ++row) {
    rows.ForEachInRow(row, [&](uint64_t, uint64_t place) { ++offsets[rows.column(place) + 1]; });
  }
  for (int s = 0; s < S; ++s) {
    transposed_.max_row_entries = std::max(transposed_.max_row_entries, static_cast<int>(offsets[s + 1]));
    offsets[s + 1] += offsets[s];
  }
  std::vector<uint32_t> sources(offsets.back());
  AlignedArray<uint32_t>& places = transposed_.places;
  places = AlignedArray<uint32_t>(rows.num_places());
  std::fill(places.begin(), places.end(), kNone);
  // Each offset moves on to the next one, and back.
  for (int64_t row = 0; row < rows.num_rows(); ++row) {
    rows.ForEachInRow(row, [&](uint64_t, uint64_t place) {
      const uint64_t entry = offsets[rows.column(place)]++;
      sources[entry] = static_cast<uint32_t>(row / A);
      places[place] = static_cast<uint32_t>(entry);
    });
  }
  std::copy_backward(offsets.begin(), offsets.end() - 1, offsets.end());
  offsets[0] = 0;
  transposed_.rows = ActionRows(S, 1, offsets, sources, {});
  sources = {};
  if (transposed_.rows.layout() != ActionRows::Layout::kSlices) return;
  for (int64_t row = 0; row < rows.num_rows(); ++row) {
    rows.ForEachInRow(row, [&](uint64_t, uint64_t place) {
      const uint32_t column = rows.column(place);
      places[place] =
          static_cast<uint32_t>(transposed_.rows.FirstPlace(column) + kLanes * (places[place] - offsets[column]));
    });
  }
}

double PolicyPattern::Bytes() const {
  double bytes =
      sizeof *this + static_cast<double>(short_slots_.size()) + sizeof(uint32_t) * static_cast<double>(slots_.size());
  if (merged_) bytes += BytesOf(pairs_);
  if (has_transposed_) {
    bytes += BytesOf(transposed_.rows) + sizeof(uint32_t) * static_cast<double>(transposed_.places.size());
  }
  return bytes;
}

}  // namespace bilevel
