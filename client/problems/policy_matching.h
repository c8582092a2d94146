// Policy matching (math.md 5): the leader tunes rewards until the follower's policy is near a target. Unlike the
// synthetic problem, it cannot be solved with a wrong implicit part of the hyper-gradient.
//
//   S = 20, A = 4, n = 30, discount 0.9, temperature 0.5;  r = features * x, features ~ N(0, 1) / sqrt(n);
//   minimise 0.5e-3 |x|^2 + (2.5 / S) |pi - target|^2, rows of the target ~ U(0, 1), normalised.
//
// The answer: 60 free probabilities cannot be matched with 30 rewards; for seed 0 the objective falls from 0.9399 at
// x_1 (0.1937 at x = 0) to 0.0899.
//
// Draws, in this order: transitions, features [S*A, n], target [S, A], x_1 ~ N(0, 1).

#ifndef BILEVEL_CLIENT_PROBLEMS_POLICY_MATCHING_H_
#define BILEVEL_CLIENT_PROBLEMS_POLICY_MATCHING_H_

#include <cstdint>

#include "client/problems/seeded_problem.h"

namespace bilevel::client {

SeededProblem PolicyMatching(std::uint64_t seed);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_PROBLEMS_POLICY_MATCHING_H_
