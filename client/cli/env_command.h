// `bilevel env COMMAND ...`: the commands, and what they share.

#ifndef BILEVEL_CLIENT_CLI_ENV_COMMAND_H_
#define BILEVEL_CLIENT_CLI_ENV_COMMAND_H_

#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "bilevel/v1/environment_service.pb.h"
#include "client/bilevel_client.h"
#include "client/cli/command.h"
#include "client/cli/json.h"

namespace bilevel::client {

// All of them, in the order of the help text.
std::span<const Command> EnvCommands();

int RunEnvUpload(GlobalOptions globals, std::span<const std::string> arguments);
int RunEnvList(GlobalOptions globals, std::span<const std::string> arguments);
int RunEnvShow(GlobalOptions globals, std::span<const std::string> arguments);
int RunEnvDelete(GlobalOptions globals, std::span<const std::string> arguments);

// environments/{64 hex digits} of a name, its digits alone, or their beginning, 6 at least, where only one environment
// of the server begins so. INVALID_ARGUMENT when it is no beginning, or that of several; NOT_FOUND.
absl::StatusOr<std::string> EnvironmentName(const BilevelClient& client, const std::string& operand);

// name, num_states, num_actions, num_transitions, total_bytes, memory_bytes, create_time.
JsonObject EnvironmentJson(const v1::StoredEnvironment& environment);

// "2 states, 2 actions, 3 transitions; 128 bytes, 4.1 kB of the server's memory".
std::string EnvironmentSizes(const v1::StoredEnvironment& environment);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_ENV_COMMAND_H_
