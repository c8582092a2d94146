// `bilevel session list`, `show`, `delete` and `parameters`.

#include <iostream>

#include "absl/strings/str_cat.h"
#include "client/cli/input.h"
#include "client/cli/report.h"
#include "client/cli/session_command.h"
#include "client/cli/session_report.h"

namespace bilevel::client {
namespace {

void Print(const v1::Session& session, bool json) {
  if (json) {
    std::cout << SessionJson(session).Pretty();
  } else {
    PrintSession(session, std::cout);
  }
}

}  // namespace

int RunSessionList(GlobalOptions globals, std::span<const std::string> arguments) {
  FlagSet flags("session list", "All sessions of the server, by name.");
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 0, operands)) return *exit;
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());
  const absl::StatusOr<v1::ListSessionsResponse> response = client->ListSessions();
  if (!response.ok()) return Fail(response.status());
  if (globals.json) {
    std::vector<std::string> sessions;
    for (const v1::Session& session : response->sessions()) sessions.push_back(SessionJson(session).Text());
    std::cout << JsonObject().AddValue("sessions", JsonList(sessions)).Pretty();
  } else {
    const std::vector<v1::Session> sessions(response->sessions().begin(), response->sessions().end());
    PrintSessions(sessions, std::cout);
  }
  return kExitOk;
}

int RunSessionShow(GlobalOptions globals, std::span<const std::string> arguments) {
  FlagSet flags("session show NAME", "How far a session has come.");
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 1, operands)) return *exit;
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());
  const absl::StatusOr<v1::Session> session = GetSession(*client, SessionName(operands[0]));
  if (!session.ok()) return Fail(session.status());
  Print(*session, globals.json);
  return kExitOk;
}

int RunSessionDelete(GlobalOptions globals, std::span<const std::string> arguments) {
  FlagSet flags("session delete NAME", "Ends a session and its streams. What it learned is gone.");
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 1, operands)) return *exit;
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());
  v1::DeleteSessionRequest request;
  request.set_name(SessionName(operands[0]));
  const absl::Status deleted = client->DeleteSession(request);
  if (!deleted.ok()) return Fail(deleted);
  std::cout << "deleted " << request.name() << "\n";
  return kExitOk;
}

int RunSessionParameters(GlobalOptions globals, std::span<const std::string> arguments) {
  std::string at;
  std::optional<double> after_merged;
  FlagSet flags("session parameters NAME",
                "Prints the leader's x as a JSON list, for --at elsewhere. With --at it moves x there first; what was\n"
                "learned of the world stays.");
  flags.Add("at", &at, "FILE", "the new x: a JSON list, or an earlier --json output");
  flags.Add("after-merged", &after_merged, "N",
            "let it take effect when so many transitions are merged; default: as soon as can be");
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 1, operands)) return *exit;
  if (at.empty() && after_merged) return UsageError(absl::InvalidArgumentError("--after-merged needs --at"));
  v1::SetParametersRequest request;
  request.set_name(SessionName(operands[0]));
  if (!at.empty()) {
    absl::StatusOr<v1::Array> parameters = ReadParameters(at);
    if (!parameters.ok()) return UsageError(parameters.status());
    *request.mutable_parameters() = *std::move(parameters);
  }
  if (after_merged) request.set_after_merged(*after_merged);
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());
  const absl::StatusOr<v1::Session> session =
      at.empty() ? GetSession(*client, request.name()) : client->SetParameters(request);
  if (!session.ok()) return Fail(session.status());
  if (globals.json) {
    std::cout << SessionJson(*session).Pretty();
  } else {
    std::cout << IndentJson(JsonList(Elements(session->parameters()))) << "\n";
  }
  return kExitOk;
}

}  // namespace bilevel::client
