// Collects a sparse matrix row by row and writes it as a CSR message.

#ifndef BILEVEL_CLIENT_PROBLEMS_SPARSE_ROWS_H_
#define BILEVEL_CLIENT_PROBLEMS_SPARSE_ROWS_H_

#include <map>
#include <vector>

#include "bilevel/v1/array.pb.h"

namespace bilevel::client {

class SparseRows {
 public:
  SparseRows(int rows, int cols) : rows_(rows), cols_(cols) {}

  // Adds to the entry at (row, col); entries that are added up to are stored once, columns in order.
  void Add(int row, int col, double value) { rows_[row][col] += value; }

  // U64 offsets, U32 columns, F64 values, all raw.
  v1::Matrix ToMatrix() const;

 private:
  std::vector<std::map<int, double>> rows_;
  int cols_;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_PROBLEMS_SPARSE_ROWS_H_
