// How drift is looked for, and what was found, between messages and core.

#ifndef BILEVEL_SERVER_CONVERT_DRIFT_H_
#define BILEVEL_SERVER_CONVERT_DRIFT_H_

#include "absl/status/statusor.h"
#include "bilevel/v1/session_service.pb.h"
#include "core/streaming/drift.h"

namespace bilevel::server {

absl::StatusOr<DriftOptions> DecodeDriftTest(const v1::DriftTest& message);

// drifts and last_drift.
void EncodeDrifts(const DriftLog& drifts, v1::Session* message);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_DRIFT_H_
