#include "core/mdp/incomplete_lu.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/base/flush_tiny.h"

namespace bilevel {
namespace {

// Blocks that one thread solves in turns, and about how many states they have together.
constexpr int64_t kTogether = 4;
constexpr int64_t kStatesTogether = 262144;
// Fewer states than this make one block.
constexpr int64_t kWorthCutting = 32768;

}  // namespace

IncompleteLu::IncompleteLu(const SparseSquare& A, const ParallelFor& parallel_for) : parallel_for_(parallel_for) {
  FindPattern(A);
  Factorize(A);
}

IncompleteLu::IncompleteLu(const SystemRows& A, const ParallelFor& parallel_for) : parallel_for_(parallel_for) {
  FindPattern(A);
  Factorize(A);
}

void IncompleteLu::Renew(const SystemRows& A) { Factorize(A); }

template <typename Rows>
void IncompleteLu::FindPattern(const Rows& A) {
  const int64_t S = A.size();
  const int64_t count = S < kWorthCutting ? 1 : kTogether * ((S + kStatesTogether - 1) / kStatesTogether);
  for (int64_t block = 0; block <= count; ++block) blocks_.push_back(S * block / count);
  lower_.offsets.resize(static_cast<size_t>(S) + 1);
  upper_.offsets.resize(static_cast<size_t>(S) + 1);
  inverse_pivots_.resize(static_cast<size_t>(S));
  const auto for_blocks = [&](const auto& work) {
    ForParts(parallel_for_, count, 1, [&](int64_t block, int64_t) {
      const int64_t first = blocks_[static_cast<size_t>(block)], last = blocks_[static_cast<size_t>(block) + 1];
      for (int64_t s = first; s < last; ++s) work(s, first, last);
    });
  };
  for_blocks([&](int64_t s, int64_t first, int64_t last) {
    uint32_t below = 0, above = 0;
    A.ForEachInRow(s, [&](uint32_t column, double) {
      below += column >= first && column < s ? 1 : 0;
      above += column > s && column < last ? 1 : 0;
    });
    lower_.offsets[static_cast<size_t>(s) + 1] = below;
    upper_.offsets[static_cast<size_t>(s) + 1] = above;
  });
  for (Triangle* triangle : {&lower_, &upper_}) {
    std::partial_sum(triangle->offsets.begin(), triangle->offsets.end(), triangle->offsets.begin());
    triangle->columns.resize(triangle->offsets.back());
    triangle->values.resize(triangle->offsets.back());
  }
  for_blocks([&](int64_t s, int64_t first, int64_t last) {
    uint32_t below = lower_.offsets[static_cast<size_t>(s)], above = upper_.offsets[static_cast<size_t>(s)];
    A.ForEachInRow(s, [&](uint32_t column, double) {
      if (column >= first && column < s) lower_.columns[below++] = column;
      if (column > s && column < last) upper_.columns[above++] = column;
    });
  });
}

template <typename Rows>
void IncompleteLu::Factorize(const Rows& A) {
  ForParts(parallel_for_, num_blocks(), 1, [&](int64_t block, int64_t) {
    FactorizeBlock(A, blocks_[static_cast<size_t>(block)], blocks_[static_cast<size_t>(block) + 1]);
  });
}

template <typename Rows>
void IncompleteLu::FactorizeBlock(const Rows& A, int64_t first, int64_t last) {
  // The row at hand: which row it was that last had an entry there.
  struct Entry {
    double value;
    int64_t row;
  };
  std::vector<Entry> row(static_cast<size_t>(last - first), Entry{0, -1});
  for (int64_t s = first; s < last; ++s) {
    A.ForEachInRow(s, [&](uint32_t column, double value) {
      if (column < first || column >= last) return;
      row[static_cast<size_t>(column - first)] = {value, s};
    });
    for (uint32_t k = lower_.offsets[static_cast<size_t>(s)]; k < lower_.offsets[static_cast<size_t>(s) + 1]; ++k) {
      const size_t above = lower_.columns[k];
      const double factor = row[above - static_cast<size_t>(first)].value;
      lower_.values[k] = static_cast<float>(factor * static_cast<double>(inverse_pivots_[above]));
      for (uint32_t j = upper_.offsets[above]; j < upper_.offsets[above + 1]; ++j) {
        Entry& entry = row[upper_.columns[j] - static_cast<size_t>(first)];
        if (entry.row == s) entry.value -= factor * static_cast<double>(upper_.values[j]);
      }
    }
    const double inverse = 1 / row[static_cast<size_t>(s - first)].value;
    inverse_pivots_[static_cast<size_t>(s)] = static_cast<float>(inverse);
    for (uint32_t k = upper_.offsets[static_cast<size_t>(s)]; k < upper_.offsets[static_cast<size_t>(s) + 1]; ++k) {
      upper_.values[k] = static_cast<float>(inverse * row[upper_.columns[k] - static_cast<size_t>(first)].value);
    }
  }
}

template <typename Visitor>
void IncompleteLu::ForStatesOfBlocks(int64_t begin, int64_t end, bool forward, Visitor visit) const {
  const int64_t* const firsts = blocks_.data();
  int64_t shortest = std::numeric_limits<int64_t>::max();
  for (int64_t block = begin; block < end; ++block) shortest = std::min(shortest, firsts[block + 1] - firsts[block]);
  if (end - begin == kTogether) {
    const int64_t a = firsts[begin], b = firsts[begin + 1], c = firsts[begin + 2], d = firsts[begin + 3],
                  e = firsts[begin + 4];
    for (int64_t i = 0; i < shortest; ++i) {
      visit(forward ? a + i : b - 1 - i);
      visit(forward ? b + i : c - 1 - i);
      visit(forward ? c + i : d - 1 - i);
      visit(forward ? d + i : e - 1 - i);
    }
  } else {
    shortest = 0;
  }
  for (int64_t block = begin; block < end; ++block) {
    for (int64_t i = shortest; i < firsts[block + 1] - firsts[block]; ++i) {
      visit(forward ? firsts[block] + i : firsts[block + 1] - 1 - i);
    }
  }
}

template <typename Real>
void IncompleteLu::Solve(const VectorOf<Real>& b, VectorOf<Real>& x) const {
  x.resize(b.size());
  ForParts(parallel_for_, num_blocks(), kTogether, [&](int64_t begin, int64_t end) {
    const FlushTiny<Real> flush;
    // b less what the triangle takes of x, which is known there.
    const auto rest = [&](const Triangle& triangle, int64_t s, Real from) {
      const auto row = static_cast<size_t>(s);
      for (uint32_t k = triangle.offsets[row]; k < triangle.offsets[row + 1]; ++k) {
        from -= Real{triangle.values[k]} * x[triangle.columns[k]];
      }
      return from;
    };
    ForStatesOfBlocks(begin, end, true, [&](int64_t s) { x[s] = rest(lower_, s, b[s]); });
    ForStatesOfBlocks(begin, end, false,
                      [&](int64_t s) { x[s] = rest(upper_, s, Real{inverse_pivots_[static_cast<size_t>(s)]} * x[s]); });
  });
}

template <typename Real>
void IncompleteLu::SolveTransposed(const VectorOf<Real>& b, VectorOf<Real>& x) const {
  x.resize(b.size());
  ForParts(parallel_for_, num_blocks(), kTogether, [&](int64_t begin, int64_t end) {
    const FlushTiny<Real> flush;
    const int64_t first = blocks_[static_cast<size_t>(begin)], last = blocks_[static_cast<size_t>(end)];
    x.segment(first, last - first) = b.segment(first, last - first);
    const auto take = [&](const Triangle& triangle, int64_t s, Real solved) {
      const auto row = static_cast<size_t>(s);
      for (uint32_t k = triangle.offsets[row]; k < triangle.offsets[row + 1]; ++k) {
        x[triangle.columns[k]] -= Real{triangle.values[k]} * solved;
      }
    };
    ForStatesOfBlocks(begin, end, true, [&](int64_t s) {
      const Real solved = x[s];
      take(upper_, s, solved);
      x[s] = Real{inverse_pivots_[static_cast<size_t>(s)]} * solved;
    });
    ForStatesOfBlocks(begin, end, false, [&](int64_t s) { take(lower_, s, x[s]); });
  });
}

template void IncompleteLu::Solve(const VectorOf<double>&, VectorOf<double>&) const;
template void IncompleteLu::Solve(const VectorOf<float>&, VectorOf<float>&) const;
template void IncompleteLu::SolveTransposed(const VectorOf<double>&, VectorOf<double>&) const;
template void IncompleteLu::SolveTransposed(const VectorOf<float>&, VectorOf<float>&) const;

}  // namespace bilevel
