// The unary calls of SessionService without gRPC.

#ifndef BILEVEL_SERVER_CALLS_SESSION_CALLS_H_
#define BILEVEL_SERVER_CALLS_SESSION_CALLS_H_

#include <string>

#include "absl/status/statusor.h"
#include "bilevel/v1/session_service.pb.h"
#include "server/calls/run.h"
#include "server/cost_estimate.h"
#include "server/sessions/session_registry.h"

namespace bilevel::server {

// Of decoding; what the session will hold is reserved when it starts.
absl::StatusOr<Cost> CreateSessionCost(const v1::CreateSessionRequest& request);
absl::Status CreateSession(const v1::CreateSessionRequest& request, const Run& run, SessionRegistry& registry,
                           v1::Session* response);

absl::Status GetSession(const v1::GetSessionRequest& request, const SessionRegistry& registry, v1::Session* response);

void ListSessions(const SessionRegistry& registry, v1::ListSessionsResponse* response);

absl::Status GetPolicy(const v1::GetPolicyRequest& request, const Limits& limits, const SessionRegistry& registry,
                       v1::GetPolicyResponse* response);

// A GetPolicyResponse as DownloadPolicy sends it, and what it holds meanwhile. RESOURCE_EXHAUSTED beyond what a message
// can be.
absl::StatusOr<double> PolicyDownloadBytes(const v1::GetPolicyRequest& request, const SessionRegistry& registry);
absl::Status SerializePolicy(const v1::GetPolicyRequest& request, const SessionRegistry& registry, std::string* bytes);

absl::Status SetParameters(const v1::SetParametersRequest& request, const Run& run, const SessionRegistry& registry,
                           v1::Session* response);

absl::StatusOr<Cost> StepCost(const v1::StepSessionRequest& request, const SessionRegistry& registry);
absl::Status StepSession(const v1::StepSessionRequest& request, const Run& run, const SessionRegistry& registry,
                         v1::OuterStep* response);

absl::Status AddPreferences(const v1::AddPreferencesRequest& request, const Run& run, const SessionRegistry& registry,
                            v1::AddPreferencesResponse* response);

absl::StatusOr<Cost> EstimateSessionCost(const v1::EstimateHypergradientRequest& request,
                                         const SessionRegistry& registry);
absl::Status EstimateSessionHypergradient(const v1::EstimateHypergradientRequest& request, const Run& run,
                                          const SessionRegistry& registry, v1::EstimateHypergradientResponse* response);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CALLS_SESSION_CALLS_H_
