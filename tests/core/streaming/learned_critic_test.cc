// Estimates with grad Q - grad V and the leader's values learned by temporal differences: what is biased, by how much,
// and for how long.

#include "tests/support/learned_critic.h"

#include <cmath>

#include "gtest/gtest.h"
#include "tests/core/streaming/draw_return.h"
#include "tests/support/tally.h"

namespace bilevel::testing {
namespace {

using Kind = Horizon::Kind;

WatchedFollower Watch(uint64_t seed) {
  Rng start(seed, 1);
  return {Build(DrawReturn(seed, 0.8)), DrawNormal(start, 5)};
}

// One critic, kept: samples have the bias that ScoreBias says, and reward to go needs no leader's values to be right.
TEST(LearnedCritic, HasTheBiasThatIsComputed) {
  WatchedFollower exact = Watch(91);
  Rng lesson(92);
  const LearnedCritic critic = LearnCritic(exact, exact.DrawTransitions(500, lesson), 1, lesson);
  const Vector bias = exact.BiasOf(critic.score);
  EXPECT_GT(bias.norm(), 0.05 * exact.point().gradient.norm());
  for (const bool baseline : {false, true}) {
    const TrajectoryModel model = exact.Model(baseline ? critic.leader_value : Vector(), critic.score);
    Tally tally(exact.point().gradient + bias);
    for (uint64_t seed = 1; seed <= kManySeeds; ++seed) {
      Rng rng(seed, 93);
      const auto found =
          EstimateFromTrajectories(model, exact.Draw(400, {}, rng), Kind::kGeometric, TrajectoryEstimator::kRewardToGo);
      tally.Add(found.mean(), found.standard_error);
    }
    tally.ExpectHonest(3.5);  // Bonferroni over 5 components, 2 arms: 0.5 %
  }
}

// Given the critic, that is: its square falls by six to nine for ten times the transitions.
TEST(LearnedCritic, LosesItsBiasAsItLearns) {
  WatchedFollower exact = Watch(94);
  const auto squared_bias = [&](int64_t transitions) {
    double sum = 0;
    for (uint64_t seed = 1; seed <= 10; ++seed) {
      Rng rng(seed, 95);
      const LearnedCritic critic = LearnCritic(exact, exact.DrawTransitions(transitions, rng), 1, rng);
      sum += exact.BiasOf(critic.score).squaredNorm() / 10;
    }
    return sum / exact.point().gradient.squaredNorm();
  };
  const double early = squared_bias(300), later = squared_bias(3000), late = squared_bias(30'000);
  RecordProperty("squared bias", std::to_string(early) + ", " + std::to_string(later) + ", " + std::to_string(late));
  EXPECT_LT(later, 0.3 * early);
  EXPECT_LT(late, 0.3 * later);
}

}  // namespace
}  // namespace bilevel::testing
