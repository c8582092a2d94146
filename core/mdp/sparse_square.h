// A square sparse matrix by rows, for preconditioners.

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
};

// Where A = I - gamma P^pi can have entries; the matrix must be merged. FillSystem gives them values.
SparseSquare SystemPattern(const PolicyMatrix& matrix);
void FillSystem(const PolicyMatrix& matrix, double gamma, SparseSquare& A);

// r <- b - A x and b - A^T x.
void SubtractProduct(const SparseSquare& A, const Vector& x, const Vector& b, const ParallelFor& parallel_for,
                     Vector& r);
void SubtractTransposedProduct(const SparseSquare& A, const Vector& x, const Vector& b, Vector& r);

// For each state the group that it is joined in, numbered from 0: pairs of those that are most strongly coupled, by
// -a(s, s2). Returns the number of groups.
int64_t JoinPairs(const SparseSquare& A, std::vector<uint32_t>& group);

// Entries added up over groups.
SparseSquare Condense(const SparseSquare& A, const std::vector<uint32_t>& group, int64_t num_groups);

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_SPARSE_SQUARE_H_
