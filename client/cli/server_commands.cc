// `bilevel methods` and `bilevel health`: about the server itself.

#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/command.h"
#include "client/cli/json.h"
#include "client/cli/report.h"

namespace bilevel::client {
namespace {

void PrintMethodsJson(const v1::ListMethodsResponse& response) {
  std::vector<std::string> methods;
  for (const v1::MethodInfo& method : response.methods()) {
    methods.push_back(JsonObject()
                          .Add("name", method.name())
                          .Add("description", method.description())
                          .Add("source", method.source())
                          .Add("guarantee", method.guarantee())
                          .Text());
  }
  const v1::ServerLimits& limits = response.limits();
  std::cout << JsonObject()
                   .Add("server_version", response.server_version())
                   .AddValue("methods", JsonList(methods))
                   .Add("limits", JsonObject()
                                      .Add("message_bytes", limits.message_bytes())
                                      .Add("states", limits.states())
                                      .Add("transitions", limits.transitions())
                                      .Add("memory_budget_bytes", limits.memory_budget_bytes())
                                      .Add("queue_length", limits.queue_length())
                                      .Add("threads", limits.threads())
                                      .Add("direct_states", limits.direct_states())
                                      .Add("sessions", limits.sessions())
                                      .Add("session_queue", limits.session_queue())
                                      .Add("batch", limits.batch())
                                      .Add("environments", limits.environments())
                                      .Add("uploads", limits.uploads()))
                   .Pretty();
}

void PrintMethods(const v1::ListMethodsResponse& response) {
  PrintLine("server version", response.server_version(), std::cout);
  for (const v1::MethodInfo& method : response.methods()) {
    std::cout << "\n";
    PrintLine("method", method.name(), std::cout);
    PrintLine("", method.description(), std::cout);
    PrintLine("source", method.source(), std::cout);
    PrintLine("guarantee", method.guarantee(), std::cout);
  }
  const v1::ServerLimits& limits = response.limits();
  std::cout << "\n";
  PrintLine("message", absl::StrFormat("%.0f bytes", limits.message_bytes()), std::cout);
  PrintLine(
      "states",
      absl::StrCat(limits.states(), "; factorisations up to ", limits.direct_states(), ", more where they stay near"),
      std::cout);
  PrintLine("transitions", absl::StrFormat("%.0f stored entries", limits.transitions()), std::cout);
  PrintLine("memory budget", absl::StrFormat("%.0f bytes", limits.memory_budget_bytes()), std::cout);
  PrintLine("queue", absl::StrCat(limits.queue_length(), " requests, ", limits.threads(), " solver threads"),
            std::cout);
  PrintLine("sessions",
            absl::StrCat(limits.sessions(), "; ", limits.session_queue(), " transitions may wait in each, ",
                         limits.batch(), " are a batch"),
            std::cout);
  PrintLine("environments", absl::StrCat(limits.environments(), "; ", limits.uploads(), " uploads at a time"),
            std::cout);
}

const char* HealthName(Health health) {
  switch (health) {
    case Health::kServing:
      return "SERVING";
    case Health::kNotServing:
      return "NOT_SERVING";
    case Health::kServiceUnknown:
      return "SERVICE_UNKNOWN";
    case Health::kUnknown:
      break;
  }
  return "UNKNOWN";
}

}  // namespace

int RunMethods(GlobalOptions globals, std::span<const std::string> arguments) {
  FlagSet flags("methods", "Outer methods that the server offers, its version and its limits.");
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 0, operands)) return *exit;
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());
  const absl::StatusOr<v1::ListMethodsResponse> response = client->ListMethods();
  if (!response.ok()) return Fail(response.status());
  if (globals.json) {
    PrintMethodsJson(*response);
  } else {
    PrintMethods(*response);
  }
  return kExitOk;
}

int RunHealth(GlobalOptions globals, std::span<const std::string> arguments) {
  FlagSet flags("health",
                "Whether the server is serving: exit code 0 if so, else 1. Waits at most --deadline, default 5s.");
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 0, operands)) return *exit;
  if (!globals.deadline) globals.deadline = absl::Seconds(5);
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());
  const absl::StatusOr<Health> health = client->CheckHealth();
  if (!health.ok()) return Fail(health.status());
  if (globals.json) {
    std::cout << JsonObject().Add("status", HealthName(*health)).Pretty();
  } else {
    std::cout << HealthName(*health) << "\n";
  }
  return *health == Health::kServing ? kExitOk : kExitFailed;
}

}  // namespace bilevel::client
