#include "core/streaming/continuations.h"

#include "gtest/gtest.h"
#include "tests/core/streaming/draw_return.h"
#include "tests/support/tally.h"
#include "tests/support/watched_follower.h"

namespace bilevel::testing {
namespace {

using Kind = Horizon::Kind;

// The leader looks less far than the follower.
WatchedFollower Watch(uint64_t seed, bool quadratic) {
  ProblemNumbers numbers = DrawReturn(seed, 0.8, quadratic);
  numbers.contexts[0].leader_discount = 0.7;
  Rng start(seed, 1);
  return {Build(numbers), DrawNormal(start, 5)};
}

TEST(Continuations, HaveTheScoreAsMeanAtEveryStep) {
  constexpr int kDraws = 4000;
  const WatchedFollower exact = Watch(71, true);
  Rng rng(72);
  for (Eigen::Index row = 0; row < exact.mdp().num_rows(); row += 7) {
    if (!exact.mdp().available(row)) continue;
    Tally tally(exact.gradient().advantage.row(row).transpose());
    for (int i = 0; i < kDraws; ++i) tally.Add(exact.continuations().DrawScore(row, rng), Vector::Zero(6));
    EXPECT_LE(tally.worst_z(), 4.1) << "row " << row;  // Bonferroni over 6 features, 12 rows: 0.3 %
  }
}

// Entries are products of returns, lengths and two walks: 800 trajectories for normal intervals.
TEST(Continuations, EveryEstimatorHasTheExactMeanAndHonestErrorBars) {
  for (const bool quadratic : {false, true}) {
    const WatchedFollower exact = Watch(73, quadratic);
    for (const bool control : {false, true}) {
      const TrajectoryModel model = control ? exact.ModelWithControl() : exact.ModelWithBias();
      for (const auto estimator :
           {TrajectoryEstimator::kReturn, TrajectoryEstimator::kRewardToGo, TrajectoryEstimator::kCritic}) {
        if (control && estimator == TrajectoryEstimator::kReturn) continue;  // is the reward to go
        Tally tally(exact.point().gradient);
        for (uint64_t seed = 1; seed <= kManySeeds; ++seed) {
          Rng rng(seed, 74);
          const auto trajectories = exact.Draw(800, {}, rng);
          const auto scores = exact.continuations().DrawScores(trajectories, rng);
          const auto found = EstimateFromTrajectories(model, trajectories, Kind::kGeometric, estimator, scores);
          tally.Add(found.mean(), found.standard_error);
        }
        tally.ExpectHonest(3.9);  // Bonferroni over 5 components, 10 arms: 0.5 %
      }
    }
  }
}

}  // namespace
}  // namespace bilevel::testing
