// Bonuses that bring a short-sighted follower to a distant prize.
//
// A corridor of 8 cells; actions 0 left, 1 right; a wall is a step that stays. The last cell pays 1 and ends the
// episode (one action is left in it); nothing else pays. The follower starts in cell 0, has discount 1/2 and
// temperature 0.1: the prize is worth 1/128 there, far below what it notices. The leader has discount 0.99 and adds to
// every step in cell s, whichever way it goes, the bonus theta_s = 0.1 tanh(x_s), s = 0..6, to maximise the true return
//
//   phi(x) = E 0.99^(steps to the prize);   at most 0.99^7 = 0.932065, by the shortest way; bonuses do not count in it.
//
// What does nothing: a bonus discount * (P Phi)(s,a) - Phi(s), for any function Phi of the cell, moves the follower's Q
// and V by -Phi(s) and so leaves its policy as it is (Ng, Harada, Russell 1999; at every temperature, by (1)-(3) of
// core/README.md). To pay for progress towards the prize is of that kind. These bonuses are not: they pay for the
// place, not for the move.
//
// The answer is a ramp: a fine where the prize is far, a bonus where it is near, as large as they may be, and two
// values between in the middle. What moves the follower is how V differs between neighbours: one bonus everywhere does
// little (-0.1 makes it leave a bit sooner, 0.1 stay longer), and near the start, where its own V is flat, the ramp is
// all the slope there is. A bonus next to the prize is safe because waiting there for 0.1 a step is worth 0.2, and 0.14
// of entropy, less than the prize.
//
// Check values: phi = 0.776922 at x = 0; 0.791475 with -0.1 everywhere, 0.758537 with 0.1 everywhere; best 0.877138,
// with bonuses -0.1, -0.1, -0.030, 0.041, 0.1, 0.1, 0.1. The ends are reached as x tends to infinity.

#ifndef BILEVEL_CLIENT_PROBLEMS_REWARD_SHAPING_H_
#define BILEVEL_CLIENT_PROBLEMS_REWARD_SHAPING_H_

#include "bilevel/v1/problem.pb.h"

namespace bilevel::client {

inline constexpr int kRewardShapingCells = 8;
inline constexpr double kRewardShapingBonus = 0.1;

v1::Problem RewardShaping();

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_PROBLEMS_REWARD_SHAPING_H_
