// Small problems whose answers are known in closed form.

#ifndef BILEVEL_TESTS_SUPPORT_KNOWN_PROBLEMS_H_
#define BILEVEL_TESTS_SUPPORT_KNOWN_PROBLEMS_H_

#include "tests/support/random_problem.h"

namespace bilevel::testing {

// One state, A actions, all returning to it: a bandit. With Q(a) = r(a) + gamma V and L = tau log sum exp(r/tau),
//   V = L / (1 - gamma),  pi = softmax(r/tau),  d pi(a)/d r(b) = pi(a) (1{a=b} - pi(b)) / tau.
TabularMdpSpec Bandit(int num_actions);

// A deterministic chain 0 -> 1 -> .. -> S-1, one action, ending after the last state:
//   V(s) = sum_{t >= s} gamma^{t-s} r(t).
TabularMdpSpec Chain(int num_states);

// Two states; action 0 stays, action 1 moves to the other. With r(s,a) = reward of the state moved to, equal in both
// states, the problem is symmetric: pi is uniform and V = (r + tau log 2) / (1 - gamma).
TabularMdpSpec Switch();

// A bandit of two actions, r = (x_1^2 - x_2^2, 0), whose leader wants action 1: with p = 1/(1 + exp(-(x_1^2 -
// x_2^2)/tau))
//   phi = p^2,   d phi/dx = 2 p^2 (1 - p)/tau (2 x_1, -2 x_2),   at x = 0 a saddle with Hessian diag(1, -1)/(2 tau).
ProblemNumbers SaddleAtZero(double temperature);

// Two followers of opposite tastes, r = (x_1, 0) and (-x_1, 0), whose leader wants action 1 of both: the worst is least
// bad at 0, where it has a kink.
BilevelProblem KinkAtZero(double temperature);

}  // namespace bilevel::testing

#endif  // BILEVEL_TESTS_SUPPORT_KNOWN_PROBLEMS_H_
