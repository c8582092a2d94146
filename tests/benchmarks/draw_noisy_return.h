// Leader's return on small random MDPs, where a few trajectories say little.

#ifndef BILEVEL_TESTS_BENCHMARKS_DRAW_NOISY_RETURN_H_
#define BILEVEL_TESTS_BENCHMARKS_DRAW_NOISY_RETURN_H_

#include <utility>

#include "tests/support/random_problem.h"

namespace bilevel {

// S = 6, A = 3, n = 4, discount 0.7, temperature 0.5; every reward of follower and leader is N(0, 1) + features x,
// features ~ N(0, 1/4). The leader minimises |x|^2 / 4 less its return.
inline BilevelProblem DrawNoisyReturn(uint64_t seed) {
  constexpr int kStates = 6, kActions = 3, kParameters = 4;
  constexpr Eigen::Index kRows = Eigen::Index{kStates} * kActions;
  Rng rng(seed);
  const auto reward = [&] {
    ParametricRewardSpec spec;
    spec.base = testing::DrawNormal(rng, kRows);
    spec.features = testing::DrawNormal(rng, kRows * kParameters, 0.5).reshaped(kRows, kParameters).sparseView();
    return spec;
  };
  testing::ContextNumbers context;
  context.mdp = testing::DrawMdp(rng, kStates, kActions, false, false);
  context.discount = 0.7;
  context.temperature = 0.5;
  context.reward = reward();
  context.return_weight = -1;
  context.leader_reward = reward();
  testing::ProblemNumbers numbers;
  numbers.num_parameters = kParameters;
  numbers.penalties.squared_l2 = 0.5;
  numbers.contexts.push_back(std::move(context));
  return testing::Build(numbers);
}

}  // namespace bilevel

#endif  // BILEVEL_TESTS_BENCHMARKS_DRAW_NOISY_RETURN_H_
