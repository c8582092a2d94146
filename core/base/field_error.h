// Errors of callers' input: the field, the value and the rule.
//
// A field error is an INVALID_ARGUMENT whose message is "field: description". The path grows as the error travels
// outwards, so that every layer names only what it knows:
//
//   FieldError("row 7", "sums to 0.98")                    row 7: sums to 0.98
//   WithField("transitions", that)                         transitions.row 7: sums to 0.98

#ifndef BILEVEL_CORE_BASE_FIELD_ERROR_H_
#define BILEVEL_CORE_BASE_FIELD_ERROR_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace bilevel {

// INVALID_ARGUMENT for the given path. An empty field is filled in by WithField.
absl::Status FieldError(std::string_view field, std::string_view description);

// Puts `field` in front of the path of a field error ("a" + "b" = "a.b", "a" + "[0]" = "a[0]"). Other statuses pass
// unchanged.
absl::Status WithField(std::string_view field, const absl::Status& status);

// The path and the description of a field error; nothing for other statuses.
struct FieldViolation {
  std::string field;
  std::string description;
};
std::optional<FieldViolation> GetFieldViolation(const absl::Status& status);

}  // namespace bilevel

#endif  // BILEVEL_CORE_BASE_FIELD_ERROR_H_
