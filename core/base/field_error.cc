#include "core/base/field_error.h"

#include "absl/strings/cord.h"
#include "core/base/text.h"

namespace bilevel {
namespace {

constexpr char kFieldUrl[] = "bilevel/field";

absl::Status Make(const std::string& field, const std::string& description) {
  absl::Status status = absl::InvalidArgumentError(field.empty() ? description : field + ": " + description);
  status.SetPayload(kFieldUrl, absl::Cord(field + '\n' + description));
  return status;
}

}  // namespace

absl::Status FieldError(std::string_view field, std::string_view description) {
  return Make(std::string(field), std::string(description));
}

absl::Status WithField(std::string_view field, const absl::Status& status) {
  const std::optional<FieldViolation> violation = GetFieldViolation(status);
  if (!violation.has_value()) return status;
  std::string path(field);
  if (!violation->field.empty() && violation->field[0] != '[') path += '.';
  return Make(path + violation->field, violation->description);
}

std::optional<FieldViolation> GetFieldViolation(const absl::Status& status) {
  const auto payload = status.GetPayload(kFieldUrl);
  if (!payload.has_value()) return std::nullopt;
  const std::string text(*payload);
  const size_t newline = text.find('\n');
  return FieldViolation{text.substr(0, newline), text.substr(newline + 1)};
}

}  // namespace bilevel
