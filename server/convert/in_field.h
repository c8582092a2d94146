// Paths of errors: every decoder names only the fields of its own message, and the caller puts its field in front.

#ifndef BILEVEL_SERVER_CONVERT_IN_FIELD_H_
#define BILEVEL_SERVER_CONVERT_IN_FIELD_H_

#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "core/base/field_error.h"

namespace bilevel::server {

// WithField for results.
template <typename T>
absl::StatusOr<T> InField(std::string_view field, absl::StatusOr<T> result) {
  if (result.ok()) return result;
  return WithField(field, result.status());
}

inline absl::Status InField(std::string_view field, const absl::Status& status) {
  return status.ok() ? status : WithField(field, status);
}

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_IN_FIELD_H_
