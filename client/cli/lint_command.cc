#include <algorithm>
#include <utility>

#include "client/cli/command.h"
#include "client/cli/requests.h"

namespace bilevel::client {

int RunLint(GlobalOptions globals, std::span<const std::string> arguments) {
  RequestFlags request_flags;
  v1::EvaluateHypergradientRequest request;
  FlagSet flags("lint FILE",
                "Checks the problem in FILE: names a rule that it breaks, or what looks unintended (states never\n"
                "reached, rewards that dwarf the temperature, idle parameters, ...), and estimates what one\n"
                "hyper-gradient costs; without objectives, one solve.");
  request_flags.AddTo(flags);
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 1, operands)) return *exit;
  if (absl::Status status = request_flags.Fill(operands[0], request); !status.ok()) return UsageError(status);
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());

  const auto& contexts = request.problem().contexts();
  if (std::any_of(contexts.begin(), contexts.end(), [](const auto& c) { return c.objective_size() > 0; })) {
    request.set_validate_only(true);
    const absl::StatusOr<v1::EvaluateHypergradientResponse> response = client->EvaluateHypergradient(request);
    return response.ok() ? PrintEstimate(response->estimate(), globals.json) : Fail(response.status());
  }
  v1::SolveLowerLevelRequest solve;
  *solve.mutable_problem() = std::move(*request.mutable_problem());
  if (request.has_parameters()) *solve.mutable_parameters() = std::move(*request.mutable_parameters());
  *solve.mutable_lower_level() = std::move(*request.mutable_lower_level());
  solve.set_validate_only(true);
  const absl::StatusOr<v1::SolveLowerLevelResponse> response = client->SolveLowerLevel(solve);
  return response.ok() ? PrintEstimate(response->estimate(), globals.json) : Fail(response.status());
}

}  // namespace bilevel::client
