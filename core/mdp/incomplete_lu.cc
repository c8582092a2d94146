#include "core/mdp/incomplete_lu.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <type_traits>

#include "core/base/aligned_array.h"
#include "core/base/flush_tiny.h"

namespace bilevel {
namespace {

// About how many states a group has.
constexpr int64_t kStatesTogether = 524288;
// Fewer states than this make one block.
constexpr int64_t kWorthCutting = 32768;
// States go side by side where at least this share of places holds an entry. Where they do not, groups have so many
// states.
constexpr double kWorthPairing = 0.6;
// Levels are those of bands of consecutive states: a band ends where its levels have so many states on average, and it
// has so many, so that a solve moves along no more places at a time than near caches hold.
constexpr int64_t kLevelWidth = 64, kFewestInBand = 4096;
// So many slices of a level are solved together.
constexpr int64_t kSlicesInRun = 16;
// Fetched so many numbers before they are needed: states side by side are far apart.
constexpr int64_t kSoon = 16;
constexpr int64_t kStatesAlone = 65536;
// As many places are taken in any case.
constexpr uint64_t kFewPlaces = 65536;

// So many numbers, in vectors that every machine has: GCC 12 keeps longer ones in memory.
template <int kWidth, typename Real>
struct Packet {
  static constexpr int kInPart = std::min(kWidth, 16 / static_cast<int>(sizeof(Real))), kParts = kWidth / kInPart;
  typedef Real Part __attribute__((vector_size(kInPart * sizeof(Real))));      // NOLINT: no `using` for dependent ones
  typedef float Floats __attribute__((vector_size(kInPart * sizeof(float))));  // NOLINT

  template <typename From>
  static Packet Read(const From* from) {
    Packet packet;
    for (int k = 0; k < kParts; ++k) {
      if constexpr (std::is_same_v<From, Real>) {
        std::memcpy(&packet.part[k], from + k * kInPart, sizeof(Part));
      } else {
        Floats numbers;
        std::memcpy(&numbers, from + k * kInPart, sizeof numbers);
        packet.part[k] = __builtin_convertvector(numbers, Part);
      }
    }
    return packet;
  }
  void Write(Real* to) const { std::memcpy(to, part, sizeof part); }

  Packet& operator*=(const Packet& other) {
    for (int k = 0; k < kParts; ++k) part[k] *= other.part[k];
    return *this;
  }
  Packet& SubtractProduct(const Packet& x, const Packet& y) {
    for (int k = 0; k < kParts; ++k) part[k] -= x.part[k] * y.part[k];
    return *this;
  }

  Part part[kParts];
};

template <typename Real>
struct Packet<1, Real> {
  template <typename From>
  static Packet Read(const From* from) {
    return {static_cast<Real>(*from)};
  }
  void Write(Real* to) const { *to = part; }

  Packet& operator*=(const Packet& other) {
    part *= other.part;
    return *this;
  }
  Packet& SubtractProduct(const Packet& x, const Packet& y) {
    part -= x.part * y.part;
    return *this;
  }

