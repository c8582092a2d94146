// Inverse reinforcement learning: what does a courier mind, judged by where it went? (Maximum likelihood of a
// soft-optimal policy; Ziebart, Bagnell, Dey 2010, "Modeling interaction via the principle of maximum causal entropy".)
//
// A town of 6 x 6 cells, each road, park or marsh. Actions 0 up, 1 right, 2 down, 3 left; a step off the map stays. A
// step in a cell costs x_road, x_park or x_marsh; the goal costs nothing and ends the trip (one action is left in it).
// Discount 0.95, temperature 0.1. Unknown to the leader: (0.2, 0.4, 1). It has n(s,a), how often 1000 trips from the
// lower left corner took action a in cell s, and
//
//   minimises phi(x) = -sum n log pi_x / sum n + penalty/2 |x|^2                     (demonstrations, squared l2).
//
// The counts are expected ones under the true policy pi, n(s,a) = n(s) pi(a|s), without the noise of a sample. So
// phi(x) = sum_s n(s) [H(pi_s) + KL(pi_s, pi_x,s)] / sum n + penalty: without a penalty the minimum is at the true
// costs, where phi is the mean entropy of a decision. A small penalty w moves it by -w H^-1 x, H the Hessian there.
//
// Costs are found because they are few. A reward of its own for every pair (s,a) would not be: all that differ by
// discount * (P Phi)(s,a) - Phi(s) explain the trips equally well.
//
// Check values: mean entropy of a decision 0.874850; with the penalty of 1e-4 the costs found are 0.2000, 0.3999 and
// 0.9944, and no probability of the policy is off by more than 0.01. (Marsh is what the trips tell least of: they avoid
// it.)

#ifndef BILEVEL_CLIENT_PROBLEMS_INVERSE_RL_H_
#define BILEVEL_CLIENT_PROBLEMS_INVERSE_RL_H_

#include <array>

#include "bilevel/v1/problem.pb.h"

namespace bilevel::client {

struct InverseRlOptions {
  double penalty = 1e-4;  // weight of the squared l2 penalty, >= 0
};

inline constexpr std::array<double, 3> kInverseRlCosts = {0.2, 0.4, 1.0};  // of road, park, marsh

v1::Problem InverseRl(const InverseRlOptions& options = {});

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_PROBLEMS_INVERSE_RL_H_
