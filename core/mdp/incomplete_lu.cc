#include "core/mdp/incomplete_lu.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "core/base/aligned_array.h"
#include "core/base/flush_tiny.h"

namespace bilevel {
namespace {

// About how many states the blocks of a group have together.
constexpr int64_t kStatesTogether = 524288;
// Fewer states than this make one block.
constexpr int64_t kWorthCutting = 32768;
// Blocks go side by side where at least this share of places holds an entry. Where they do not, they have so many
// states each.
constexpr double kWorthPairing = 0.6;
constexpr int64_t kStatesAlone = 65536;
// As many places are taken in any case.
constexpr size_t kFewPlaces = 65536;

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

IncompleteLu::IncompleteLu(const SparseSquare& A, const ParallelFor& parallel_for) : parallel_for_(parallel_for) {
  Build(A);
}

IncompleteLu::IncompleteLu(const SystemRows& A, const ParallelFor& parallel_for) : parallel_for_(parallel_for) {
  Build(A);
}

void IncompleteLu::Renew(const SystemRows& A) { Factorize(A); }

template <typename Rows>
void IncompleteLu::Build(const Rows& A) {
  const int64_t S = A.size();
  const auto cut = [&](int64_t num_groups, int width) {
    Cut(S, num_groups, width);
    return FindPattern(A);
  };
  if (S < kWorthCutting) {
    cut(1, 1);
  } else if (cut((S + kStatesTogether - 1) / kStatesTogether, kWide) < kWorthPairing) {
    cut((S + kStatesAlone - 1) / kStatesAlone, 1);
  }
  Factorize(A);
}

void IncompleteLu::Cut(int64_t num_states, int64_t num_groups, int width) {
  width_ = width;
  const int64_t count = num_groups * width;
  blocks_.clear();
  for (int64_t block = 0; block <= count; ++block) blocks_.push_back(num_states * block / count);
  longest_ = (num_states + count - 1) / count;
}

void IncompleteLu::AddLines(const std::vector<std::vector<uint32_t>>& columns, Triangle& triangle) const {
  size_t most = 0;
  for (const auto& lane : columns) most = std::max(most, lane.size());
  for (size_t k = 0; k < most; ++k) {
    uint32_t any = 0;
    bool same = true, found = false;
    for (const auto& lane : columns) {
      if (lane.size() <= k) continue;
      same = same && (!found || lane[k] == any);
      if (!found) any = lane[k];
      found = true;
    }
    if (same) {
      triangle.starts.push_back(any);
      continue;
    }
    triangle.starts.push_back(kApart + static_cast<uint32_t>(triangle.columns.size()));
    for (const auto& lane : columns) triangle.columns.push_back(lane.size() <= k ? any : lane[k]);
  }
  triangle.offsets.push_back(static_cast<uint32_t>(triangle.starts.size()));
}

template <typename Rows>
double IncompleteLu::FindPattern(const Rows& A) {
  lower_ = upper_ = {};
  for (Triangle* triangle : {&lower_, &upper_}) {
    triangle->offsets.reserve(static_cast<size_t>(num_groups() * longest_) + 1);
    triangle->offsets.push_back(0);
  }
  std::vector<std::vector<uint32_t>> below(static_cast<size_t>(width_)), above = below;
  const auto width = static_cast<size_t>(width_);
  uint64_t entries = 0;
  const auto places = [&] { return (lower_.starts.size() + upper_.starts.size()) * width; };
  for (int64_t group = 0; group < num_groups(); ++group) {
    const int64_t* const firsts = &blocks_[static_cast<size_t>(group * width_)];
    for (int64_t i = 0; i < longest_; ++i) {
      for (int lane = 0; lane < width_; ++lane) {
        auto &lower = below[static_cast<size_t>(lane)], &upper = above[static_cast<size_t>(lane)];
        lower.clear();
        upper.clear();
        const int64_t first = firsts[lane], last = firsts[lane + 1], s = first + i;
        if (s >= last) continue;
        A.ForEachInRow(s, [&](uint32_t column, double) {
          if (column < first || column >= last || column == s) return;
          (column < s ? lower : upper).push_back(static_cast<uint32_t>(column - first));
        });
        entries += lower.size() + upper.size();
      }
      AddLines(below, lower_);
      AddLines(above, upper_);
      if (places() > 2 * entries + kFewPlaces) return 0;
    }
  }
  for (Triangle* triangle : {&lower_, &upper_}) {
    triangle->starts.shrink_to_fit();
    triangle->columns.shrink_to_fit();
    triangle->values.assign(triangle->starts.size() * width, 0.0F);
  }
  inverse_pivots_.assign(static_cast<size_t>(num_groups() * longest_) * width, 0.0F);
  return places() == 0 ? 1.0 : static_cast<double>(entries) / static_cast<double>(places());
}

template <typename Rows>
void IncompleteLu::Factorize(const Rows& A) {
  ForParts(parallel_for_, num_groups(), 1, [&](int64_t group, int64_t) {
    for (int64_t block = group * width_; block < (group + 1) * width_; ++block) FactorizeBlock(A, block);
  });
}

template <typename Rows>
void IncompleteLu::FactorizeBlock(const Rows& A, int64_t block) {
  const int64_t first = blocks_[static_cast<size_t>(block)], last = blocks_[static_cast<size_t>(block) + 1];
  const int64_t lane = block % width_, top = block / width_ * longest_;
  const auto width = static_cast<size_t>(width_);
  const auto place = [&](uint32_t line) { return line * width + static_cast<size_t>(lane); };
  const auto pivot = [&](int64_t i) -> float& {
    return inverse_pivots_[static_cast<size_t>(top + i) * width + static_cast<size_t>(lane)];
  };
  // The row at hand: which row it was that last had an entry there.
  struct Entry {
    double value;
    int64_t row;
  };
  std::vector<Entry> row(static_cast<size_t>(longest_), Entry{0, -1});
  std::vector<uint32_t> below, above;
  for (int64_t i = 0; i < last - first; ++i) {
    below.clear();
    above.clear();
    A.ForEachInRow(first + i, [&](uint32_t column, double value) {
      if (column < first || column >= last) return;
      const auto at = static_cast<uint32_t>(column - first);
      row[at] = {value, i};
      if (at < i) below.push_back(at);
      if (at > i) above.push_back(at);
    });
    uint32_t line = lower_.offsets[static_cast<size_t>(top + i)];
    for (const uint32_t at : below) {
      const double factor = row[at].value;
      lower_.values[place(line++)] = static_cast<float>(factor * static_cast<double>(pivot(at)));
      const uint32_t end = upper_.offsets[static_cast<size_t>(top + at) + 1];
      for (uint32_t k = upper_.offsets[static_cast<size_t>(top + at)]; k < end; ++k) {
        Entry& entry = row[Column(upper_, k, lane)];
        if (entry.row == i) entry.value -= factor * static_cast<double>(upper_.values[place(k)]);
      }
    }
    const double inverse = 1 / row[static_cast<size_t>(i)].value;
    pivot(i) = static_cast<float>(inverse);
    line = upper_.offsets[static_cast<size_t>(top + i)];
    for (const uint32_t at : above) upper_.values[place(line++)] = static_cast<float>(inverse * row[at].value);
  }
}

template <int kWidth, bool kTransposed, typename Real>
void IncompleteLu::SolveGroups(const VectorOf<Real>& b, VectorOf<Real>& x) const {
  using Reals = Packet<kWidth, Real>;
  ForParts(parallel_for_, num_groups(), 1, [&](int64_t group, int64_t) {
    const FlushTiny<Real> flush;
    const int64_t top = group * longest_;
    const int64_t* const firsts = &blocks_[static_cast<size_t>(group * kWidth)];
    const float* const pivots = inverse_pivots_.data() + top * kWidth;
    // The blocks' parts of the vector, state by state; past the end of a block 0.
    AlignedArray<Real> side_by_side(kWidth == 1 ? 0 : static_cast<size_t>(longest_ * kWidth));
    Real* const y = kWidth == 1 ? x.data() + firsts[0] : side_by_side.data();
    const Real* from[kWidth];
    Real* to[kWidth];
    int64_t sizes[kWidth], shortest = longest_;
    for (int lane = 0; lane < kWidth; ++lane) {
      from[lane] = b.data() + firsts[lane];
      to[lane] = x.data() + firsts[lane];
      sizes[lane] = firsts[lane + 1] - firsts[lane];
      shortest = std::min(shortest, sizes[lane]);
    }
    const int64_t count = kWidth == 1 ? sizes[0] : longest_;
    const auto take = [&](int64_t i) {
      Real* const row = y + i * kWidth;
      if (i < shortest) {
        for (int lane = 0; lane < kWidth; ++lane) row[lane] = from[lane][i];
      } else {
        for (int lane = 0; lane < kWidth; ++lane) row[lane] = i < sizes[lane] ? from[lane][i] : Real{0};
      }
    };
    const auto give = [&](int64_t i) {
      if (kWidth == 1) return;
      const Real* const row = y + i * kWidth;
      if (i < shortest) {
        for (int lane = 0; lane < kWidth; ++lane) to[lane][i] = row[lane];
      } else {
        for (int lane = 0; lane < kWidth; ++lane) {
          if (i < sizes[lane]) to[lane][i] = row[lane];
        }
      }
    };
    // Row i of the triangle times y, off `left`.
    const auto subtract_row = [&](const Triangle& triangle, int64_t i, Reals left) {
      const auto row = static_cast<size_t>(top + i);
      const uint32_t* const starts = triangle.starts.data();
      const float* const values = triangle.values.data();
      for (uint32_t line = triangle.offsets[row], end = triangle.offsets[row + 1]; line < end; ++line) {
        const uint32_t start = starts[line];
        const Reals factor = Reals::Read(values + size_t{line} * kWidth);
        if (start < kApart) {
          left.SubtractProduct(factor, Reals::Read(y + size_t{start} * kWidth));
        } else {
          Real known[kWidth];
          const uint32_t* const columns = &triangle.columns[start - kApart];
          for (int lane = 0; lane < kWidth; ++lane) known[lane] = y[size_t{columns[lane]} * kWidth + size_t(lane)];
          left.SubtractProduct(factor, Reals::Read(known));
        }
      }
      return left;
    };
    // Row i of the triangle times `solved`, off y.
    const auto subtract_column = [&](const Triangle& triangle, int64_t i, const Reals solved) {
      const auto row = static_cast<size_t>(top + i);
      const uint32_t* const starts = triangle.starts.data();
      const float* const values = triangle.values.data();
      for (uint32_t line = triangle.offsets[row], end = triangle.offsets[row + 1]; line < end; ++line) {
        const uint32_t start = starts[line];
        Reals share = Reals::Read(values + size_t{line} * kWidth);
        if (start < kApart) {
          Real* const at = y + size_t{start} * kWidth;
          Reals::Read(at).SubtractProduct(share, solved).Write(at);
        } else {
          Real shares[kWidth];
          share *= solved;
          share.Write(shares);
          const uint32_t* const columns = &triangle.columns[start - kApart];
          for (int lane = 0; lane < kWidth; ++lane) y[size_t{columns[lane]} * kWidth + size_t(lane)] -= shares[lane];
        }
      }
    };

    if constexpr (kTransposed) {
      for (int64_t i = 0; i < count; ++i) take(i);
      for (int64_t i = 0; i < count; ++i) {
        Reals state = Reals::Read(y + i * kWidth);
        subtract_column(upper_, i, state);
        state *= Reals::Read(pivots + i * kWidth);
        state.Write(y + i * kWidth);
      }
      for (int64_t i = count - 1; i >= 0; --i) {
        subtract_column(lower_, i, Reals::Read(y + i * kWidth));
        give(i);
      }
    } else {
      constexpr int64_t kAhead = 16;  // what is taken is written by then
      for (int64_t i = 0; i < std::min(kAhead, count); ++i) take(i);
      for (int64_t i = 0; i < count; ++i) {
        if (i + kAhead < count) take(i + kAhead);
        subtract_row(lower_, i, Reals::Read(y + i * kWidth)).Write(y + i * kWidth);
      }
      for (int64_t i = count - 1; i >= 0; --i) {
        Reals state = Reals::Read(y + i * kWidth);
        state *= Reals::Read(pivots + i * kWidth);
        subtract_row(upper_, i, state).Write(y + i * kWidth);
        if (i + kAhead < count) give(i + kAhead);
      }
      for (int64_t i = std::min(kAhead, count) - 1; i >= 0; --i) give(i);
    }
  });
}

template <typename Real>
void IncompleteLu::Solve(const VectorOf<Real>& b, VectorOf<Real>& x) const {
  x.resize(b.size());
  width_ == 1 ? SolveGroups<1, false>(b, x) : SolveGroups<kWide, false>(b, x);
}

template <typename Real>
void IncompleteLu::SolveTransposed(const VectorOf<Real>& b, VectorOf<Real>& x) const {
  x.resize(b.size());
  width_ == 1 ? SolveGroups<1, true>(b, x) : SolveGroups<kWide, true>(b, x);
}

template void IncompleteLu::Solve(const VectorOf<double>&, VectorOf<double>&) const;
template void IncompleteLu::Solve(const VectorOf<float>&, VectorOf<float>&) const;
template void IncompleteLu::SolveTransposed(const VectorOf<double>&, VectorOf<double>&) const;
template void IncompleteLu::SolveTransposed(const VectorOf<float>&, VectorOf<float>&) const;

}  // namespace bilevel
