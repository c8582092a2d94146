#include <iostream>

#include "client/cli/command.h"
#include "client/cli/grid_map.h"
#include "client/cli/requests.h"

namespace bilevel::client {

int RunShow(GlobalOptions globals, std::span<const std::string> arguments) {
  RequestFlags request_flags;
  v1::SolveLowerLevelRequest request;
  bool svg = false;
  FlagSet flags(
      "show FILE",
      "Maps of the follower's answer at x for problems whose environments have a grid: its likeliest move in\n"
      "each cell; with --svg a picture with values, expected moves and incentives, too.");
  flags.Add("svg", &svg, "print an SVG");
  request_flags.AddTo(flags);
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 1, operands)) return *exit;
  if (absl::Status status = request_flags.Fill(operands[0], request); !status.ok()) return UsageError(status);
  request.set_return_reward(true);
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());

  const absl::StatusOr<v1::SolveLowerLevelResponse> response = client->SolveLowerLevel(request);
  if (!response.ok()) return Fail(response.status());
  if (request_flags.validate_only) return PrintEstimate(response->estimate(), globals.json);
  const absl::StatusOr<std::vector<GridMap>> maps = GridMaps(request.problem(), *response);
  if (!maps.ok()) return UsageError(maps.status());
  std::cout << (svg ? DrawMaps(*maps) : PrintMaps(*maps));
  return ExitCodeOf(response->termination());
}

}  // namespace bilevel::client
