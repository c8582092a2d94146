// Requests of SessionService -> what a session is made of, and back.

#ifndef BILEVEL_SERVER_CONVERT_SESSION_H_
#define BILEVEL_SERVER_CONVERT_SESSION_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "bilevel/v1/session_service.pb.h"
#include "core/streaming/session_learner.h"
#include "server/limits.h"
#include "server/sessions/session.h"

namespace bilevel::server {

// Everything that CreateSession asks for, checked.
struct SessionPlan {
  explicit SessionPlan(BilevelProblem of) : problem(std::move(of)) {}

  BilevelProblem problem;
  bool initial_known = false;
  Vector parameters;
  SessionLearnerOptions learner;
  SessionOptions session;
};
absl::StatusOr<SessionPlan> DecodeSession(const v1::CreateSessionRequest& request, const Limits& limits);

// Bytes that the session may come to hold: tables, queues, and the work of making a policy.
double SessionBytes(const SessionPlan& plan);

// "sessions/{id}" <-> id. Field errors relative to the name.
absl::StatusOr<std::string> DecodeSessionName(const std::string& name);
std::string EncodeSessionName(const std::string& id);

// All but the name.
void EncodeSession(const Session& session, v1::Session* message);
void EncodePolicy(const BilevelProblem& problem, const PolicySnapshot& policy, v1::GetPolicyResponse* message);
// What EncodePolicy would fill.
double PolicyBytes(const BilevelProblem& problem);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_SESSION_H_
