// Command-line flags of bilevel_server. Each can also be set by BILEVEL_<NAME>; the command line wins.

#ifndef BILEVEL_SERVER_FLAGS_H_
#define BILEVEL_SERVER_FLAGS_H_

#include <chrono>

#include "absl/status/statusor.h"
#include "server/bilevel_server.h"

namespace bilevel::server {

struct Flags {
  ServerOptions server;
  // How long calls are still served after SIGTERM, while health says NOT_SERVING.
  std::chrono::milliseconds drain_delay{5000};
};

// Handles --help and --version itself. INVALID_ARGUMENT names the flag or variable at fault; an unknown flag ends the
// process with status 1 (Abseil's rule).
absl::StatusOr<Flags> ParseFlags(int argc, char** argv);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_FLAGS_H_
