// bilevel.v1.Matrix -> compressed rows.

#ifndef BILEVEL_SERVER_CONVERT_MATRIX_H_
#define BILEVEL_SERVER_CONVERT_MATRIX_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "bilevel/v1/array.pb.h"
#include "core/problem/parametric_reward.h"

namespace bilevel::server {

// Number of stored entries of a [rows, cols] matrix; a dense one stores all. Checks every size against what the message
// holds, so rows and entries are then no larger than the message. Field errors "sparse.offsets", "dense.shape", ...
// Cost: O(1).
absl::StatusOr<int64_t> CountEntries(const v1::Matrix& matrix, int64_t rows, int64_t cols);

struct CompressedRows {
  std::vector<uint64_t> offsets;  // [rows + 1]
  std::vector<uint32_t> columns;  // [entries]
  std::vector<double> values;     // [entries]
  bool single_precision = false;  // the values were F32
};

// Every stored entry in the message's order (dense: row-major). Sizes are checked; offsets, columns and values are not.
absl::StatusOr<CompressedRows> DecodeCompressedRows(const v1::Matrix& matrix, int64_t rows, int64_t cols);

// All checked: offsets never decrease, columns increase strictly and are below cols, values are finite. Zeros
// are left out.
absl::StatusOr<SparseRows> DecodeSparseRows(const v1::Matrix& matrix, int64_t rows, int64_t cols);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_MATRIX_H_
