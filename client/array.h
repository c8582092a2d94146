// Numbers into and out of bilevel.v1.Array.
//
// The builders write raw little-endian elements, which is what programs should send. `shape` lists extents, outermost
// first; left empty it means the shape that the field documents.

#ifndef BILEVEL_CLIENT_ARRAY_H_
#define BILEVEL_CLIENT_ARRAY_H_

#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "bilevel/v1/array.pb.h"

namespace google::protobuf {
class Message;
}

namespace bilevel::client {

v1::Array MakeArray(std::span<const double> elements, std::initializer_list<int> shape = {});         // F64
v1::Array MakeArray(std::span<const std::uint32_t> elements, std::initializer_list<int> shape = {});  // U32
v1::Array MakeArray(std::span<const std::uint64_t> elements, std::initializer_list<int> shape = {});  // U64
v1::Array MakeArray(std::span<const std::uint8_t> elements, std::initializer_list<int> shape = {});   // U8

// All elements, row-major, of any dtype and of either form; U64 above 2^53 is rounded. An Array without data is empty.
// INVALID_ARGUMENT when `raw` has no dtype or is not a whole number of elements.
absl::StatusOr<std::vector<double>> ToVector(const v1::Array& array);

// Turns every Array within `message` (an Array itself, a Problem, a request) from raw to readable: F64 and F32 to
// `values`, integers to `indices`. The meaning stays the same. U64 arrays with elements above 2^32 - 1 and malformed
// ones are left alone.
void MakeReadable(google::protobuf::Message& message);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_ARRAY_H_