  Real part;
};

}  // namespace

IncompleteLu::IncompleteLu(const SparseSquare& A, const ParallelFor& parallel_for, Order first)
    : parallel_for_(parallel_for) {
  Build(A, first);
}

IncompleteLu::IncompleteLu(const SystemRows& A, const ParallelFor& parallel_for, Order first)
    : parallel_for_(parallel_for) {
  Build(A, first);
}

void IncompleteLu::Renew(const SystemRows& A) { Factorize(A); }

template <typename Rows>
void IncompleteLu::Build(const Rows& A, Order first) {
  const int64_t S = A.size();
  const auto groups = [S](int64_t states) { return S < kWorthCutting ? 1 : (S + states - 1) / states; };
  const auto pays = [&](Order order) { return LayOut(A, order, groups(kStatesTogether)) >= kWorthPairing; };
  const bool found = (first == Order::kLevels && pays(Order::kLevels)) ||
                     (first != Order::kAlone && S >= kWorthCutting && pays(Order::kBlocks));
  if (!found) LayOut(A, Order::kAlone, groups(kStatesAlone));
  Factorize(A);
}

template <typename Rows>
double IncompleteLu::LayOut(const Rows& A, Order order, int64_t num_groups) {
  const int64_t S = A.size();
  order_ = order;
  groups_ = std::vector<Group>(static_cast<size_t>(num_groups));
  const int64_t count = num_groups * blocks_in_group();
  // Longer ones come first.
  blocks_.clear();
  for (int64_t block = 0; block <= count; ++block) blocks_.push_back(S / count * block + std::min(block, S % count));
  std::vector<uint64_t> entries(groups_.size());
  std::vector<char> sparse(groups_.size());
  ForParts(parallel_for_, num_groups, 1, [&](int64_t number, int64_t) {
    const auto at = static_cast<size_t>(number);
    sparse[at] = !FindSlots(A, number) || !FindLines(A, number, entries[at]);
  });
  double places = 0, filled = 0;
  for (size_t number = 0; number < groups_.size(); ++number) {
    if (sparse[number] != 0) return 0;
    filled += static_cast<double>(entries[number]);
    places += static_cast<double>(groups_[number].lower.values.size() + groups_[number].upper.values.size());
  }
  return places == 0 ? 1 : filled / places;
}

// Of each state: one more than the highest of those before it that it is coupled with, either way; at least one more
// than all of the bands before its own.
template <typename Rows>
std::vector<uint32_t> IncompleteLu::FindLevels(const Rows& A, int64_t number) const {
  const int64_t first = FirstState(number), last = LastState(number);
  std::vector<uint32_t> levels(static_cast<size_t>(last - first));
  uint32_t lowest = 0, highest = 0;
  int64_t count = 0;
  for (int64_t s = first; s < last; ++s) {
    uint32_t& level = levels[static_cast<size_t>(s - first)];
    if (count >= kFewestInBand && count >= kLevelWidth * (highest - lowest + 1)) {
      lowest = ++highest;
      count = 0;
    }
    ++count;
    level = std::max(level, lowest);
    // Columns increase: the level is known when those that follow come.
    A.ForEachInRow(s, [&](uint32_t column, double) {
      if (column < first || column == s || column >= last) return;
      uint32_t& other = levels[static_cast<size_t>(column - first)];
      if (column < s) {
        level = std::max(level, other + 1);
      } else {
        other = std::max(other, level + 1);
      }
    });
    highest = std::max(highest, level);
  }
  return levels;
}

void IncompleteLu::EachSliceARun(Group& group) const {
  group.runs.resize(static_cast<size_t>(group.num_slots / width()) + 1);
  std::iota(group.runs.begin(), group.runs.end(), 0U);
}

template <typename Rows>
bool IncompleteLu::FindSlots(const Rows& A, int64_t number) {
  Group& group = groups_[static_cast<size_t>(number)];
  const int64_t first = FirstState(number), last = LastState(number);
  if (order_ == Order::kAlone) {
    group.num_slots = last - first;
    EachSliceARun(group);
    return true;
  }
  if (order_ == Order::kBlocks) {
    const int64_t* const firsts = &blocks_[static_cast<size_t>(number * kWide)];
    const int64_t longest = firsts[1] - firsts[0];
    group.num_slots = longest * kWide;
    group.states.resize(static_cast<size_t>(group.num_slots));
    for (int64_t slot = 0; slot < group.num_slots; ++slot) {
      const int64_t lane = slot % kWide, s = firsts[lane] + slot / kWide;
      group.states[static_cast<size_t>(slot)] =
          static_cast<uint32_t>(s < firsts[lane + 1] ? s : firsts[0] + longest - 1);
    }
    EachSliceARun(group);
    return true;
  }
  const std::vector<uint32_t> levels = FindLevels(A, number);
  std::vector<int64_t> next;  // slot of the next state of each level
  for (const uint32_t level : levels) {
    if (level >= next.size()) next.resize(level + 1);
    ++next[level];
  }
  for (int64_t& slot : next) {
    const int64_t size = (slot + kWide - 1) / kWide * kWide;
    slot = group.num_slots;
    group.num_slots += size;
    for (int64_t begin = slot; begin < group.num_slots; begin += kSlicesInRun * kWide) {
      group.runs.push_back(static_cast<uint32_t>(begin / kWide));
    }
  }
  group.runs.push_back(static_cast<uint32_t>(group.num_slots / kWide));
  if (static_cast<uint64_t>(group.num_slots) > 2 * levels.size() + kFewPlaces) return false;
  group.states.resize(static_cast<size_t>(group.num_slots));
  for (int64_t s = first; s < last; ++s) {
    int64_t& slot = next[levels[static_cast<size_t>(s - first)]];
    const auto slice = group.states.begin() + slot;
    if (slot % kWide == 0) std::fill_n(slice, kWide, static_cast<uint32_t>(s));
    *slice = static_cast<uint32_t>(s);
    ++slot;
  }
  return true;
}

std::vector<uint32_t> IncompleteLu::SlotsOfStates(int64_t number) const {
  const Group& group = groups_[static_cast<size_t>(number)];
  const int64_t first = FirstState(number);
  std::vector<uint32_t> slots(static_cast<size_t>(LastState(number) - first));
  if (group.states.empty()) std::iota(slots.begin(), slots.end(), 0U);
  for (size_t slot = group.states.size(); slot-- > 0;) {
    slots[static_cast<size_t>(group.states[slot] - first)] = static_cast<uint32_t>(slot);
  }
  return slots;
}

void IncompleteLu::AddLines(const std::vector<std::vector<uint32_t>>& columns, Triangle& triangle) {
  size_t most = 0;
  for (const auto& lane : columns) most = std::max(most, lane.size());
  for (size_t k = 0; k < most; ++k) {
    int64_t start = -1;
    uint32_t any = 0;
    bool follow = true;
    for (size_t lane = 0; lane < columns.size(); ++lane) {
      if (columns[lane].size() <= k) continue;
      any = columns[lane][k];
      const int64_t its_start = int64_t{any} - static_cast<int64_t>(lane);
      follow = follow && its_start >= 0 && (start < 0 || its_start == start);
      start = its_start;
    }
    if (follow) {
      triangle.starts.push_back(static_cast<uint32_t>(start));
      continue;
    }
    triangle.starts.push_back(kApart + static_cast<uint32_t>(triangle.columns.size()));
    for (const auto& lane : columns) triangle.columns.push_back(lane.size() <= k ? any : lane[k]);
  }
  triangle.offsets.push_back(static_cast<uint32_t>(triangle.starts.size()));
}

template <typename Rows>
bool IncompleteLu::FindLines(const Rows& A, int64_t number, uint64_t& entries) {
  Group& group = groups_[static_cast<size_t>(number)];
  const std::vector<uint32_t> slots = SlotsOfStates(number);
  const int64_t start = FirstState(number), wide = width();
  for (Triangle* triangle : {&group.lower, &group.upper}) {
    triangle->offsets.reserve(static_cast<size_t>(group.num_slots / wide) + 1);
    triangle->offsets.push_back(0);
  }
  std::vector<std::vector<uint32_t>> below(static_cast<size_t>(wide)), above = below;
  const auto places = [&] {
    return (group.lower.starts.size() + group.upper.starts.size()) * static_cast<size_t>(wide);
  };
  for (int64_t slot = 0; slot < group.num_slots; slot += wide) {
    for (int64_t lane = 0; lane < wide; ++lane) {
      auto &lower = below[static_cast<size_t>(lane)], &upper = above[static_cast<size_t>(lane)];
      lower.clear();
      upper.clear();
      const uint32_t s =
          group.states.empty() ? static_cast<uint32_t>(start + slot) : group.states[static_cast<size_t>(slot + lane)];
      if (slots[static_cast<size_t>(s - start)] != slot + lane) continue;
      const auto block = static_cast<size_t>(BlockOf(number, lane));
      const int64_t first = blocks_[block], last = blocks_[block + 1];
      A.ForEachInRow(s, [&](uint32_t column, double) {
        if (column < first || column >= last || column == s) return;
        (column < s ? lower : upper).push_back(slots[static_cast<size_t>(column - start)]);
      });
      entries += lower.size() + upper.size();
    }
    AddLines(below, group.lower);
    AddLines(above, group.upper);
    if (places() > 2 * entries + kFewPlaces) return false;
  }
  for (Triangle* triangle : {&group.lower, &group.upper}) {
    triangle->starts.shrink_to_fit();
    triangle->columns.shrink_to_fit();
    triangle->values.assign(triangle->starts.size() * static_cast<size_t>(wide), 0.0F);
  }
  group.inverse_pivots.assign(static_cast<size_t>(group.num_slots), 0.0F);
  return true;
}

template <typename Rows>
void IncompleteLu::Factorize(const Rows& A) {
  ForParts(parallel_for_, num_groups(), 1, [&](int64_t number, int64_t) { FactorizeGroup(A, number); });
}

// State by state, in their own order: between states that are coupled it is that of slots.
template <typename Rows>
void IncompleteLu::FactorizeGroup(const Rows& A, int64_t number) {
  Group& group = groups_[static_cast<size_t>(number)];
  const std::vector<uint32_t> slots = SlotsOfStates(number);
  const int64_t start = FirstState(number);
  // A slot's slice and lane.
  const uint32_t wide = width(), shift = std::countr_zero(wide);
  const auto slice = [shift](uint32_t slot) { return slot >> shift; };
  const auto lane = [wide](uint32_t slot) { return slot & (wide - 1); };
  // The row at hand, columns by slots, in the order of states; `where` a column is in it, if it is.
  std::vector<uint32_t> columns, where(static_cast<size_t>(group.num_slots));
  std::vector<double> row;
  const auto place = [&](uint32_t line, uint32_t slot) { return size_t{line} * wide + lane(slot); };
  for (int64_t block = number * blocks_in_group(); block < (number + 1) * blocks_in_group(); ++block) {
    const int64_t first = blocks_[static_cast<size_t>(block)], last = blocks_[static_cast<size_t>(block) + 1];
    for (int64_t s = first; s < last; ++s) {
      const uint32_t slot = slots[static_cast<size_t>(s - start)];
      columns.clear();
      row.clear();
      A.ForEachInRow(s, [&](uint32_t column, double value) {
        if (column < first || column >= last) return;
        const uint32_t at = slots[static_cast<size_t>(column - start)];
        where[at] = static_cast<uint32_t>(columns.size());
        columns.push_back(at);
        row.push_back(value);
      });
      const uint32_t diagonal = where[slot];
      for (uint32_t i = 0; i < diagonal; ++i) {
        const uint32_t at = columns[i];
        group.lower.values[place(group.lower.offsets[slice(slot)] + i, slot)] =
            static_cast<float>(row[i] * double{group.inverse_pivots[at]});
        const uint32_t end = group.upper.offsets[slice(at) + 1];
        for (uint32_t k = group.upper.offsets[slice(at)]; k < end; ++k) {
          const uint32_t begin = group.upper.starts[k];
          const uint32_t column = begin < kApart ? begin + lane(at) : group.upper.columns[begin - kApart + lane(at)];
          if (column >= where.size()) continue;  // of a lane without an entry
          const uint32_t there = where[column];
          if (there >= columns.size() || columns[there] != column) continue;
          row[there] -= row[i] * double{group.upper.values[place(k, at)]};
        }
      }
      const double inverse = 1 / row[diagonal];
      group.inverse_pivots[slot] = static_cast<float>(inverse);
      for (uint32_t i = diagonal + 1; i < columns.size(); ++i) {
        group.upper.values[place(group.upper.offsets[slice(slot)] + i - diagonal - 1, slot)] =
            static_cast<float>(inverse * row[i]);
      }
    }
  }
}

template <int kWidth, bool kTransposed, typename Real>
void IncompleteLu::SolveGroups(const VectorOf<Real>& b, VectorOf<Real>& x) const {
  using Reals = Packet<kWidth, Real>;
  ForParts(parallel_for_, num_groups(), 1, [&](int64_t number, int64_t) {
    const FlushTiny<Real> flush;
    const Group& group = groups_[static_cast<size_t>(number)];
    const int64_t count = group.num_slots / kWidth, first = FirstState(number);
    const float* const pivots = group.inverse_pivots.data();
    const Real* const b_data = b.data();
    Real* const x_data = x.data();
    // The vector by slots; empty ones have 0. Lanes without an entry may read as far as a slice beyond the last slot.
    AlignedArray<Real> by_slots(kWidth == 1 ? 0 : static_cast<size_t>(group.num_slots + kWidth));
    Real* const y = kWidth == 1 ? x.data() + first : by_slots.data();
    if (kWidth > 1) std::fill_n(y + group.num_slots, kWidth, Real{0});
    const auto take = [&](int64_t slice) {
      if (kWidth == 1) {
        y[slice] = b_data[first + slice];
        return;
      }
      const uint32_t* const states = group.states.data() + slice * kWidth;
      Real* const to = y + slice * kWidth;
      for (int lane = 0; lane < kWidth; ++lane) to[lane] = b_data[states[lane]];
      for (int lane = 0; lane < kWidth; ++lane) __builtin_prefetch(b_data + states[lane] + kSoon);
    };
    const auto give = [&](int64_t slice) {
      if (kWidth == 1) return;
      const uint32_t* const states = group.states.data() + slice * kWidth;
      const Real* const from = y + slice * kWidth;
      // The first lane's state stands in for those that are not there.
      for (int lane = kWidth - 1; lane >= 0; --lane) x_data[states[lane]] = from[lane];
      for (int lane = 0; lane < kWidth; ++lane) __builtin_prefetch(x_data + states[lane] - kSoon, 1);
    };
    // A slice's lines of the triangle times y, off `left`.
    const auto subtract_rows = [&](const Triangle& triangle, int64_t slice, Reals left) {
      const auto at = static_cast<size_t>(slice);
      const uint32_t* const starts = triangle.starts.data();
      const float* const values = triangle.values.data();
      for (uint32_t line = triangle.offsets[at], end = triangle.offsets[at + 1]; line < end; ++line) {
        const uint32_t start = starts[line];
        const Reals factor = Reals::Read(values + size_t{line} * kWidth);
        if (start < kApart) {
          left.SubtractProduct(factor, Reals::Read(y + start));
        } else {
          Real known[kWidth];
          const uint32_t* const columns = &triangle.columns[start - kApart];
          for (int lane = 0; lane < kWidth; ++lane) known[lane] = y[columns[lane]];
          left.SubtractProduct(factor, Reals::Read(known));
        }
      }
      return left;
    };
    // The lines of slices of one level times what they have in y, off y. A line of each, then the next of each: those
    // of one slice write where others of it have just written.
    const auto subtract_columns = [&](const Triangle& triangle, int64_t begin, int64_t end) {
      const uint32_t* const offsets = triangle.offsets.data();
      const uint32_t* const starts = triangle.starts.data();
      const float* const values = triangle.values.data();
      bool more = true;
      for (uint32_t k = 0; more; ++k) {
        more = false;
        for (int64_t slice = begin; slice < end; ++slice) {
          const uint32_t line = offsets[slice] + k;
          if (line >= offsets[slice + 1]) continue;
          more = true;
          const Reals solved = Reals::Read(y + slice * kWidth);
          const uint32_t start = starts[line];
          Reals share = Reals::Read(values + size_t{line} * kWidth);
          if (start < kApart) {
            Reals::Read(y + start).SubtractProduct(share, solved).Write(y + start);
          } else {
            Real shares[kWidth];
            share *= solved;
            share.Write(shares);
            const uint32_t* const columns = &triangle.columns[start - kApart];
            for (int lane = 0; lane < kWidth; ++lane) y[columns[lane]] -= shares[lane];
          }
        }
      }
    };

    if constexpr (kTransposed) {
      for (int64_t i = 0; i < count; ++i) take(i);
      for (size_t run = 0; run + 1 < group.runs.size(); ++run) {
        const int64_t begin = group.runs[run], end = group.runs[run + 1];
        subtract_columns(group.upper, begin, end);
        for (int64_t i = begin; i < end; ++i) {
          Reals solved = Reals::Read(y + i * kWidth);
          solved *= Reals::Read(pivots + i * kWidth);
          solved.Write(y + i * kWidth);
        }
      }
      for (size_t run = group.runs.size() - 1; run-- > 0;) {
        const int64_t begin = group.runs[run], end = group.runs[run + 1];
        subtract_columns(group.lower, begin, end);
        for (int64_t i = end - 1; i >= begin; --i) give(i);
      }
    } else {
      constexpr int64_t kAhead = 16;  // what is taken is written by then
      for (int64_t i = 0; i < std::min(kAhead, count); ++i) take(i);
      for (int64_t i = 0; i < count; ++i) {
        if (i + kAhead < count) take(i + kAhead);
        subtract_rows(group.lower, i, Reals::Read(y + i * kWidth)).Write(y + i * kWidth);
      }
      for (int64_t i = count - 1; i >= 0; --i) {
        Reals solved = Reals::Read(y + i * kWidth);
        solved *= Reals::Read(pivots + i * kWidth);
        subtract_rows(group.upper, i, solved).Write(y + i * kWidth);
        if (i + kAhead < count) give(i + kAhead);
      }
      for (int64_t i = std::min(kAhead, count) - 1; i >= 0; --i) give(i);
    }
  });
}

template <typename Real>
void IncompleteLu::Solve(const VectorOf<Real>& b, VectorOf<Real>& x) const {
  x.resize(b.size());
  width() == 1 ? SolveGroups<1, false>(b, x) : SolveGroups<kWide, false>(b, x);
}

template <typename Real>
void IncompleteLu::SolveTransposed(const VectorOf<Real>& b, VectorOf<Real>& x) const {
  x.resize(b.size());
  width() == 1 ? SolveGroups<1, true>(b, x) : SolveGroups<kWide, true>(b, x);
}

template void IncompleteLu::Solve(const VectorOf<double>&, VectorOf<double>&) const;
template void IncompleteLu::Solve(const VectorOf<float>&, VectorOf<float>&) const;
template void IncompleteLu::SolveTransposed(const VectorOf<double>&, VectorOf<double>&) const;
template void IncompleteLu::SolveTransposed(const VectorOf<float>&, VectorOf<float>&) const;

}  // namespace bilevel
