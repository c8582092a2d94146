// Square sparse matrices by rows, for preconditioners.

#ifndef BILEVEL_CORE_MDP_SPARSE_SQUARE_H_
#define BILEVEL_CORE_MDP_SPARSE_SQUARE_H_

#include <cstdint>
#include <vector>

#include "core/base/parallel.h"
#include "core/mdp/policy_matrix.h"

namespace bilevel {

struct SparseSquare {
  std::vector<uint64_t> offsets;  // [size + 1]
  std::vector<uint32_t> columns;  // increasing within a row; the diagonal is always there
  std::vector<double> values;

  int64_t size() const { return static_cast<int64_t>(offsets.size()) - 1; }

  // Calls visit(column, value) for the entries of a row, columns increasing.
  template <typename Visitor>
  void ForEachInRow(int64_t s, Visitor visit) const {
    for (uint64_t k = offsets[static_cast<size_t>(s)]; k < offsets[static_cast<size_t>(s) + 1]; ++k) {
      visit(columns[k], values[k]);
    }
  }
};

// I - gamma P^pi, not stored; the matrix must be merged.
struct SystemRows {
  const PolicyMatrix& matrix;
  double gamma;

  int64_t size() const { return matrix.num_states(); }

  // As above; the diagonal is always there.
  template <typename Visitor>
  void ForEachInRow(int64_t s, Visitor visit) const {
    const auto diagonal = static_cast<uint32_t>(s);
    bool passed = false;
    matrix.ForEachInRow(s, [&](uint32_t column, double p) {
      if (!passed && column > diagonal) visit(diagonal, 1.0);
      passed = passed || column >= diagonal;
      visit(column, column == diagonal ? 1 - gamma * p : -gamma * p);
    });
    if (!passed) visit(diagonal, 1.0);
  }
};

SparseSquare Store(const SystemRows& rows);

// r <- b - A x and b - A^T x.
template <typename Real>
void SubtractProduct(const SparseSquare& A, const VectorOf<Real>& x, const VectorOf<Real>& b,
                     const ParallelFor& parallel_for, VectorOf<Real>& r) {
  r.resize(b.size());
  ForParts(parallel_for, A.size(), kStatesInPart, [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      double sum = b[s];
      A.ForEachInRow(s, [&](uint32_t column, double value) { sum -= value * static_cast<double>(x[column]); });
      r[s] = static_cast<Real>(sum);
    }
  });
}

template <typename Real>
void SubtractTransposedProduct(const SparseSquare& A, const VectorOf<Real>& x, const VectorOf<Real>& b,
                               VectorOf<Real>& r) {
  r = b;
  for (int64_t s = 0; s < A.size(); ++s) {
    const double factor = x[s];
    A.ForEachInRow(s, [&](uint32_t column, double value) { r[column] -= static_cast<Real>(value * factor); });
  }
}

template <typename Real>
void SubtractProduct(const SystemRows& A, const VectorOf<Real>& x, const VectorOf<Real>& b, VectorOf<Real>& r) {
  A.matrix.Multiply(x, r, [&](int64_t begin, int64_t end) {
    auto here = r.segment(begin, end - begin);
    here = b.segment(begin, end - begin) - x.segment(begin, end - begin) + static_cast<Real>(A.gamma) * here;
  });
}

template <typename Real>
void SubtractTransposedProduct(const SystemRows& A, const VectorOf<Real>& x, const VectorOf<Real>& b,
                               VectorOf<Real>& r) {
  A.matrix.MultiplyTransposed(x, r, [&](int64_t begin, int64_t end) {
    auto here = r.segment(begin, end - begin);
    here = b.segment(begin, end - begin) - x.segment(begin, end - begin) + static_cast<Real>(A.gamma) * here;
  });
}

// For each state the group that it is joined in, numbered from 0: pairs of those that are most strongly coupled, by
// -a(s, s2). Returns the number of groups.
int64_t JoinPairs(const SparseSquare& A, std::vector<uint32_t>& group);

// Entries added up over groups.
SparseSquare Condense(const SparseSquare& A, const std::vector<uint32_t>& group, int64_t num_groups);

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_SPARSE_SQUARE_H_
