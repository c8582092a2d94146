#include "client/problems/sparse_rows.h"

#include <cstdint>

#include "client/array.h"

namespace bilevel::client {

v1::Matrix SparseRows::ToMatrix() const {
  std::vector<std::uint64_t> offsets = {0};
  std::vector<std::uint32_t> columns;
  std::vector<double> values;
  for (const std::map<int, double>& row : rows_) {
    for (const auto& [col, value] : row) {
      columns.push_back(static_cast<std::uint32_t>(col));
      values.push_back(value);
    }
    offsets.push_back(columns.size());
  }
  v1::Matrix matrix;
  v1::SparseMatrix& sparse = *matrix.mutable_sparse();
  sparse.set_rows(static_cast<int>(rows_.size()));
  sparse.set_cols(cols_);
  *sparse.mutable_offsets() = MakeArray(offsets);
  *sparse.mutable_columns() = MakeArray(columns);
  *sparse.mutable_values() = MakeArray(values);
  return matrix;
}

}  // namespace bilevel::client
