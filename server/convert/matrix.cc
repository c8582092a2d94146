#include "server/convert/matrix.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "server/convert/array.h"
#include "server/convert/in_field.h"

namespace bilevel::server {
namespace {

absl::StatusOr<int64_t> CountSparse(const v1::SparseMatrix& sparse, int64_t rows, int64_t cols) {
  if (sparse.rows() != rows) return FieldError("rows", absl::StrCat("is ", sparse.rows(), "; must be ", rows));
  if (sparse.cols() != cols) return FieldError("cols", absl::StrCat("is ", sparse.cols(), "; must be ", cols));
  const int64_t num_offsets[] = {rows + 1};
  RETURN_IF_ERROR(InField("offsets", CheckShape(sparse.offsets(), num_offsets)));
  ASSIGN_OR_RETURN(const int64_t entries, InField("values", CountElements(sparse.values())));
  const int64_t extents[] = {entries};
  RETURN_IF_ERROR(InField("columns", CheckShape(sparse.columns(), extents)));
  RETURN_IF_ERROR(InField("values", CheckShape(sparse.values(), extents)));
  return entries;
}

// The last extent must be cols; the ones before it may be split.
absl::StatusOr<int64_t> CountDense(const v1::Array& dense, int64_t rows, int64_t cols) {
  ASSIGN_OR_RETURN(const int64_t count, CountElements(dense));
  int64_t expected = 0;
  if (__builtin_mul_overflow(rows, cols, &expected) || count != expected) {
    return FieldError("", absl::StrCat("has ", count, " entries; must have ", rows, " rows of ", cols));
  }
  if (dense.shape_size() == 0) return count;
  for (const int32_t extent : dense.shape()) {
    if (extent < 0) return FieldError("shape", absl::StrCat("has extent ", extent, "; must be >= 0"));
  }
  int64_t leading = 1;
  bool overflow = false;
  for (int i = 0; i + 1 < dense.shape_size(); ++i)
    overflow |= __builtin_mul_overflow(leading, dense.shape(i), &leading);
  const int64_t last = dense.shape(dense.shape_size() - 1);
  if (overflow || leading != rows || last != cols) {
    return FieldError("shape", absl::StrCat("ends in ", last, " after ", overflow ? "too many" : absl::StrCat(leading),
                                            " rows; must stand for ", rows, " rows of ", cols));
  }
  return count;
}

absl::Status CheckRow(const CompressedRows& rows, size_t row, int64_t cols) {
  for (uint64_t k = rows.offsets[row]; k < rows.offsets[row + 1]; ++k) {
    if (rows.columns[k] >= static_cast<uint64_t>(cols)) {
      return FieldError("sparse.columns",
                        absl::StrCat("row ", row, " has column ", rows.columns[k], "; must be below ", cols));
    }
    if (k > rows.offsets[row] && rows.columns[k] <= rows.columns[k - 1]) {
      return FieldError("sparse.columns", absl::StrCat("row ", row, " has column ", rows.columns[k], " after ",
                                                       rows.columns[k - 1], "; must be strictly increasing in a row"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckRows(const CompressedRows& rows, int64_t cols) {
  if (rows.offsets.front() != 0) {
    return FieldError("sparse.offsets", absl::StrCat("starts at ", rows.offsets.front(), "; must start at 0"));
  }
  if (rows.offsets.back() != rows.columns.size()) {
    return FieldError("sparse.offsets", absl::StrCat("ends at ", rows.offsets.back(),
                                                     "; must end at the number of entries, ", rows.columns.size()));
  }
  for (size_t row = 0; row + 1 < rows.offsets.size(); ++row) {
    if (rows.offsets[row] > rows.offsets[row + 1]) {
      return FieldError("sparse.offsets", absl::StrCat("falls from ", rows.offsets[row], " to ", rows.offsets[row + 1],
                                                       " at ", row + 1, "; must never decrease"));
    }
  }
  for (size_t row = 0; row + 1 < rows.offsets.size(); ++row) RETURN_IF_ERROR(CheckRow(rows, row, cols));
  return absl::OkStatus();
}

absl::StatusOr<CompressedRows> DecodeSparse(const v1::SparseMatrix& sparse) {
  CompressedRows result;
  ASSIGN_OR_RETURN(result.offsets, InField("offsets", DecodeIndexList<uint64_t>(sparse.offsets())));
  ASSIGN_OR_RETURN(result.columns, InField("columns", DecodeIndexList<uint32_t>(sparse.columns())));
  ASSIGN_OR_RETURN(result.values, InField("values", DecodeRealList(sparse.values(), Finite::kRequired)));
  result.single_precision = sparse.values().dtype() == v1::DTYPE_F32;
  return result;
}

absl::StatusOr<CompressedRows> DecodeDense(const v1::Array& dense, int64_t rows, int64_t cols) {
  CompressedRows result;
  ASSIGN_OR_RETURN(result.values, DecodeRealList(dense, Finite::kRequired));
  result.offsets.resize(static_cast<size_t>(rows) + 1);
  result.columns.resize(result.values.size());
  for (int64_t row = 0; row < rows; ++row) {
    const auto first = result.columns.begin() + row * cols;
    std::iota(first, first + cols, 0u);
    result.offsets[static_cast<size_t>(row) + 1] = static_cast<uint64_t>((row + 1) * cols);
  }
  result.single_precision = dense.dtype() == v1::DTYPE_F32;
  return result;
}

void DropZeros(CompressedRows& rows) {
  uint64_t kept = 0, begin = 0;
  for (size_t row = 0; row + 1 < rows.offsets.size(); ++row) {
    const uint64_t end = rows.offsets[row + 1];
    for (uint64_t k = begin; k < end; ++k) {
      if (rows.values[k] == 0) continue;
      rows.values[kept] = rows.values[k];
      rows.columns[kept++] = rows.columns[k];
    }
    begin = end;
    rows.offsets[row + 1] = kept;
  }
  rows.values.resize(kept);
  rows.columns.resize(kept);
}

}  // namespace

absl::StatusOr<int64_t> CountEntries(const v1::Matrix& matrix, int64_t rows, int64_t cols) {
  switch (matrix.storage_case()) {
    case v1::Matrix::kSparse:
      return InField("sparse", CountSparse(matrix.sparse(), rows, cols));
    case v1::Matrix::kDense:
      return InField("dense", CountDense(matrix.dense(), rows, cols));
    default:
      return FieldError("", "has neither sparse nor dense; one of them is required");
  }
}

absl::StatusOr<CompressedRows> DecodeCompressedRows(const v1::Matrix& matrix, int64_t rows, int64_t cols) {
  RETURN_IF_ERROR(CountEntries(matrix, rows, cols).status());
  return matrix.has_sparse() ? InField("sparse", DecodeSparse(matrix.sparse()))
                             : InField("dense", DecodeDense(matrix.dense(), rows, cols));
}

absl::StatusOr<SparseRows> DecodeSparseRows(const v1::Matrix& matrix, int64_t rows, int64_t cols) {
  ASSIGN_OR_RETURN(CompressedRows compressed, DecodeCompressedRows(matrix, rows, cols));
  if (matrix.has_sparse()) RETURN_IF_ERROR(CheckRows(compressed, cols));
  DropZeros(compressed);
  SparseRows result(rows, cols);
  result.resizeNonZeros(static_cast<Eigen::Index>(compressed.values.size()));
  std::copy(compressed.offsets.begin(), compressed.offsets.end(), result.outerIndexPtr());
  std::copy(compressed.columns.begin(), compressed.columns.end(), result.innerIndexPtr());
  std::copy(compressed.values.begin(), compressed.values.end(), result.valuePtr());
  return result;
}

}  // namespace bilevel::server
