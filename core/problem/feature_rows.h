// Features of state-action rows, F [S*A, n], to be kept for long: 12 bytes an entry, 8 where every row has all n of
// them, and 4 a row where rows differ in length.

#ifndef BILEVEL_CORE_PROBLEM_FEATURE_ROWS_H_
#define BILEVEL_CORE_PROBLEM_FEATURE_ROWS_H_

#include <cstdint>
#include <limits>
#include <vector>

#include "Eigen/Core"
#include "core/problem/sparse_rows.h"

namespace bilevel {

class FeatureRows {
 public:
  static constexpr int64_t kMaxEntries = std::numeric_limits<uint32_t>::max();

  FeatureRows() = default;  // 0 x 0
  // matrix: compressed, at most kMaxEntries.
  explicit FeatureRows(const SparseRows& matrix);

  Eigen::Index rows() const { return rows_; }
  Eigen::Index cols() const { return cols_; }
  int64_t num_entries() const { return static_cast<int64_t>(values_.size()); }
  bool empty() const { return values_.empty(); }
  int64_t max_row_entries() const { return max_row_entries_; }
  int64_t max_column_entries() const { return max_column_entries_; }

  // r += F v; F^T y. v: [n], r and y: [S*A].
  void AddProduct(const Eigen::VectorXd& v, Eigen::VectorXd& r) const;
  Eigen::VectorXd TransposedProduct(const Eigen::VectorXd& y) const;
  // The same with |F|.
  void AddAbsProduct(const Eigen::VectorXd& v, Eigen::VectorXd& r) const;
  Eigen::VectorXd AbsTransposedProduct(const Eigen::VectorXd& y) const;

  // The largest |entry| of each column, [n].
  Eigen::VectorXd LargestInColumns() const;

  SparseRows ToSparse() const;

 private:
  // Calls visit_row(row, for_each) for all rows, where for_each(visit) calls visit(column, value) for their entries.
  template <typename RowVisitor>
  void ForRows(RowVisitor visit_row) const;

  Eigen::Index rows_ = 0, cols_ = 0;
  int64_t max_row_entries_ = 0, max_column_entries_ = 0;
  std::vector<uint32_t> offsets_;  // [S*A + 1]; empty where all rows have max_row_entries_
  std::vector<uint32_t> columns_;  // empty where all rows have all columns
  std::vector<double> values_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_FEATURE_ROWS_H_
