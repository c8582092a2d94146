#include "core/mdp/policy_pattern.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "core/base/fetch.h"
#include "core/mdp/scatter_shares.h"

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

// Successors of one state after the other, in the order of its rows. On grids and the like those of most states are
// those of the state before, each one further, and what was found for it holds again.
class StateSuccessors {
 public:
  explicit StateSuccessors(const ActionRows& rows) : rows_(rows) {}

  // Whether they are so; the state before is that of the last call.
  bool Read(int64_t s) {
    columns_.swap(before_);
    const int64_t A = rows_.num_actions();
    columns_.resize(rows_.RowEnd((s + 1) * A - 1) - rows_.RowBegin(s * A));
    uint32_t* next = columns_.data();
    for (int64_t a = 0; a < A; ++a) {
      rows_.ForEachInRow(s, a, [&](uint64_t, uint64_t place) { *next++ = rows_.column(place); });
    }
    return !columns_.empty() && std::equal(columns_.begin(), columns_.end(), before_.begin(), before_.end(),
                                           [](uint32_t here, uint32_t before) { return here == before + 1; });
  }
  const std::vector<uint32_t>& columns() const { return columns_; }

 private:
  const ActionRows& rows_;
  std::vector<uint32_t> columns_, before_;
};

}  // namespace

PolicyPattern::PolicyPattern(const ActionRows& rows, const ParallelFor& parallel_for) {
  const uint64_t count = CountPairs(rows);
  merged_ = static_cast<double>(count) <= kWorthMerging * static_cast<double>(rows.num_entries());
  if (merged_) Merge(rows, count, parallel_for);
}

uint64_t PolicyPattern::CountPairs(const ActionRows& rows) {
  const int S = rows.num_states();
  std::vector<uint32_t> seen(static_cast<size_t>(S), kNone);
  StateSuccessors successors(rows);
  uint64_t pairs = 0;
  int count = 0;
  for (int s = 0; s < S; ++s) {
    if (!successors.Read(s)) {
      count = 0;
      for (const uint32_t column : successors.columns()) {
        bandwidth_ = std::max(bandwidth_, std::abs(s - static_cast<int>(column)));
        count += static_cast<int>(seen[column] != static_cast<uint32_t>(s));
        seen[column] = static_cast<uint32_t>(s);
      }
      max_row_entries_ = std::max(max_row_entries_, count);
    }
    pairs += static_cast<uint64_t>(count);
  }
  return pairs;
}

void PolicyPattern::Merge(const ActionRows& rows, uint64_t count, const ParallelFor& parallel_for) {
  const int S = rows.num_states();
  std::vector<uint64_t> offsets = {0};
  std::vector<uint32_t> columns(count), sorted;
  offsets.reserve(static_cast<size_t>(S) + 1);
  StateSuccessors successors(rows);
  for (int s = 0; s < S; ++s) {
    if (successors.Read(s)) {
      for (uint32_t& column : sorted) ++column;
    } else {
      sorted = successors.columns();
      std::sort(sorted.begin(), sorted.end());
      sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
    }
    std::copy(sorted.begin(), sorted.end(), columns.begin() + static_cast<std::ptrdiff_t>(offsets.back()));
    offsets.push_back(offsets.back() + sorted.size());
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
    StateSuccessors successors(rows);
    std::vector<Slot> of_state;
    for (int64_t s = first * kLanes; s < std::min<int64_t>(last * kLanes, S); ++s) {
      if (!successors.Read(s)) {
        const auto begin = columns.begin() + static_cast<std::ptrdiff_t>(offsets[static_cast<size_t>(s)]);
        const auto end = columns.begin() + static_cast<std::ptrdiff_t>(offsets[static_cast<size_t>(s) + 1]);
        of_state.clear();
        for (const uint32_t column : successors.columns()) {
          of_state.push_back(static_cast<Slot>(std::lower_bound(begin, end, column) - begin));
        }
      }
      size_t entry = 0;
      for (int a = 0; a < A; ++a) {
        rows.ForEachInRow(s, a, [&](uint64_t, uint64_t place) { slots[place] = of_state[entry++]; });
      }
    }
  });
}

