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
void SubtractProduct(const SparseSquare& A, const Vector& x, const Vector& b, const ParallelFor& parallel_for,
                     Vector& r);
void SubtractTransposedProduct(const SparseSquare& A, const Vector& x, const Vector& b, Vector& r);

void SubtractProduct(const SystemRows& A, const Vector& x, const Vector& b, Vector& r);
void SubtractTransposedProduct(const SystemRows& A, const Vector& x, const Vector& b, Vector& r);

// For each state the group that it is joined in, numbered from 0: pairs of those that are most strongly coupled, by
// -a(s, s2). Returns the number of groups.
int64_t JoinPairs(const SparseSquare& A, std::vector<uint32_t>& group);

// Entries added up over groups.
SparseSquare Condense(const SparseSquare& A, const std::vector<uint32_t>& group, int64_t num_groups);

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_SPARSE_SQUARE_H_
