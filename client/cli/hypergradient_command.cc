#include <iostream>

#include "client/cli/command.h"
#include "client/cli/report.h"
#include "client/cli/requests.h"

namespace bilevel::client {
namespace {

JsonObject PointJson(const v1::Hypergradient& point) {
  JsonObject object = HypergradientJson(point);
  return AddTermination(point.termination(), object);
}

// One point is the object itself; several are listed in "points".
void PrintJson(const v1::EvaluateHypergradientResponse& response) {
  JsonObject object;
  if (response.points_size() == 1) {
    object = PointJson(response.points(0));
  } else {
    std::vector<std::string> points;
    for (const v1::Hypergradient& point : response.points()) points.push_back(PointJson(point).Text());
    AddTermination(response.termination(), object).AddValue("points", JsonList(points));
  }
  std::cout << AddRun(response.run_info(), object).Pretty();
}

}  // namespace

int RunHypergradient(GlobalOptions globals, std::span<const std::string> arguments) {
  RequestFlags request_flags;
  v1::EvaluateHypergradientRequest request;
  bool policies = false;
  FlagSet flags(
      "hypergradient FILE",
      "Objective and gradient at x of the problem in FILE, with proven error bounds. --at may hold many points,\n"
      "as a list of lists.");
  flags.Add("policies", &policies, "with --json: the policies too");
  request_flags.AddTo(flags);
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 1, operands)) return *exit;
  if (absl::Status status = request_flags.Fill(operands[0], request); !status.ok()) return UsageError(status);
  request.set_return_policies(policies);
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());

  const absl::StatusOr<v1::EvaluateHypergradientResponse> response = client->EvaluateHypergradient(request);
  if (!response.ok()) return Fail(response.status());
  if (request_flags.validate_only) return PrintEstimate(response->estimate(), globals.json);
  if (globals.json) {
    PrintJson(*response);
  } else {
    for (const v1::Hypergradient& point : response->points()) {
      PrintHypergradient(point, std::cout);
      std::cout << "\n";
    }
    PrintTermination(response->termination(), std::cout);
  }
  return ExitCodeOf(response->termination());
}

}  // namespace bilevel::client
