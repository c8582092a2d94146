// A random MDP whose leader earns a return of its own.

#ifndef BILEVEL_TESTS_BENCHMARKS_REFEREES_DRAW_LEADER_RETURN_H_
#define BILEVEL_TESTS_BENCHMARKS_REFEREES_DRAW_LEADER_RETURN_H_

#include <cmath>
#include <utility>

#include "tests/support/random_problem.h"

namespace bilevel::referees {

// S states, A = 3, n = 8, discount 0.9, temperature 0.3; every reward of follower and leader is N(0, 1) + features x,
// features ~ N(0, 1) / sqrt(n). The leader maximises, under the follower's discount.
inline testing::ProblemNumbers DrawLeaderReturn(uint64_t seed, int num_states) {
  constexpr int kActions = 3, kParameters = 8;
  Rng rng(seed);
  const Eigen::Index rows = Eigen::Index{num_states} * kActions;
  const auto reward = [&] {
    ParametricRewardSpec spec;
    spec.base = testing::DrawNormal(rng, rows);
    spec.features =
        Eigen::MatrixXd(
            testing::DrawNormal(rng, rows * kParameters, 1 / std::sqrt(kParameters)).reshaped(rows, kParameters))
            .sparseView();
    return spec;
  };
  testing::ContextNumbers context;
  context.mdp = testing::DrawMdp(rng, num_states, kActions, false, false);
  context.discount = 0.9;
  context.temperature = 0.3;
  context.reward = reward();
  context.return_weight = 1;
  context.leader_reward = reward();
  testing::ProblemNumbers numbers;
  numbers.num_parameters = kParameters;
  numbers.sense = Sense::kMaximize;
  numbers.contexts.push_back(std::move(context));
  return numbers;
}

}  // namespace bilevel::referees

#endif  // BILEVEL_TESTS_BENCHMARKS_REFEREES_DRAW_LEADER_RETURN_H_
