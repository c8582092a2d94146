#include "core/base/step_schedule.h"

#include "core/base/field_error.h"
#include "core/base/text.h"

namespace bilevel {

absl::Status StepSchedule::Validate(double most_first) const {
  if (!(first > 0 && first <= most_first)) {
    return FieldError("first", absl::StrCat("is ", ToText(first), "; must be in (0, ", ToText(most_first), "]"));
  }
  if (!(power >= 0 && power <= 1)) {
    return FieldError("power", absl::StrCat("is ", ToText(power), "; must be in [0, 1]"));
  }
  if (!(scale > 0) || !std::isfinite(scale)) {
    return FieldError("scale", absl::StrCat("is ", ToText(scale), "; must be finite and > 0"));
  }
  return absl::OkStatus();
}

}  // namespace bilevel
