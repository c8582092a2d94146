#include "core/mdp/policy_matrix.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <utility>
#include <vector>

namespace bilevel {
namespace {

// Pairs are merged when there are at most so many of them for each entry of P.
constexpr double kWorthMerging = 0.75;
// Entries of a row that bytes can tell apart.
constexpr int kShortRow = 256;
constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

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

}  // namespace

PolicyMatrix::PolicyMatrix(const TabularMdp& mdp, ParallelFor parallel_for)
    : mdp_(&mdp), parallel_for_(std::move(parallel_for)) {
  const uint64_t pairs = CountPairs();
  merged_ = static_cast<double>(pairs) <= kWorthMerging * static_cast<double>(mdp.num_entries());
  if (merged_) BuildMerged(pairs);
}

uint64_t PolicyMatrix::CountPairs() {
  const ActionRows& rows = mdp_->transitions();
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

void PolicyMatrix::BuildMerged(uint64_t pairs) {
  const ActionRows& rows = mdp_->transitions();
  const int S = rows.num_states(), A = rows.num_actions();
  std::vector<uint64_t> offsets = {0};
  std::vector<uint32_t> columns;
  offsets.reserve(static_cast<size_t>(S) + 1);
  columns.reserve(pairs);
  for (int s = 0; s < S; ++s) {
    const auto begin = static_cast<std::ptrdiff_t>(columns.size());
    for (int64_t row = int64_t{s} * A; row < (int64_t{s} + 1) * A; ++row) {
      rows.ForEachInRow(row, [&](uint64_t, uint64_t place) { columns.push_back(rows.column(place)); });
    }
    std::sort(columns.begin() + begin, columns.end());
    columns.erase(std::unique(columns.begin() + begin, columns.end()), columns.end());
    offsets.push_back(columns.size());
  }
  pattern_ = ActionRows(S, 1, offsets, columns, {});
  values_ = AlignedArray<double>(pattern_.num_places());
  if (max_row_entries_ <= kShortRow) {
    FindSlots(offsets, columns, short_slots_);
  } else {
    FindSlots(offsets, columns, slots_);
  }
}

template <typename Slot>
void PolicyMatrix::FindSlots(const std::vector<uint64_t>& offsets, const std::vector<uint32_t>& columns,
                             AlignedArray<Slot>& slots) const {
  const ActionRows& rows = mdp_->transitions();
  const int S = rows.num_states(), A = rows.num_actions();
  slots = AlignedArray<Slot>(rows.num_places());
  ForParts(parallel_for_, NumSlices(S), kSlicesInPart, [&](int64_t first, int64_t last) {
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

const PolicyMatrix::Transposed& PolicyMatrix::TheTransposed() const {
  if (transposed_ == nullptr) {
    auto transposed = std::make_unique<Transposed>();
    BuildTransposed(*transposed);
    transposed_ = std::move(transposed);
  }
  return *transposed_;
}

void PolicyMatrix::BuildTransposed(Transposed& transposed) const {
  const ActionRows& rows = merged_ ? pattern_ : mdp_->transitions();
  const int S = rows.num_states(), A = rows.num_actions();
  std::vector<uint64_t> offsets(static_cast<size_t>(S) + 1, 0);
  for (int64_t row = 0; row < rows.num_rows(); ++row) {
    rows.ForEachInRow(row, [&](uint64_t, uint64_t place) { ++offsets[rows.column(place) + 1]; });
  }
  for (int s = 0; s < S; ++s) {
    transposed.max_row_entries = std::max(transposed.max_row_entries, static_cast<int>(offsets[s + 1]));
    offsets[s + 1] += offsets[s];
  }
  std::vector<uint32_t> sources(offsets.back());
  AlignedArray<uint32_t>& places = transposed.places;
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
  transposed.pattern = ActionRows(S, 1, offsets, sources, {});
  sources = {};
  if (transposed.pattern.layout() == ActionRows::Layout::kSlices) {
    for (int64_t row = 0; row < rows.num_rows(); ++row) {
      rows.ForEachInRow(row, [&](uint64_t, uint64_t place) {
        const uint32_t column = rows.column(place);
        places[place] =
            static_cast<uint32_t>(transposed.pattern.FirstPlace(column) + kLanes * (places[place] - offsets[column]));
      });
    }
  }
  offsets = {};
  transposed.values = AlignedArray<double>(transposed.pattern.num_places());
  std::fill(transposed.values.begin(), transposed.values.end(), 0.0);
}

void PolicyMatrix::SetPolicy(const Vector& pi) {
  if (merged_ && !short_slots_.empty()) {
    FillMerged(pi, short_slots_);
  } else if (merged_) {
    FillMerged(pi, slots_);
  } else {
    pi_ = pi;
  }
  if (transposed_ != nullptr) transposed_->is_old = true;
}

template <typename Slot>
void PolicyMatrix::FillMerged(const Vector& pi, const AlignedArray<Slot>& slots) {
  const ActionRows& rows = mdp_->transitions();
  const bool sliced = pattern_.layout() == ActionRows::Layout::kSlices;
  ForParts(parallel_for_, NumSlices(num_states()), kSlicesInPart, [&](int64_t first, int64_t last) {
    ForEachPlace(pattern_, first, last, [&](uint64_t place, int64_t, int64_t) { values_[place] = 0; });
    rows.VisitValues([&](const auto* values) {
      ForEachPlace(rows, first, last, [&](uint64_t place, int64_t s, int64_t row) {
        const uint64_t slot = slots[place];
        const uint64_t target = sliced
                                    ? kLanes * (pattern_.lines()[s / kLanes] + slot) + static_cast<uint64_t>(s % kLanes)
                                    : pattern_.RowBegin(s) + slot;
        values_[target] += pi[row] * double{values[place]};
      });
    });
  });
}

const PolicyMatrix::Transposed& PolicyMatrix::FillTransposed() const {
  TheTransposed();
  Transposed& transposed = *transposed_;
  if (!std::exchange(transposed.is_old, false)) return transposed;
  const ActionRows& rows = merged_ ? pattern_ : mdp_->transitions();
  ForParts(parallel_for_, NumSlices(num_states()), kSlicesInPart, [&](int64_t first, int64_t last) {
    ForEachPlace(rows, first, last, [&](uint64_t place, int64_t, int64_t row) {
      const uint32_t target = transposed.places[place];
      if (target != kNone) transposed.values[target] = merged_ ? values_[place] : pi_[row] * rows.value(place);
    });
  });
  return transposed;
}

}  // namespace bilevel
