#include "server/convert/drift.h"

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"

namespace bilevel::server {

absl::StatusOr<DriftOptions> DecodeDriftTest(const v1::DriftTest& message) {
  DriftOptions options;
  if (message.has_window()) {
    if (message.window() < 0) return FieldError("window", absl::StrCat("is ", message.window(), "; must be >= 100"));
    options.window = static_cast<uint64_t>(message.window());
  }
  if (message.has_significance()) options.significance = message.significance();
  options.keep = message.keep();
  RETURN_IF_ERROR(options.Validate());
  return options;
}

void EncodeDrifts(const DriftLog& drifts, v1::Session* message) {
  message->set_drifts(static_cast<double>(drifts.total));
  if (drifts.last.empty()) return;
  const Drift& last = drifts.last.back();
  v1::Drift& drift = *message->mutable_last_drift();
  drift.set_merged(static_cast<double>(last.merged));
  drift.set_what(last.what == Drift::What::kPolicy ? v1::Drift::WHAT_POLICY : v1::Drift::WHAT_TRANSITIONS);
  drift.set_context(last.context);
  drift.set_p_value(last.p_value);
  drift.set_statistic(last.statistic);
  drift.set_degrees(static_cast<double>(last.degrees));
  drift.set_residual_shift(last.residual);
}

}  // namespace bilevel::server
