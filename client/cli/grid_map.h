// The follower's answer on a map, for environments with a grid layout.

#ifndef BILEVEL_CLIENT_CLI_GRID_MAP_H_
#define BILEVEL_CLIENT_CLI_GRID_MAP_H_

#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bilevel/v1/solver_service.pb.h"

namespace bilevel::client {

struct GridMap {
  struct State {
    int row = 0;
    int col = 0;
    double value = 0;
    double incentive = 0;  // what x is expected to pay for a step here, under the policy
    double start = 0;      // probability that an episode starts here
    bool ends = false;     // every action ends the episode
    double down = 0;       // expected move
    double right = 0;
    double likely_down = 0;  // likeliest action's move
    double likely_right = 0;
  };
  std::string label;
  int rows = 0;
  int cols = 0;
  bool has_moves = false;
  std::vector<State> states;
};

// One map for each context. INVALID_ARGUMENT when an environment has no grid.
absl::StatusOr<std::vector<GridMap>> GridMaps(const v1::Problem& problem, const v1::SolveLowerLevelResponse& answer);

// Text: an arrow in each cell, o where no action is likelier than the others, * where the episode ends, # where no
// state is.
std::string PrintMaps(std::span<const GridMap> maps);

// An SVG: cells shaded by value, arrows for expected moves, discs for incentives (red takes, green pays), S where
// episodes start, E where they end.
std::string DrawMaps(std::span<const GridMap> maps);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_GRID_MAP_H_
