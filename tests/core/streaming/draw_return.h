// Leader's return on random MDPs.

#ifndef BILEVEL_TESTS_CORE_STREAMING_DRAW_RETURN_H_
#define BILEVEL_TESTS_CORE_STREAMING_DRAW_RETURN_H_

#include <utility>

#include "tests/support/random_problem.h"

namespace bilevel::testing {

// S = 20, A = 4, n = 5: both rewards are N(0, 1) + features theta, theta by a softmax group of 3 and 2 as they are.
inline ProblemNumbers DrawReturn(uint64_t seed, double discount, bool quadratic = false) {
  Rng rng(seed);
  constexpr int kStates = 20, kActions = 4;
  constexpr Eigen::Index kParameters = 5, kRows = Eigen::Index{kStates} * kActions;
  const auto reward = [&] {
    ParametricRewardSpec spec;
    spec.base = DrawNormal(rng, kRows);
    const Vector features = DrawNormal(rng, kRows * kParameters, 0.5);
    spec.features = features.reshaped(kRows, kParameters).sparseView();
    if (quadratic) {
      spec.coefficient = DrawNormal(rng, kRows, 0.2);
      spec.matrix = DrawNormal(rng, kParameters * kParameters, 0.5).reshaped(kParameters, kParameters);
    }
    return spec;
  };
  ContextNumbers context;
  context.mdp = DrawMdp(rng, kStates, kActions, true, true);
  context.discount = discount;
  context.temperature = 0.7;
  context.reward = reward();
  context.return_weight = 1;
  context.leader_reward = reward();
  ProblemNumbers numbers;
  numbers.num_parameters = static_cast<int>(kParameters);
  numbers.groups = {{3, MapKind::kSoftmax, 2}, {2, MapKind::kIdentity, 1}};
  numbers.sense = Sense::kMaximize;
  numbers.contexts.push_back(std::move(context));
  return numbers;
}

}  // namespace bilevel::testing

#endif  // BILEVEL_TESTS_CORE_STREAMING_DRAW_RETURN_H_
