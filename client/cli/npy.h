// NumPy's .npy files, versions 1 and 2, of little-endian numbers in C order.
//
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. The header is a Python literal; what numpy
// itself writes is read, and nothing else is guessed at.

#ifndef BILEVEL_CLIENT_CLI_NPY_H_
#define BILEVEL_CLIENT_CLI_NPY_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace bilevel::client {

// One number, or a row of `count` numbers, of each record.
struct NpyField {
  std::string name;      // empty where the array is not structured
  char type = 'f';       // 'f' float, 'i' signed, 'u' unsigned, 'b' bool, 'S' text
  std::size_t size = 8;  // bytes of a number
  std::size_t count = 1;
  std::size_t offset = 0;  // in the record

  // The number that lies at `at`, as it is; whole numbers above 2^53 are rounded.
  double Real(const char* at) const;
  // For types i, u and b; a negative number wraps.
  std::uint64_t Integer(const char* at) const;
};

struct NpyHeader {
  std::vector<std::size_t> shape;
  std::vector<NpyField> fields;  // one where the array is not structured
  std::size_t record_bytes = 0;
  std::size_t header_bytes = 0;  // the data follows

  bool structured() const { return !fields.front().name.empty(); }
  // Whether so many bytes of data are what the shape says.
  bool Fits(std::uint64_t data_bytes) const;
};

struct NpyArray : NpyHeader {
  std::string data;

  std::size_t records() const { return record_bytes == 0 ? 0 : data.size() / record_bytes; }
  // The i-th number of a field.
  double Real(std::size_t record, const NpyField& field, std::size_t i) const;
  std::uint64_t Integer(std::size_t record, const NpyField& field, std::size_t i) const;
};

// How long the header is, from its first 12 bytes. INVALID_ARGUMENT where no .npy begins.
constexpr std::size_t kNpyPrefixBytes = 12;
absl::StatusOr<std::size_t> NpyHeaderBytes(std::string_view prefix);

// The header alone; `bytes` may be longer. INVALID_ARGUMENT says what is wrong with it.
absl::StatusOr<NpyHeader> ParseNpyHeader(std::string_view bytes);

// All of a file. INVALID_ARGUMENT says what is wrong with the header, or how many bytes are missing.
absl::StatusOr<NpyArray> ParseNpy(const std::string& bytes);

// Version 1, <f8, C order.
std::string WriteNpy(std::span<const double> numbers, std::span<const std::size_t> shape);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_NPY_H_
