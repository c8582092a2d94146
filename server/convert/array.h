// bilevel.v1.Array <-> vectors.
//
// Sizes are checked before memory is taken: what a decoder allocates never exceeds a small multiple of what the message
// itself holds. Errors are field errors relative to the Array ("dtype", "shape", "raw", or "" for the whole).

#ifndef BILEVEL_SERVER_CONVERT_ARRAY_H_
#define BILEVEL_SERVER_CONVERT_ARRAY_H_

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "bilevel/v1/array.pb.h"
#include "core/mdp/tabular_mdp.h"

namespace bilevel::server {

// Number of elements that the array holds. Fails when `raw` has no valid dtype or is not a whole number of elements.
// Cost: O(1).
absl::StatusOr<int64_t> CountElements(const v1::Array& array);

// Fails unless the array holds the product of `extents` elements and its shape is empty or equal to `extents`.
absl::Status CheckShape(const v1::Array& array, std::span<const int64_t> extents);

enum class Finite { kRequired, kNotRequired };

// Reals: F64 or F32, raw or `values`, row-major. With kRequired, NaN and infinities are refused.
absl::StatusOr<Vector> DecodeReals(const v1::Array& array, std::initializer_list<int64_t> extents,
                                   Finite finite = Finite::kRequired);
absl::StatusOr<std::vector<double>> DecodeRealList(const v1::Array& array, Finite finite);

// Unsigned integers: U32 or U64, raw or `indices`. Values that do not fit into T are refused. T: uint32_t, uint64_t.
template <typename T>
absl::StatusOr<std::vector<T>> DecodeIndexList(const v1::Array& array);

// Beyond int32 an index is out of range anyway; it must not wrap into it.
inline int32_t NarrowIndex(uint32_t value) {
  return static_cast<int32_t>(std::min<uint32_t>(value, std::numeric_limits<int32_t>::max()));
}

// 0 and 1: U8, raw or `indices`.
absl::StatusOr<std::vector<uint8_t>> DecodeMask(const v1::Array& array, std::initializer_list<int64_t> extents);

// Whether both hold the same bytes in the same form.
bool SameArray(const v1::Array& a, const v1::Array& b);

// F64, raw. The number of elements must be the product of `shape`.
void EncodeReals(std::span<const double> elements, std::initializer_list<int64_t> shape, v1::Array* array);
inline void EncodeReals(const Vector& elements, std::initializer_list<int64_t> shape, v1::Array* array) {
  EncodeReals(std::span(elements.data(), static_cast<size_t>(elements.size())), shape, array);
}

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_ARRAY_H_
