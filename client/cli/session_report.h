// Sessions, as tables for people and as JSON for programs.

#ifndef BILEVEL_CLIENT_CLI_SESSION_REPORT_H_
#define BILEVEL_CLIENT_CLI_SESSION_REPORT_H_

#include <ostream>
#include <span>
#include <string>

#include "bilevel/v1/session_service.pb.h"
#include "client/cli/json.h"

namespace bilevel::client {

// "SOLVED", "SIMULATED", "OBSERVED".
std::string FollowerName(v1::Follower follower);

// "the world of context 0 drifted, noticed after 12000 transitions (p = 3e-09)".
std::string DriftText(const v1::Drift& drift);

// A header, and a line for each.
void PrintSessions(std::span<const v1::Session> sessions, std::ostream& out);
void PrintSession(const v1::Session& session, std::ostream& out);
// All of the message's fields under their own names; failure is "" or one line, last_drift absent without drifts.
JsonObject SessionJson(const v1::Session& session);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_SESSION_REPORT_H_
