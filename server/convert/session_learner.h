// CreateSessionRequest -> how the session learns.

#ifndef BILEVEL_SERVER_CONVERT_SESSION_LEARNER_H_
#define BILEVEL_SERVER_CONVERT_SESSION_LEARNER_H_

#include "absl/status/statusor.h"
#include "bilevel/v1/session_service.pb.h"
#include "core/streaming/session_learner_options.h"

namespace bilevel::server {

// Everything about learning, checked; problem: the request's. Field errors relative to the request.
absl::StatusOr<SessionLearnerOptions> DecodeSessionLearner(const v1::CreateSessionRequest& request,
                                                           const BilevelProblem& problem);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_SESSION_LEARNER_H_
