// Estimates from trajectories on Four-Rooms against the exact hyper-gradient.
//
// The leader earns in one cell that few trajectories pass, so that samples are mostly 0 and seldom large. Where a
// return is among the factors its own spread hides that; a critic's advantage is of one sign there, and of 100
// trajectories 95 % intervals hold 88 % only: means are near enough to normal from 1000 (with control variate) or 2000
// on.

#include <array>
#include <string>
#include <vector>

#include "client/problems/four_rooms.h"
#include "gtest/gtest.h"
#include "tests/problems/decoded.h"
#include "tests/support/tally.h"
#include "tests/support/watched_follower.h"

namespace bilevel::testing {
namespace {

using Kind = Horizon::Kind;

struct Arm {
  const char* name;
  TrajectoryEstimator estimator;
  bool control, walks;
  int trajectories;
};
constexpr std::array kArms = {Arm{"return", TrajectoryEstimator::kReturn, false, false, 500},
                              Arm{"reward to go", TrajectoryEstimator::kRewardToGo, false, false, 500},
                              Arm{"critic", TrajectoryEstimator::kCritic, false, false, 2000},
                              Arm{"reward to go, control", TrajectoryEstimator::kRewardToGo, true, false, 500},
                              Arm{"critic, control", TrajectoryEstimator::kCritic, true, false, 1000},
                              Arm{"critic, continuations", TrajectoryEstimator::kCritic, false, true, 500}};

TEST(Estimators, AgreeWithTheExactGradientOfFourRooms) {
  const WatchedFollower exact(Decoded(client::FourRooms({.temperature = 0.005, .beta = 5, .two_goals = false})),
                              Vector::Zero(105));
  for (const Arm& arm : kArms) {
    SCOPED_TRACE(arm.name);
    const TrajectoryModel model = arm.control ? exact.ModelWithControl() : exact.ModelWithBias();
    Tally tally(exact.point().gradient), objective(Vector::Constant(1, exact.point().objective));
    for (uint64_t seed = 1; seed <= kManySeeds; ++seed) {
      Rng rng(seed, 81);
      const auto drawn = exact.Draw(arm.trajectories, {}, rng);
      const auto scores = arm.walks ? exact.continuations().DrawScores(drawn, rng) : std::vector<SampledScore>();
      const auto found = EstimateFromTrajectories(model, drawn, Kind::kGeometric, arm.estimator, scores);
      tally.Add(found.mean(), found.standard_error);
      objective.Add(Vector::Constant(1, found.objective), Vector::Constant(1, found.objective_standard_error));
    }
    tally.ExpectHonest(4.5);  // Bonferroni over 105 components, 6 arms: 0.5 %
    EXPECT_LE(objective.worst_z(), kSanitized ? 8 : 4.5);
    RecordProperty(arm.name, std::to_string(tally.coverage()) + ", spread " + std::to_string(tally.deviation().norm()));
  }
}

}  // namespace
}  // namespace bilevel::testing
