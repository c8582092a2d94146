// Sparse matrices by rows, as specs bring them.

#ifndef BILEVEL_CORE_PROBLEM_SPARSE_ROWS_H_
#define BILEVEL_CORE_PROBLEM_SPARSE_ROWS_H_

#include <cstdint>

#include "Eigen/SparseCore"

namespace bilevel {

// Eigen 3.4's SparseMatrix copies where it should move.
class SparseRows : public Eigen::SparseMatrix<double, Eigen::RowMajor, int64_t> {
  using Base = Eigen::SparseMatrix<double, Eigen::RowMajor, int64_t>;

 public:
  using Base::Base;
  using Base::operator=;
  SparseRows() = default;
  SparseRows(const SparseRows&) = default;
  SparseRows(SparseRows&& other) noexcept { swap(other); }
  SparseRows& operator=(const SparseRows&) = default;
  SparseRows& operator=(SparseRows&& other) noexcept {
    swap(other);
    return *this;
  }
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_SPARSE_ROWS_H_
