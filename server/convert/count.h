// Counts as requests give them.

#ifndef BILEVEL_SERVER_CONVERT_COUNT_H_
#define BILEVEL_SERVER_CONVERT_COUNT_H_

#include <cmath>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/base/field_error.h"
#include "core/base/text.h"

namespace bilevel::server {

// A count of at least 1, or its default.
template <typename T>
absl::StatusOr<T> AtLeastOne(const char* field, bool given, int64_t value, T otherwise) {
  if (!given) return otherwise;
  if (value < 1) return FieldError(field, absl::StrCat("is ", value, "; must be >= 1"));
  return static_cast<T>(value);
}

// A whole number that travels as a double, in [0, 2^53].
inline absl::StatusOr<uint64_t> DecodeCount(const char* field, double value) {
  constexpr double kMost = 9007199254740992;
  if (value >= 0 && value <= kMost && value == std::floor(value)) return static_cast<uint64_t>(value);
  return FieldError(field, absl::StrCat("is ", ToText(value), "; must be a whole number in [0, 2^53]"));
}

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_COUNT_H_
