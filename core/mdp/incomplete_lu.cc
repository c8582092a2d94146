#include "core/mdp/incomplete_lu.h"

#include <algorithm>
#include <limits>

namespace bilevel {
namespace {

// Blocks have about so many states.
constexpr int64_t kBlock = 65536;

}  // namespace

IncompleteLu::IncompleteLu(const SparseSquare& A, const ParallelFor& parallel_for) : parallel_for_(parallel_for) {
  const int64_t S = A.size(), count = std::max<int64_t>(1, S / kBlock);
  for (int64_t block = 0; block <= count; ++block) blocks_.push_back(S * block / count);
  offsets_.reserve(static_cast<size_t>(S) + 1);
  offsets_.push_back(0);
  diagonal_.resize(static_cast<size_t>(S));
  columns_.reserve(A.columns.size());
  for (int64_t block = 0; block < count; ++block) {
    const int64_t first = blocks_[static_cast<size_t>(block)], last = blocks_[static_cast<size_t>(block) + 1];
    for (int64_t s = first; s < last; ++s) {
      for (uint64_t k = A.offsets[static_cast<size_t>(s)]; k < A.offsets[static_cast<size_t>(s) + 1]; ++k) {
        const int64_t column = A.columns[k];
        if (column < first || column >= last) continue;
        if (column == s) diagonal_[static_cast<size_t>(s)] = columns_.size();
        columns_.push_back(A.columns[k]);
      }
      offsets_.push_back(columns_.size());
    }
  }
  values_.resize(columns_.size());
  Renew(A);
}

void IncompleteLu::Renew(const SparseSquare& A) {
  ForParts(parallel_for_, num_blocks(), 1, [&](int64_t block, int64_t) {
    const int64_t first = blocks_[static_cast<size_t>(block)], last = blocks_[static_cast<size_t>(block) + 1];
    uint64_t next = offsets_[static_cast<size_t>(first)];
    for (uint64_t k = A.offsets[static_cast<size_t>(first)]; k < A.offsets[static_cast<size_t>(last)]; ++k) {
      const int64_t column = A.columns[k];
      if (column >= first && column < last) values_[next++] = A.values[k];
    }
    FactorizeBlock(first, last);
  });
}

void IncompleteLu::FactorizeBlock(int64_t first, int64_t last) {
  constexpr uint64_t kNone = std::numeric_limits<uint64_t>::max();
  std::vector<uint64_t> place(static_cast<size_t>(last - first), kNone);  // of each column in the row at hand
  for (int64_t s = first; s < last; ++s) {
    const uint64_t begin = offsets_[static_cast<size_t>(s)], end = offsets_[static_cast<size_t>(s) + 1];
    for (uint64_t k = begin; k < end; ++k) place[columns_[k] - static_cast<uint64_t>(first)] = k;
    const uint64_t diagonal = diagonal_[static_cast<size_t>(s)];
    for (uint64_t k = begin; k < diagonal; ++k) {
      const uint32_t above = columns_[k];
      const double factor = values_[k] *= values_[diagonal_[above]];
      for (uint64_t j = diagonal_[above] + 1; j < offsets_[above + size_t{1}]; ++j) {
        const uint64_t hit = place[columns_[j] - static_cast<uint64_t>(first)];
        if (hit != kNone) values_[hit] -= factor * values_[j];
      }
    }
    values_[diagonal] = 1 / values_[diagonal];
    for (uint64_t k = begin; k < end; ++k) place[columns_[k] - static_cast<uint64_t>(first)] = kNone;
  }
}

void IncompleteLu::Solve(const Vector& b, Vector& x) const {
  x.resize(b.size());
  ForParts(parallel_for_, num_blocks(), 1, [&](int64_t begin, int64_t) {
    const int64_t first = blocks_[static_cast<size_t>(begin)], last = blocks_[static_cast<size_t>(begin) + 1];
    for (int64_t s = first; s < last; ++s) {
      double sum = b[s];
      for (uint64_t k = offsets_[static_cast<size_t>(s)]; k < diagonal_[static_cast<size_t>(s)]; ++k) {
        sum -= values_[k] * x[columns_[k]];
      }
      x[s] = sum;
    }
    for (int64_t s = last - 1; s >= first; --s) {
      double sum = x[s];
      const uint64_t diagonal = diagonal_[static_cast<size_t>(s)];
      for (uint64_t k = diagonal + 1; k < offsets_[static_cast<size_t>(s) + 1]; ++k) {
        sum -= values_[k] * x[columns_[k]];
      }
      x[s] = sum * values_[diagonal];
    }
  });
}

void IncompleteLu::SolveTransposed(const Vector& b, Vector& x) const {
  x.resize(b.size());
  ForParts(parallel_for_, num_blocks(), 1, [&](int64_t begin, int64_t) {
    const int64_t first = blocks_[static_cast<size_t>(begin)], last = blocks_[static_cast<size_t>(begin) + 1];
    x.segment(first, last - first) = b.segment(first, last - first);
    for (int64_t s = first; s < last; ++s) {
      const uint64_t diagonal = diagonal_[static_cast<size_t>(s)];
      const double solved = x[s] *= values_[diagonal];
      for (uint64_t k = diagonal + 1; k < offsets_[static_cast<size_t>(s) + 1]; ++k) {
        x[columns_[k]] -= values_[k] * solved;
      }
    }
    for (int64_t s = last - 1; s >= first; --s) {
      const double solved = x[s];
      for (uint64_t k = offsets_[static_cast<size_t>(s)]; k < diagonal_[static_cast<size_t>(s)]; ++k) {
        x[columns_[k]] -= values_[k] * solved;
      }
    }
  });
}

}  // namespace bilevel
