// Outer loops of sessions: how they go on the wire.

#ifndef BILEVEL_SERVER_CONVERT_OUTER_LOOP_H_
#define BILEVEL_SERVER_CONVERT_OUTER_LOOP_H_

#include "absl/status/statusor.h"
#include "bilevel/v1/outer_loop.pb.h"
#include "server/sessions/session.h"

namespace bilevel::server {

// Field errors relative to the message; most = of `first`.
absl::StatusOr<StepSchedule> DecodeSchedule(const v1::StepSchedule& message, double most = 1);

// Field errors relative to the message.
absl::StatusOr<SessionDescentOptions> DecodeOuterLoop(const v1::OuterLoop& message);

void EncodeStep(const OuterStep& step, v1::OuterStep* message);
void EncodeOuterLoop(const OuterLoopState& state, v1::OuterLoopStatus* message);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_OUTER_LOOP_H_
