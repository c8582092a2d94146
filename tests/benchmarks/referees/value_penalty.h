// The value penalty of Shen, Yang, Chen (2024), "Principled Penalty-based Methods for Bilevel Reinforcement Learning
// and RLHF", arXiv:2402.06886, for a tabular policy, with the inner problem solved:
//
//   p(x, pi)     = V*(x) - V^pi(x) >= 0,     V^pi = E_rho sum_t gamma^t (r - tau log pi),   V* its maximum
//   phi_sigma(x) = min_pi f(x, pi) + sigma p(x, pi)                    (max and -sigma when the leader maximises)
//
// At the minimiser pi_sigma, by the envelope theorem, with f(x, .) and V^pi differentiated at fixed policies:
//
//   grad phi_sigma = df/dx(x, pi_sigma) + sigma (grad V*(x) - grad V^{pi_sigma}(x)),   d V^pi / d r(s,a) = d(s) pi(a|s)
//
// d: discounted visits under pi from rho, the environment's initial distribution; they must reach wherever f measures
// pi. phi_sigma and its gradient are off by O(1/sigma). The paper moves x and pi together, by gradient steps on
// f + sigma p; here pi is solved for at each x.
//
// Inner solve (ours). With y = pi o df/dpi centred, the stationarity of a policy is
//
//   e(s,a) = Q^pi - tau log pi - V^pi - yc / (sigma d pi) = 0:
//
// pi_sigma is soft-optimal for the reward r - yc / (sigma d pi). log pi <- log pi + t e / tau is a descent direction
// (the slope is -(sigma/tau) sum d pi e^2) and at t = 1 a step of soft policy iteration with that reward. t is halved
// until f + sigma p falls; where that fails, entries of e / tau are first cut to +-1. It starts at pi*(x), and finds a
// local minimiser.

#ifndef BILEVEL_TESTS_BENCHMARKS_REFEREES_VALUE_PENALTY_H_
#define BILEVEL_TESTS_BENCHMARKS_REFEREES_VALUE_PENALTY_H_

#include "tests/benchmarks/referees/referee.h"

namespace bilevel::referees {

struct PenaltyGradient {
  RefereeGradient gradient;  // of phi_sigma
  double stationarity = 0;   // largest sqrt(sum d pi e^2 / sum d) over contexts, units of reward
  int steps = 0;             // of all inner solves together
};

// sigma > 0. Objectives must not measure the follower's value. Cost: two linear solves and f for each t that is tried.
PenaltyGradient DifferentiatePenalty(const BilevelProblem& problem, const Vector& x, double sigma);

}  // namespace bilevel::referees

#endif  // BILEVEL_TESTS_BENCHMARKS_REFEREES_VALUE_PENALTY_H_
