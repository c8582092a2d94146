#include <iostream>

#include "client/cli/command.h"
#include "client/cli/report.h"
#include "client/cli/requests.h"

namespace bilevel::client {
namespace {

void PrintJson(const v1::SolveLowerLevelResponse& response) {
  std::vector<std::string> contexts;
  for (const v1::LowerLevelSolution& solution : response.contexts())
    contexts.push_back(LowerLevelJson(solution).Text());
  JsonObject object;
  AddTermination(response.termination(), object).AddValue("contexts", JsonList(contexts));
  std::cout << AddRun(response.run_info(), object).Pretty();
}

}  // namespace

int RunSolve(GlobalOptions globals, std::span<const std::string> arguments) {
  RequestFlags request_flags;
  std::optional<int> rows;
  v1::SolveLowerLevelRequest request;
  bool q = false;
  FlagSet flags("solve FILE",
                "The follower's soft-optimal value and policy at x, in each context of the problem in FILE.");
  flags.Add("q", &q, "with --json: Q too");
  flags.Add("rows", &rows, "N", "states shown in a table; default 20");
  request_flags.AddTo(flags);
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 1, operands)) return *exit;
  if (absl::Status status = request_flags.Fill(operands[0], request); !status.ok()) return UsageError(status);
  request.set_return_q(q);
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());

  const absl::StatusOr<v1::SolveLowerLevelResponse> response = client->SolveLowerLevel(request);
  if (!response.ok()) return Fail(response.status());
  if (request_flags.validate_only) return PrintEstimate(response->estimate(), globals.json);
  if (globals.json) {
    PrintJson(*response);
  } else {
    for (const v1::LowerLevelSolution& solution : response->contexts()) {
      PrintLowerLevel(solution, std::max(rows.value_or(20), 0), std::cout);
    }
  }
  return ExitCodeOf(response->termination());
}

}  // namespace bilevel::client
