#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/command.h"
#include "client/cli/report.h"
#include "client/cli/requests.h"

namespace bilevel::client {
namespace {

void PrintJson(const v1::CheckGradientResponse& response) {
  JsonObject object = HypergradientJson(response.point());
  object.Add("relative_error", response.relative_error_l2())
      .Add("worst_index", response.worst_index())
      .Add("analytic", Elements(response.analytic()))
      .Add("numeric", Elements(response.numeric()))
      .Add("seed", response.seed());
  std::cout << AddRun(response.run_info(), AddTermination(response.termination(), object)).Pretty();
}

void PrintTable(const v1::CheckGradientResponse& response) {
  const std::vector<double> analytic = Elements(response.analytic());
  const std::vector<double> numeric = Elements(response.numeric());
  PrintLine("objective", Short(response.point().objective()), std::cout);
  PrintLine("relative error",
            absl::StrFormat("%.3g   |analytic - numeric| / |numeric|, 2-norms of %d differences",
                            response.relative_error_l2(), numeric.size()),
            std::cout);
  const auto worst = static_cast<std::size_t>(response.worst_index());
  if (worst < analytic.size() && worst < numeric.size()) {
    PrintLine("worst entry",
              absl::StrFormat("%d: analytic %.10g, numeric %.10g", worst, analytic[worst], numeric[worst]), std::cout);
  }
  PrintLine("gradient error", absl::StrFormat("<= %.2g (bound)", response.point().certificate().error_bound()),
            std::cout);
  PrintTermination(response.termination(), std::cout);
}

}  // namespace

int RunCheck(GlobalOptions globals, std::span<const std::string> arguments) {
  RequestFlags request_flags;
  std::optional<double> step;
  std::optional<double> tolerance;
  std::optional<int> directions;
  v1::CheckGradientRequest request;
  std::uint32_t seed = 0;
  FlagSet flags("check FILE", "Compares the hyper-gradient of the problem in FILE with central finite differences.");
  flags.Add("step", &step, "NUMBER", "h of the differences; default 1e-4");
  flags.Add("directions", &directions, "N", "random directions; default 0: every coordinate");
  flags.Add("seed", &seed, "N", "of the directions; default 0");
  flags.Add("tolerance", &tolerance, "NUMBER", "exit with 3 when the relative error is larger");
  request_flags.AddTo(flags);
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 1, operands)) return *exit;
  if (absl::Status status = request_flags.Fill(operands[0], request); !status.ok()) return UsageError(status);
  if (step) request.set_step(*step);
  if (directions) request.set_directions(*directions);
  request.set_seed(seed);
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());

  const absl::StatusOr<v1::CheckGradientResponse> response = client->CheckGradient(request);
  if (!response.ok()) return Fail(response.status());
  if (request_flags.validate_only) return PrintEstimate(response->estimate(), globals.json);
  if (globals.json) {
    PrintJson(*response);
  } else {
    PrintTable(*response);
  }
  if (tolerance && !(response->relative_error_l2() <= *tolerance)) {
    std::cerr << absl::StrFormat("bilevel: relative error %.3g is above the tolerance %g\n",
                                 response->relative_error_l2(), *tolerance);
    return kExitNotConverged;
  }
  return ExitCodeOf(response->termination());
}

}  // namespace bilevel::client
