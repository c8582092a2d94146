// `bilevel env list`, `show` and `delete`.

#include <functional>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/env_command.h"
#include "client/cli/report.h"

namespace bilevel::client {
namespace {

// What is no name is bad usage; what the server does not know, it refused.
int Refuse(const absl::Status& status) { return absl::IsInvalidArgument(status) ? UsageError(status) : Fail(status); }

// Calls `act` with the whole name of the environment that the one operand means.
int WithEnvironment(FlagSet& flags, GlobalOptions& globals, std::span<const std::string> arguments,
                    const std::function<int(const BilevelClient&, const std::string&)>& act) {
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 1, operands)) return *exit;
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());
  const absl::StatusOr<std::string> name = EnvironmentName(*client, operands[0]);
  return name.ok() ? act(*client, *name) : Refuse(name.status());
}

}  // namespace

int RunEnvList(GlobalOptions globals, std::span<const std::string> arguments) {
  FlagSet flags("env list", "All environments of the server, by name.");
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 0, operands)) return *exit;
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());
  const absl::StatusOr<v1::ListEnvironmentsResponse> response = client->ListEnvironments();
  if (!response.ok()) return Fail(response.status());
  if (globals.json) {
    std::vector<std::string> environments;
    for (const v1::StoredEnvironment& environment : response->environments()) {
      environments.push_back(EnvironmentJson(environment).Text());
    }
    std::cout << JsonObject().AddValue("environments", JsonList(environments)).Pretty();
    return kExitOk;
  }
  std::cout << absl::StrFormat("%10s %8s %12s %10s   name\n", "states", "actions", "transitions", "memory");
  for (const v1::StoredEnvironment& environment : response->environments()) {
    std::cout << absl::StrFormat("%10d %8d %12.0f %10s   %s\n", environment.num_states(), environment.num_actions(),
                                 environment.num_transitions(), Bytes(environment.memory_bytes()), environment.name());
  }
  return kExitOk;
}

int RunEnvShow(GlobalOptions globals, std::span<const std::string> arguments) {
  FlagSet flags("env show NAME", "What is known of an environment. The first 6 or more digits of its name are enough.");
  return WithEnvironment(flags, globals, arguments, [&](const BilevelClient& client, const std::string& name) -> int {
    v1::GetEnvironmentRequest request;
    request.set_name(name);
    const absl::StatusOr<v1::StoredEnvironment> environment = client.GetEnvironment(request);
    if (!environment.ok()) return Fail(environment.status());
    if (globals.json) {
      std::cout << EnvironmentJson(*environment).Pretty();
    } else {
      std::cout << environment->name() << "\n" << EnvironmentSizes(*environment) << "\n";
    }
    return kExitOk;
  });
}

int RunEnvDelete(GlobalOptions globals, std::span<const std::string> arguments) {
  FlagSet flags("env delete NAME",
                "Forgets an environment. Calls that use it finish; its memory is free after the last.\n"
                "The first 6 or more digits of its name are enough.");
  return WithEnvironment(flags, globals, arguments, [](const BilevelClient& client, const std::string& name) -> int {
    v1::DeleteEnvironmentRequest request;
    request.set_name(name);
    const absl::Status deleted = client.DeleteEnvironment(request);
    if (!deleted.ok()) return Fail(deleted);
    std::cout << "deleted " << name << "\n";
    return kExitOk;
  });
}

}  // namespace bilevel::client
