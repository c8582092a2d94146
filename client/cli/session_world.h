// A world that is known here, for a session to learn.

#ifndef BILEVEL_CLIENT_CLI_SESSION_WORLD_H_
#define BILEVEL_CLIENT_CLI_SESSION_WORLD_H_

#include "absl/status/status.h"
#include "bilevel/v1/session_service.pb.h"

namespace bilevel::client {

// INVALID_ARGUMENT unless its contexts are as large as the session's.
absl::Status CheckWorld(const v1::Problem& world, const v1::Session& session);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_SESSION_WORLD_H_
