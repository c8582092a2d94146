// Two states, two actions, one parameter: every answer by hand.
//
// Action a leads to state a. State 1 pays the follower a subsidy x on each step in it, state 0 pays nothing; the leader
// earns 1 for each such step and bears the subsidy. Start in state 0; discount 1/2, temperature 1/2; maximise.
//
// The two states offer the same choices, so V(1) - V(0) = x, and in both
//
//   pi(1|s) = p = sigmoid(x)          (discount / temperature = 1)
//   V(0) = log(1 + e^x)
//   phi(x) = (1 - x) p                (sum_{t >= 1} (1/2)^t = 1)
//   phi'(x) = (1 - x) p (1 - p) - p
//
// At x = 0: V(0) = log 2 = 0.693147, p = 1/2, phi = 1/2, phi' = 1/4 - 1/2 = -1/4; +1/4 is the follower's answer, the
// implicit part. The maximum is where -x = e^x, at x* = -0.567143290409784 (a toll), and phi(x*) = -x*.

#ifndef BILEVEL_CLIENT_PROBLEMS_TWO_STATE_H_
#define BILEVEL_CLIENT_PROBLEMS_TWO_STATE_H_

#include "bilevel/v1/problem.pb.h"

namespace bilevel::client {

inline constexpr double kTwoStateOptimum = 0.567143290409784;  // phi(x*) = -x*, the solution of w e^w = 1

v1::Problem TwoState();

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_PROBLEMS_TWO_STATE_H_
