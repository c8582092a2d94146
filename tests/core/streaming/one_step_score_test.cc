#include "core/streaming/one_step_score.h"

#include "gtest/gtest.h"
#include "tests/core/streaming/draw_return.h"
#include "tests/support/tally.h"
#include "tests/support/watched_follower.h"

namespace bilevel::testing {
namespace {

using Kind = Horizon::Kind;

// grad r - E_pi grad r in place of grad Q - grad V: where rewards depend on the state alone it is zero.
TEST(OneStepScore, VanishesWhereRewardsDependOnTheStateAlone) {
  ProblemNumbers numbers = DrawReturn(24, 0.9);
  Eigen::MatrixXd features = numbers.contexts[0].reward.features;
  for (Eigen::Index row = 0; row < features.rows(); ++row) features.row(row) = features.row(row / 4 * 4);
  numbers.contexts[0].reward.features = features.sparseView();
  Rng start(25);
  const WatchedFollower exact(Build(numbers), DrawNormal(start, 5));
  const RowMatrix one_step = exact.OneStepScore();
  EXPECT_LT(one_step.cwiseAbs().maxCoeff(), 1e-14);
  EXPECT_GT(exact.gradient().advantage.cwiseAbs().maxCoeff(), 0.1);
  Rng rng(26);
  const auto trajectories = exact.Draw(2000, {}, rng);
  const auto truncated = EstimateFromTrajectories(exact.Model(exact.leader_value(), one_step), trajectories,
                                                  Kind::kGeometric, TrajectoryEstimator::kCritic);
  const auto faithful = EstimateFromTrajectories(exact.Model(exact.leader_value()), trajectories, Kind::kGeometric,
                                                 TrajectoryEstimator::kCritic);
  EXPECT_LT(truncated.exploration.norm(), 1e-13);
  EXPECT_GT(faithful.exploration.norm(), 0.1);
  EXPECT_EQ(truncated.exploitation, faithful.exploitation);
}

TEST(OneStepScore, IsTheScoreOfAFollowerThatLooksNoFurther) {
  ProblemNumbers numbers = DrawReturn(61, 0.0);
  numbers.contexts[0].leader_discount = 0.8;
  Rng start(62);
  WatchedFollower exact(Build(numbers), DrawNormal(start, 5));
  const RowMatrix one_step = exact.OneStepScore();
  for (Eigen::Index row = 0; row < exact.mdp().num_rows(); ++row) {
    if (!exact.mdp().available(row)) continue;
    EXPECT_LT((one_step.row(row) - exact.gradient().advantage.row(row)).norm(), 1e-12);
  }
  EXPECT_LT(exact.BiasOf(one_step).norm(), 1e-12);
}

// What is said of the bias is what samples have, whichever estimator.
TEST(OneStepScore, HasTheBiasThatIsComputed) {
  ProblemNumbers numbers = DrawReturn(63, 0.95);
  numbers.contexts[0].leader_discount = 0.9;
  Rng start(64);
  WatchedFollower exact(Build(numbers), DrawNormal(start, 5));
  const RowMatrix one_step = exact.OneStepScore();
  const Vector bias = exact.BiasOf(one_step);
  EXPECT_GT(bias.norm(), 0.1 * exact.point().gradient.norm());
  const ExpectedGradient expected = exact.Expect(one_step);
  for (const bool control : {false, true}) {
    TrajectoryModel model = exact.Model(exact.leader_value(), one_step);
    model.expected = &expected;
    model.control_variate = control;
    model.initial_distribution = exact.mdp().initial_distribution();
    for (const auto estimator :
         {TrajectoryEstimator::kReturn, TrajectoryEstimator::kRewardToGo, TrajectoryEstimator::kCritic}) {
      Tally tally(exact.point().gradient + bias);
      for (uint64_t seed = 1; seed <= kManySeeds; ++seed) {
        Rng rng(seed, 65);
        const auto trajectories = exact.Draw(200, {}, rng);
        const auto found = EstimateFromTrajectories(model, trajectories, Kind::kGeometric, estimator);
        tally.Add(found.mean(), found.standard_error);
      }
      tally.ExpectHonest(3.8);  // Bonferroni over 5 components, 6 arms: 0.5 %
    }
  }
}

}  // namespace
}  // namespace bilevel::testing
