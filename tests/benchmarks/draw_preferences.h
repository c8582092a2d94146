// Random MDPs whose reward is hidden and told by preferences alone, for rlhf.cc.
//
// DrawMdp without masks and terminations, discount 0.9, temperature 0.5, fragments of 5 steps from the start. The
// learned reward is features x, the true one features truth:
//
//   linear   S = 10, A = 4, n = 8; features ~ N(0, 1) / sqrt(n), truth ~ N(0, 1)
//   tabular  S = 6, A = 3, n = 18; one feature for each (s,a), truth ~ N(0, 1)
//
// so that true rewards are of size 1 and the truth can be learned.

#ifndef BILEVEL_TESTS_BENCHMARKS_DRAW_PREFERENCES_H_
#define BILEVEL_TESTS_BENCHMARKS_DRAW_PREFERENCES_H_

#include <cmath>
#include <utility>

#include "tests/support/random_problem.h"

namespace bilevel {

enum class LearnedReward { kLinear, kTabular };

struct PreferenceProblem {
  BilevelProblem problem;  // one context, no objective
  Vector truth;            // x at which the learned reward is the true one [n]
  int steps = 5;           // of a fragment
};

inline PreferenceProblem DrawPreferences(LearnedReward kind, uint64_t seed) {
  const bool tabular = kind == LearnedReward::kTabular;
  const int S = tabular ? 6 : 10, A = tabular ? 3 : 4;
  const Eigen::Index rows = Eigen::Index{S} * A, n = tabular ? rows : 8;
  Rng rng(seed, tabular ? 2 : 1);
  testing::ContextNumbers context;
  context.mdp = testing::DrawMdp(rng, S, A, false, false);
  context.discount = 0.9;
  context.temperature = 0.5;
  const double scale = 1 / std::sqrt(static_cast<double>(n));
  const Eigen::MatrixXd features = tabular
                                       ? Eigen::MatrixXd(Eigen::MatrixXd::Identity(rows, n))
                                       : Eigen::MatrixXd(testing::DrawNormal(rng, rows * n, scale).reshaped(rows, n));
  context.reward.features = features.sparseView();
  testing::ProblemNumbers numbers;
  numbers.num_parameters = static_cast<int>(n);
  numbers.sense = Sense::kMinimize;
  numbers.contexts.push_back(std::move(context));
  const Vector truth = testing::DrawNormal(rng, n);
  return {testing::Build(numbers), truth};
}

}  // namespace bilevel

#endif  // BILEVEL_TESTS_BENCHMARKS_DRAW_PREFERENCES_H_
