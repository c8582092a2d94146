// Stationarity and penalties in either sense.

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/hypergradient/hypergradient.h"
#include "core/problem/bilevel_problem.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/random_problem.h"

namespace bilevel::testing {
namespace {

using ::testing::ElementsAre;

BilevelProblem Boxed(Sense sense) {
  Rng rng(3);
  ProblemNumbers numbers = DrawProblem(rng, {.max_contexts = 1});
  numbers.sense = sense;
  numbers.penalties = {};
  BilevelProblem problem = Build(numbers);
  problem.feasible_set = *FeasibleSet::Create(
      problem.num_parameters, {{problem.num_parameters, Box{Vector::Constant(problem.num_parameters, -1),
                                                            Vector::Constant(problem.num_parameters, 1)}}});
  return problem;
}

TEST(BilevelProblem, StationarityAtABoundaryDependsOnTheSense) {
  for (const double sign : {1.0, -1.0}) {
    const BilevelProblem problem = Boxed(sign > 0 ? Sense::kMinimize : Sense::kMaximize);
    const Vector x = Vector::Ones(problem.num_parameters);
    EXPECT_EQ(problem.ProjectedGradientNorm(x, -sign * 3 * x), 0);
    EXPECT_DOUBLE_EQ(problem.ProjectedGradientNorm(x, sign * 0.5 * x), 0.5 * x.norm());
  }
}

TEST(BilevelProblem, PenaltiesCountTowardsTheObjectiveInEitherSense) {
  BilevelProblem problem = Boxed(Sense::kMinimize);
  problem.penalties = {.squared_l2 = 3, .l1 = 2};
  const Vector x = Vector::Constant(problem.num_parameters, -0.5);
  const double n = problem.num_parameters;
  EXPECT_DOUBLE_EQ(problem.PenaltyValue(x), n * (2 * 0.5 + 3 * 0.125));
  problem.sense = Sense::kMaximize;
  EXPECT_DOUBLE_EQ(problem.PenaltyValue(x), -n * (2 * 0.5 + 3 * 0.125));
}

TEST(BilevelProblem, TheWorstCaseIsAmongTheContextsThatCount) {
  BilevelProblem problem = Boxed(Sense::kMinimize);
  problem.aggregation = Aggregation::kWorstCase;
  problem.contexts.resize(3, problem.contexts[0]);
  problem.contexts[0].weight = 0;
  problem.contexts[1].weight = 2;
  problem.contexts[2].weight = 1;
  const Vector nowhere = Vector::Zero(problem.num_parameters);
  for (const double without_weight : {1.0, -100.0, std::nan("")}) {
    problem.sense = Sense::kMinimize;
    EXPECT_EQ(problem.Aggregate({without_weight, -3, -4}, nowhere), -4);
    EXPECT_THAT(problem.ActiveWeights({without_weight, -3, -4}), ElementsAre(0, 0, 1));
    problem.sense = Sense::kMaximize;
    EXPECT_EQ(problem.Aggregate({without_weight, 3, 4}, nowhere), 4);
    EXPECT_THAT(problem.ActiveWeights({without_weight, 3, 4}), ElementsAre(0, 0, 1));
  }
}

}  // namespace
}  // namespace bilevel::testing