const PolicyPattern::Transposed& PolicyPattern::MakeTransposed(const ActionRows& rows,
                                                               const ParallelFor& parallel_for) const {
  std::call_once(transposed_once_, [&] {
    Transpose(merged_ ? pairs_ : rows, parallel_for);
    has_transposed_ = true;
  });
  return transposed_;
}

void PolicyPattern::Transpose(const ActionRows& rows, const ParallelFor& parallel_for) const {
  const int S = rows.num_states(), A = rows.num_actions();
  // Calls work(share, s, a) for all rows.
  const auto for_rows = [&](const auto& work) {
    ForScatterShares(parallel_for, S, [&](int share, int64_t first, int64_t last) {
      for (int64_t s = first; s < last; ++s) {
        for (int a = 0; a < A; ++a) work(static_cast<size_t>(share), s, a);
      }
    });
  };
  const bool far = rows.runs() == nullptr && IsFar<uint32_t>(S);
  const auto fetch = [&](int64_t s, int a, const auto& place_of) {
    if (!far || s >= S) return;
    rows.ForEachInRow(s, a, [&](uint64_t, uint64_t place) { FetchToWrite(place_of(rows.column(place))); });
  };

  // How many entries a share has for each column, then where the next of them goes.
  std::vector<AlignedArray<uint32_t>> next(static_cast<size_t>(NumScatterShares(S)));
  for (AlignedArray<uint32_t>& counts : next) counts = AlignedArray<uint32_t>(static_cast<size_t>(S));
  ForScatterShares(parallel_for, S, [&](int share, int64_t, int64_t) {
    AlignedArray<uint32_t>& counts = next[static_cast<size_t>(share)];
    std::fill(counts.begin(), counts.end(), 0);
  });
  for_rows([&](size_t share, int64_t s, int a) {
    uint32_t* const counts = next[share].data();
    fetch(s + kFetchStatesAhead, a, [&](uint32_t column) { return counts + column; });
    rows.ForEachInRow(s, a, [&](uint64_t, uint64_t place) { ++counts[rows.column(place)]; });
  });
  std::vector<uint64_t> offsets(static_cast<size_t>(S) + 1, 0);
  uint32_t entry = 0;
  for (size_t s = 0; s < static_cast<size_t>(S); ++s) {
    for (AlignedArray<uint32_t>& counts : next) entry += std::exchange(counts[s], entry);
    offsets[s + 1] = entry;
    transposed_.max_row_entries = std::max(transposed_.max_row_entries, static_cast<int>(entry - offsets[s]));
  }

  AlignedArray<uint32_t> sources(entry);
  AlignedArray<uint32_t>& places = transposed_.places;
  places = AlignedArray<uint32_t>(rows.num_places());
  ForParts(parallel_for, static_cast<int64_t>(places.size()), kLanes * kStatesInPart,
           [&](int64_t begin, int64_t end) { std::fill(places.begin() + begin, places.begin() + end, kNone); });
  for_rows([&](size_t share, int64_t s, int a) {
    uint32_t* const to = next[share].data();
    fetch(s + 2 * kFetchStatesAhead, a, [&](uint32_t column) { return to + column; });
    fetch(s + kFetchStatesAhead, a, [&](uint32_t column) { return sources.data() + to[column]; });
    rows.ForEachInRow(s, a, [&](uint64_t, uint64_t place) {
      places[place] = to[rows.column(place)]++;
      sources[places[place]] = static_cast<uint32_t>(s);
    });
  });
  next.clear();
  transposed_.rows = ActionRows(S, 1, offsets, {sources.data(), sources.size()}, {});
  if (transposed_.rows.layout() != ActionRows::Layout::kSlices) return;
  for_rows([&](size_t, int64_t s, int a) {
    rows.ForEachInRow(s, a, [&](uint64_t, uint64_t place) {
      const uint32_t column = rows.column(place);
      places[place] =
          static_cast<uint32_t>(transposed_.rows.FirstPlace(column, 0) + kLanes * (places[place] - offsets[column]));
    });
  });
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
