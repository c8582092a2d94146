#include "core/mdp/incomplete_lu.h"

#include <algorithm>
#include <limits>

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
  offsets_.resize(static_cast<size_t>(S) + 1);
  diagonal_.resize(static_cast<size_t>(S));
  const auto for_blocks = [&](const auto& work) {
    ForParts(parallel_for_, count, 1, [&](int64_t block, int64_t) {
      const int64_t first = blocks_[static_cast<size_t>(block)], last = blocks_[static_cast<size_t>(block) + 1];
      for (int64_t s = first; s < last; ++s) work(s, first, last);
    });
  };
  for_blocks([&](int64_t s, int64_t first, int64_t last) {
    uint32_t entries = 0;
    A.ForEachInRow(s, [&](uint32_t column, double) { entries += column >= first && column < last ? 1 : 0; });
    offsets_[static_cast<size_t>(s) + 1] = entries;
  });
  for (size_t s = 0; s < diagonal_.size(); ++s) offsets_[s + 1] += offsets_[s];
  columns_.resize(offsets_.back());
  values_.resize(offsets_.back());
  for_blocks([&](int64_t s, int64_t first, int64_t last) {
    uint32_t next = offsets_[static_cast<size_t>(s)];
    A.ForEachInRow(s, [&](uint32_t column, double) {
      if (column < first || column >= last) return;
      if (column == s) diagonal_[static_cast<size_t>(s)] = next;
      columns_[next++] = column;
    });
  });
}

template <typename Rows>
void IncompleteLu::Factorize(const Rows& A) {
  ForParts(parallel_for_, num_blocks(), 1, [&](int64_t block, int64_t) {
    const int64_t first = blocks_[static_cast<size_t>(block)], last = blocks_[static_cast<size_t>(block) + 1];
    uint32_t next = offsets_[static_cast<size_t>(first)];
    for (int64_t s = first; s < last; ++s) {
      A.ForEachInRow(s, [&](uint32_t column, double value) {
        if (column >= first && column < last) values_[next++] = value;
      });
    }
    FactorizeBlock(first, last);
  });
}

void IncompleteLu::FactorizeBlock(int64_t first, int64_t last) {
  constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
  std::vector<uint32_t> place(static_cast<size_t>(last - first), kNone);  // of each column in the row at hand
  for (int64_t s = first; s < last; ++s) {
    const Row row = RowOf(s);
    for (uint32_t k = row.begin; k < row.end; ++k) place[columns_[k] - static_cast<uint64_t>(first)] = k;
    for (uint32_t k = row.begin; k < row.diagonal; ++k) {
      const Row above = RowOf(columns_[k]);
      const double factor = values_[k] *= values_[above.diagonal];
      for (uint32_t j = above.diagonal + 1; j < above.end; ++j) {
        const uint32_t hit = place[columns_[j] - static_cast<uint64_t>(first)];
        if (hit != kNone) values_[hit] -= factor * values_[j];
      }
    }
    values_[row.diagonal] = 1 / values_[row.diagonal];
    for (uint32_t k = row.begin; k < row.end; ++k) place[columns_[k] - static_cast<uint64_t>(first)] = kNone;
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

void IncompleteLu::Solve(const Vector& b, Vector& x) const {
  x.resize(b.size());
  const double* const values = values_.data();
  const uint32_t* const columns = columns_.data();
  ForParts(parallel_for_, num_blocks(), kTogether, [&](int64_t begin, int64_t end) {
    ForStatesOfBlocks(begin, end, true, [&](int64_t s) {
      const Row row = RowOf(s);
      double sum = b[s];
      for (uint32_t k = row.begin; k < row.diagonal; ++k) sum -= values[k] * x[columns[k]];
      x[s] = sum;
    });
    ForStatesOfBlocks(begin, end, false, [&](int64_t s) {
      const Row row = RowOf(s);
      double sum = x[s];
      for (uint32_t k = row.diagonal + 1; k < row.end; ++k) sum -= values[k] * x[columns[k]];
      x[s] = sum * values[row.diagonal];
    });
  });
}

void IncompleteLu::SolveTransposed(const Vector& b, Vector& x) const {
  x.resize(b.size());
  const double* const values = values_.data();
  const uint32_t* const columns = columns_.data();
  ForParts(parallel_for_, num_blocks(), kTogether, [&](int64_t begin, int64_t end) {
    const int64_t first = blocks_[static_cast<size_t>(begin)], last = blocks_[static_cast<size_t>(end)];
    x.segment(first, last - first) = b.segment(first, last - first);
    ForStatesOfBlocks(begin, end, true, [&](int64_t s) {
      const Row row = RowOf(s);
      const double solved = x[s] *= values[row.diagonal];
      for (uint32_t k = row.diagonal + 1; k < row.end; ++k) x[columns[k]] -= values[k] * solved;
    });
    ForStatesOfBlocks(begin, end, false, [&](int64_t s) {
      const Row row = RowOf(s);
      const double solved = x[s];
      for (uint32_t k = row.begin; k < row.diagonal; ++k) x[columns[k]] -= values[k] * solved;
    });
  });
}

}  // namespace bilevel
