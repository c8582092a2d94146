#include "core/problem/feature_rows.h"

#include <algorithm>
#include <cmath>

namespace bilevel {

FeatureRows::FeatureRows(const SparseRows& matrix)
    : rows_(matrix.rows()), cols_(matrix.cols()), values_(matrix.valuePtr(), matrix.valuePtr() + matrix.nonZeros()) {
  const int64_t *const offsets = matrix.outerIndexPtr(), *const columns = matrix.innerIndexPtr();
  std::vector<int64_t> in_column(static_cast<size_t>(cols_), 0);
  for (size_t k = 0; k < values_.size(); ++k) ++in_column[static_cast<size_t>(columns[k])];
  for (const int64_t count : in_column) max_column_entries_ = std::max(max_column_entries_, count);
  for (Eigen::Index row = 0; row < rows_; ++row) {
    max_row_entries_ = std::max(max_row_entries_, offsets[row + 1] - offsets[row]);
  }
  if (max_row_entries_ * rows_ != num_entries()) offsets_.assign(offsets, offsets + rows_ + 1);
  if (cols_ * rows_ != num_entries()) columns_.assign(columns, columns + num_entries());
}

template <typename RowVisitor>
void FeatureRows::ForRows(RowVisitor visit_row) const {
  const uint32_t *const offsets = offsets_.data(), *const columns = columns_.data();
  const double* const values = values_.data();
  const auto rows = static_cast<size_t>(rows_), in_row = static_cast<size_t>(max_row_entries_);
  for (size_t row = 0; row < rows; ++row) {
    const size_t begin = offsets_.empty() ? row * in_row : offsets[row];
    const size_t end = offsets_.empty() ? begin + in_row : offsets[row + 1];
    visit_row(static_cast<Eigen::Index>(row), [&](auto visit) {
      for (size_t k = begin; k < end; ++k) {
        visit(static_cast<Eigen::Index>(columns_.empty() ? k - begin : columns[k]), values[k]);
      }
    });
  }
}

void FeatureRows::AddProduct(const Eigen::VectorXd& v, Eigen::VectorXd& r) const {
  ForRows([&](Eigen::Index row, auto for_each) {
    double sum = 0;
    for_each([&](Eigen::Index column, double value) { sum += value * v[column]; });
    r[row] += sum;
  });
}

void FeatureRows::AddAbsProduct(const Eigen::VectorXd& v, Eigen::VectorXd& r) const {
  ForRows([&](Eigen::Index row, auto for_each) {
    double sum = 0;
    for_each([&](Eigen::Index column, double value) { sum += std::abs(value) * v[column]; });
    r[row] += sum;
  });
}

Eigen::VectorXd FeatureRows::TransposedProduct(const Eigen::VectorXd& y) const {
  Eigen::VectorXd result = Eigen::VectorXd::Zero(cols_);
  ForRows([&](Eigen::Index row, auto for_each) {
    for_each([&](Eigen::Index column, double value) { result[column] += value * y[row]; });
  });
  return result;
}

Eigen::VectorXd FeatureRows::AbsTransposedProduct(const Eigen::VectorXd& y) const {
  Eigen::VectorXd result = Eigen::VectorXd::Zero(cols_);
  ForRows([&](Eigen::Index row, auto for_each) {
    for_each([&](Eigen::Index column, double value) { result[column] += std::abs(value) * y[row]; });
  });
  return result;
}

Eigen::VectorXd FeatureRows::LargestInColumns() const {
  Eigen::VectorXd result = Eigen::VectorXd::Zero(cols_);
  ForRows([&](Eigen::Index, auto for_each) {
    for_each([&](Eigen::Index column, double value) { result[column] = std::max(result[column], std::abs(value)); });
  });
  return result;
}

SparseRows FeatureRows::ToSparse() const {
  SparseRows result(rows_, cols_);
  result.reserve(num_entries());
  ForRows([&](Eigen::Index row, auto for_each) {
    result.startVec(row);
    for_each([&](Eigen::Index column, double value) { result.insertBack(row, column) = value; });
  });
  result.finalize();
  return result;
}

}  // namespace bilevel
