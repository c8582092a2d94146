// SoBiRL where nothing is known but transitions: watch, learn, estimate, step.
//
// An outer step, at shares p = softmax(x) and temperature tau_k:
//
//   watch      transitions_per_step of them: episodes of the follower as it is learned, from the start, ended by coins
//              of the leader's discount; the rest by a walker with uniformly random actions, which begins anew at the
//              end of an episode and after longest_walk steps
//   learn      all of them go into a ring; Q, grad Q and Q_u of core/streaming/replay_critics.h are swept over it
//   estimate   (13) with the critics on this step's own episodes, TrajectoryEstimator::kCritic
//   step       core/solvers/stochastic_descent.h, SoBiRL, projected onto the simplex of shares
//
// Two things are not SoBiRL's as published; README.md here says what each is worth. Steps are taken in shares, in which
// nothing flattens (core/solvers/shares_chart.h), and the temperature is continued, by name and in the open:
//
//   tau_k = tau first_temperature_factor^(1 - min(1, (k - warm_up) / (continuation_share (K - warm_up))))
//
// so that the last steps are taken at tau itself. What is returned is the mean of the last shares (Polyak, Juditsky
// 1992), as x = log p.
//
// The follower is SIMULATED: it acts through us. The environment draws starts and what happens next; nothing else is
// asked of it but sizes.

#ifndef BILEVEL_TESTS_BENCHMARKS_MODEL_FREE_LEADER_H_
#define BILEVEL_TESTS_BENCHMARKS_MODEL_FREE_LEADER_H_

#include <cstdint>
#include <functional>

#include "core/problem/bilevel_problem.h"
#include "core/streaming/replay_critics.h"

namespace bilevel {

struct ModelFreeOptions {
  int outer_steps = 2000;  // K
  int transitions_per_step = 1000;
  double follower_share = 0.5;          // of the transitions, in (0, 1); on average: episodes are not cut
  int longest_walk = 500;               // of the walker
  int warm_up = 50;                     // first steps, which leave x where it is
  double first_temperature_factor = 8;  // 1: none
  double continuation_share = 0.7;      // of the steps after the warm-up, in (0, 1]
  double averaged_share = 0.2;          // of the steps, the last ones, whose mean is returned; in [0, 1)
  double first_step = 0.5;              // of StochasticDescent
  size_t ring = 200'000;                // transitions
  ReplayCriticsOptions critics;
  bool in_shares = true;   // false: steps in x itself
  bool truncated = false;  // grad r - E_pi grad r in place of grad Q - grad V, as in the authors' code
  uint64_t seed = 0;
};

struct ModelFreeProgress {
  int64_t steps = 0, transitions = 0;
  double temperature = 0;
  double objective = 0;  // by the leader's critic, at the temperature of the step
  Vector x;              // what would be returned now
};

// problem: one context, whose one term is the leader's return from the environment's start; softmax groups
// (SharesChart). report: after each outer step. Interrupted: what would be returned then.
Vector AscendModelFree(const BilevelProblem& problem, const Vector& start, const ModelFreeOptions& options,
                       const std::function<void(const ModelFreeProgress&)>& report, const Interrupt& interrupt);

}  // namespace bilevel

#endif  // BILEVEL_TESTS_BENCHMARKS_MODEL_FREE_LEADER_H_
