// Four-Rooms incentive design (Thoma et al. 2024, arXiv:2406.01575): the leader places taxes, at most 0.2 in all, so
// that a follower on the way to a goal passes by the leader's target cell.
//
// - 104 free cells of a 13 x 13 map, numbered row by row. Actions 0 up, 1 right, 2 down, 3 left; the intended move
//   happens with probability 0.56, each other one with 0.44 / 3; a move into a wall stays.
// - The goal pays the follower 1 and ends the episode on the step taken in it. Discount 0.99.
// - n = 105: theta = softmax(x); the tax on cell s is 0.2 theta_s, theta_104 is the unspent share of the budget.
// - The leader earns 1 on each step in the target and pays beta * 0.2 (1 - theta_104) on the step in the goal;
// maximise.
// - One context for each goal, of equal weight, sum 1.
//
// The answer found (a local optimum): three quarters of the budget on cell (3, 5), before the door between the upper
// rooms, so that the lower left room is the cheaper way to both goals; the rest around the target, on the ways past it.
// phi = 1.17723 at the default options, by truncated_newton from x = 0 and by portfolio.
//
// Check values at temperature 0.001 and x = 0, two goals: phi = 0.288158, 0.013268, -0.261623 for beta = 1, 3, 5.

#ifndef BILEVEL_CLIENT_PROBLEMS_FOUR_ROOMS_H_
#define BILEVEL_CLIENT_PROBLEMS_FOUR_ROOMS_H_

#include <vector>

#include "bilevel/v1/problem.pb.h"

namespace bilevel::client {

struct FourRoomsOptions {
  double temperature = 0.001;  // > 0; published: 0.001, 0.003, 0.005
  double beta = 1.0;           // the leader's cost of a spent budget; published: 1, 3, 5
  bool two_goals = true;       // (1, 9) and (11, 11); otherwise (1, 9) alone
};

v1::Problem FourRooms(const FourRoomsOptions& options = {});

// The map, for drawing. Row 0 is the top, column 0 the left.
struct FourRoomsCell {
  int row;
  int col;
  friend bool operator==(const FourRoomsCell&, const FourRoomsCell&) = default;
};

inline constexpr int kFourRoomsSize = 13;
inline constexpr double kFourRoomsBudget = 0.2;
inline constexpr FourRoomsCell kFourRoomsStart{4, 1};
inline constexpr FourRoomsCell kFourRoomsTarget{8, 4};
inline constexpr FourRoomsCell kFourRoomsGoals[] = {{1, 9}, {11, 11}};

// Free cells in the order of states.
const std::vector<FourRoomsCell>& FourRoomsCells();

// The state of a cell; -1 for a wall and outside the map.
int FourRoomsState(FourRoomsCell cell);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_PROBLEMS_FOUR_ROOMS_H_
