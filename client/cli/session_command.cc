#include "client/cli/session_command.h"

#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"

namespace bilevel::client {

std::span<const Command> SessionCommands() {
  static constexpr std::array<Command, 13> commands = {{
      {"create", "start a session for a problem", RunSessionCreate},
      {"list", "all sessions of the server", RunSessionList},
      {"show", "how far a session has come", RunSessionShow},
      {"feed", "send transitions from a file or a simulator", RunSessionFeed},
      {"act", "let the follower act in a simulated world", RunSessionAct},
      {"watch", "how far it comes, second by second", RunSessionWatch},
      {"policy", "the newest policy that was learned", RunSessionPolicy},
      {"gradient", "the hyper-gradient with error bars", RunSessionGradient},
      {"parameters", "the leader's x; moves it, too", RunSessionParameters},
      {"step", "take a step of the outer loop", RunSessionStep},
      {"steps", "the outer loop's steps, as they come", RunSessionSteps},
      {"preferences", "add labels for pairs of fragments", RunSessionPreferences},
      {"delete", "end a session", RunSessionDelete},
  }};
  return commands;
}

int RunSession(GlobalOptions globals, std::span<const std::string> arguments) {
  return RunGroup("session", "Sessions learn from streamed transitions where nobody can write them down as a problem:",
                  "NAME is sessions/{id}, or the id alone.", SessionCommands(), std::move(globals), arguments);
}

std::string SessionName(const std::string& operand) {
  return operand.find('/') == std::string::npos ? absl::StrCat("sessions/", operand) : operand;
}

absl::StatusOr<v1::Session> GetSession(const BilevelClient& client, const std::string& name) {
  v1::GetSessionRequest request;
  request.set_name(name);
  return client.GetSession(request);
}

std::string UpperName(const std::string& value) {
  return absl::AsciiStrToUpper(absl::StrReplaceAll(value, {{"-", "_"}}));
}

}  // namespace bilevel::client
