// The synthetic problem of Yang, Gao, Yuan (2025), arXiv:2405.19697 (math.md 5):
//
//   S = 10, A = 5, n = 100, discount 0.5, temperature 1;  r(s,a; x) = u(s,a) u'(s,a) x^T M x;
//   minimise 0.5 |x|^2 + 0.5 |pi|^2.   The optimum is x = 0 with phi = S / (2 A) = 1.
//
// Draws, in this order: transitions, u and u' ~ U(0, 1) [S, A], M ~ N(0, 1) [n, n], x_1 ~ N(0, 1).

#ifndef BILEVEL_CLIENT_PROBLEMS_SYNTHETIC_H_
#define BILEVEL_CLIENT_PROBLEMS_SYNTHETIC_H_

#include <cstdint>

#include "client/problems/seeded_problem.h"

namespace bilevel::client {

SeededProblem Synthetic(std::uint64_t seed);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_PROBLEMS_SYNTHETIC_H_
