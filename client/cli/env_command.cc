#include "client/cli/env_command.h"

#include <array>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "client/cli/report.h"

namespace bilevel::client {
namespace {

constexpr char kCollection[] = "environments/";
constexpr std::size_t kDigits = 64;
constexpr std::size_t kFewestDigits = 6;

}  // namespace

std::span<const Command> EnvCommands() {
  static constexpr std::array<Command, 4> commands = {{
      {"upload", "send an environment, and print its name", RunEnvUpload},
      {"list", "all environments of the server", RunEnvList},
      {"show", "what is known of an environment", RunEnvShow},
      {"delete", "forget an environment", RunEnvDelete},
  }};
  return commands;
}

int RunEnv(GlobalOptions globals, std::span<const std::string> arguments) {
  return RunGroup("env", "Environments are uploaded once, and named in problems from then on (\"environment_name\"):",
                  "NAME is environments/{64 hex digits},\nits digits, or the first 6 or more of them.", EnvCommands(),
                  std::move(globals), arguments);
}

absl::StatusOr<std::string> EnvironmentName(const BilevelClient& client, const std::string& operand) {
  std::string digits = absl::AsciiStrToLower(operand);
  if (digits.starts_with(kCollection)) digits = digits.substr(sizeof(kCollection) - 1);
  if (digits.size() < kFewestDigits || digits.size() > kDigits ||
      digits.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat("\"", operand, "\" is no name of an environment; must be ",
                                                   kCollection, "{64 hex digits}, or the first ", kFewestDigits,
                                                   " or more of them"));
  }
  if (digits.size() == kDigits) return kCollection + digits;
  const absl::StatusOr<v1::ListEnvironmentsResponse> all = client.ListEnvironments();
  if (!all.ok()) return all.status();
  std::vector<std::string> found;
  for (const v1::StoredEnvironment& environment : all->environments()) {
    if (environment.name().starts_with(kCollection + digits)) found.push_back(environment.name());
  }
  if (found.empty()) return absl::NotFoundError(absl::StrCat("no environment of the server begins with ", digits));
  if (found.size() == 1) return found.front();
  return absl::InvalidArgumentError(
      absl::StrCat(found.size(), " environments begin with ", digits, "; must be more of the name"));
}

JsonObject EnvironmentJson(const v1::StoredEnvironment& environment) {
  const absl::Time created =
      absl::FromUnixSeconds(environment.create_time().seconds()) + absl::Nanoseconds(environment.create_time().nanos());
  return JsonObject()
      .Add("name", environment.name())
      .Add("num_states", environment.num_states())
      .Add("num_actions", environment.num_actions())
      .Add("num_transitions", environment.num_transitions())
      .Add("total_bytes", environment.total_bytes())
      .Add("memory_bytes", environment.memory_bytes())
      .Add("create_time", absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", created, absl::UTCTimeZone()));
}

std::string EnvironmentSizes(const v1::StoredEnvironment& environment) {
  return absl::StrFormat("%d states, %d actions, %.0f transitions; %s, %s of the server's memory",
                         environment.num_states(), environment.num_actions(), environment.num_transitions(),
                         Bytes(environment.total_bytes()), Bytes(environment.memory_bytes()));
}

}  // namespace bilevel::client
