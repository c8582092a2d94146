// `bilevel session COMMAND ...`: the commands, and what they share.

#ifndef BILEVEL_CLIENT_CLI_SESSION_COMMAND_H_
#define BILEVEL_CLIENT_CLI_SESSION_COMMAND_H_

#include <chrono>
#include <functional>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bilevel/v1/session_service.pb.h"
#include "client/bilevel_client.h"
#include "client/cli/command.h"
#include "client/cli/json.h"

namespace bilevel::client {

// All of them, in the order of the help text.
std::span<const Command> SessionCommands();

int RunSessionCreate(GlobalOptions globals, std::span<const std::string> arguments);
int RunSessionList(GlobalOptions globals, std::span<const std::string> arguments);
int RunSessionShow(GlobalOptions globals, std::span<const std::string> arguments);
int RunSessionFeed(GlobalOptions globals, std::span<const std::string> arguments);
int RunSessionAct(GlobalOptions globals, std::span<const std::string> arguments);
int RunSessionWatch(GlobalOptions globals, std::span<const std::string> arguments);
int RunSessionPolicy(GlobalOptions globals, std::span<const std::string> arguments);
int RunSessionGradient(GlobalOptions globals, std::span<const std::string> arguments);
int RunSessionParameters(GlobalOptions globals, std::span<const std::string> arguments);
int RunSessionStep(GlobalOptions globals, std::span<const std::string> arguments);
int RunSessionSteps(GlobalOptions globals, std::span<const std::string> arguments);
int RunSessionPreferences(GlobalOptions globals, std::span<const std::string> arguments);
int RunSessionDelete(GlobalOptions globals, std::span<const std::string> arguments);

// For what is under way on a stream when Ctrl-C comes.
inline constexpr std::chrono::milliseconds kLeaveTime{2000};
// Of opening a stream, without --deadline.
inline constexpr std::chrono::milliseconds kOpenDeadline{10'000};

// "town" and "sessions/town" are the same.
std::string SessionName(const std::string& operand);

// name: sessions/{id}.
absl::StatusOr<v1::Session> GetSession(const BilevelClient& client, const std::string& name);

// "soft-q" is "SOFT_Q".
std::string UpperName(const std::string& value);

// The value of an enum of bilevel.v1 from the end of its name: "soft-q" and "soft_q" are PREFIX_SOFT_Q.
// INVALID_ARGUMENT names the flag and what it may be.
template <typename Enum>
absl::StatusOr<Enum> ParseEnum(const std::string& flag, const std::string& prefix, const std::string& value,
                               bool (*parse)(const std::string&, Enum*), const std::string& choices) {
  Enum parsed{};
  const std::string name = UpperName(value);
  if (name != "UNSPECIFIED" && parse(prefix + name, &parsed)) return parsed;
  return absl::InvalidArgumentError("--" + flag + " is \"" + value + "\"; must be " + choices);
}

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_SESSION_COMMAND_H_
