// Estimates from trajectories against the exact hyper-gradient, with exact policy and exact grad Q - grad V.

#include "core/streaming/trajectory_gradient.h"

#include <algorithm>
#include <cmath>

#include "gtest/gtest.h"
#include "tests/core/streaming/draw_return.h"
#include "tests/support/tally.h"
#include "tests/support/watched_follower.h"

namespace bilevel::testing {
namespace {

using Kind = Horizon::Kind;

struct Variant {
  const char* name;
  TrajectoryEstimator estimator;
  bool baseline;
};
constexpr Variant kVariants[] = {{"return", TrajectoryEstimator::kReturn, false},
                                 {"reward to go", TrajectoryEstimator::kRewardToGo, false},
                                 {"reward to go less V_u", TrajectoryEstimator::kRewardToGo, true},
                                 {"critic", TrajectoryEstimator::kCritic, true}};

TEST(ValueGradient, IsThatOfTheLogPolicy) {
  for (const bool quadratic : {false, true}) {
    const ProblemNumbers numbers = DrawReturn(1, 0.9, quadratic);
    Rng rng(2);
    const Vector x = DrawNormal(rng, 5), v = DrawNormal(rng, 5);
    const WatchedFollower exact(Build(numbers), x);
    const double h = 1e-5;
    const auto log_pi = [&](double t) {
      return WatchedFollower(Build(numbers), x + t * v).point().contexts[0].solution.backup.log_pi;
    };
    const Vector difference = (log_pi(h) - log_pi(-h)) / (2 * h);
    const ParametricReward& reward = exact.problem().contexts[0].reward;
    for (Eigen::Index row = 0; row < difference.size(); ++row) {
      if (!exact.problem().contexts[0].mdp->available(row)) continue;
      ParameterGradient gradient(5);
      reward.AddFeatureGradient(exact.gradient().advantage.row(row).transpose() / 0.7, x, gradient);
      const double slope = (exact.problem().map.Pullback(x, gradient.theta) + gradient.x).dot(v);
      EXPECT_NEAR(slope, difference[row], 1e-7 * (1 + std::abs(slope)));
    }
  }
}

TEST(TrajectoryGradient, EveryEstimatorHasTheExactMeanAndHonestErrorBars) {
  constexpr int kTrajectories = 400;
  for (const bool quadratic : {false, true}) {
    Rng start(3);
    const WatchedFollower exact(Build(DrawReturn(4, 0.9, quadratic)), DrawNormal(start, 5));
    for (const Variant& variant : kVariants) {
      SCOPED_TRACE(variant.name);
      const TrajectoryModel model = exact.Model(variant.baseline ? exact.leader_value() : Vector());
      Tally tally(exact.point().gradient), objective(Vector::Constant(1, exact.point().objective));
      for (uint64_t seed = 1; seed <= kManySeeds; ++seed) {
        Rng rng(seed, 7);
        const auto trajectories = exact.Draw(kTrajectories, {}, rng);
        const SampledGradient found =
            EstimateFromTrajectories(model, trajectories, Kind::kGeometric, variant.estimator);
        tally.Add(found.mean(), found.standard_error);
        objective.Add(Vector::Constant(1, found.objective), Vector::Constant(1, found.objective_standard_error));
        EXPECT_EQ(found.effective_sample_size, kTrajectories);
      }
      // Bonferroni over 5 components, 4 estimators, 2 problems: |z| <= 3.9 at 0.4 %.
      tally.ExpectHonest(3.9);
      EXPECT_GE(objective.coverage(), kSanitized ? 0.7 : 0.9);
      RecordProperty(variant.name,
                     std::to_string(tally.coverage()) + ", spread " + std::to_string(tally.deviation().norm()));
    }
  }
}

TEST(TrajectoryGradient, ErrorsFallLikeOneOverRootN) {
  Rng start(5);
  const WatchedFollower exact(Build(DrawReturn(6, 0.8)), DrawNormal(start, 5));
  for (const Variant& variant : kVariants) {
    const TrajectoryModel model = exact.Model(variant.baseline ? exact.leader_value() : Vector());
    const auto rms = [&](int trajectories) {
      double sum = 0;
      for (uint64_t seed = 1; seed <= 20; ++seed) {
        Rng rng(seed, 11);
        const auto found =
            EstimateFromTrajectories(model, exact.Draw(trajectories, {}, rng), Kind::kGeometric, variant.estimator);
        sum += (found.mean() - exact.point().gradient).squaredNorm() / 20;
      }
      return std::sqrt(sum);
    };
    EXPECT_NEAR(std::log10(rms(100) / rms(10000)), 1, 0.2) << variant.name;
  }
}

TEST(TrajectoryGradient, AFixedHorizonMissesWhatItsDiscountSays) {
  Rng start(8);
  const WatchedFollower exact(Build(DrawReturn(9, 0.8)), DrawNormal(start, 5));
  const Horizon horizon{Kind::kSteps, 60};  // 0.8^60 = 1.5e-6
  Rng rng(10);
  const auto trajectories = exact.Draw(20000, horizon, rng);
  for (const Variant& variant : kVariants) {
    const TrajectoryModel model = exact.Model(variant.baseline ? exact.leader_value() : Vector());
    const auto found = EstimateFromTrajectories(model, trajectories, Kind::kSteps, variant.estimator);
    for (Eigen::Index j = 0; j < 5; ++j) {
      EXPECT_LE(std::abs(found.mean()[j] - exact.point().gradient[j]), 4.5 * found.standard_error[j]) << variant.name;
    }
    EXPECT_NEAR(found.objective, exact.point().objective, 4.5 * found.objective_standard_error);
  }
}

TEST(TrajectoryGradient, BaselinesAndCriticsLowerTheSpread) {
  Rng start(12);
  const WatchedFollower exact(Build(DrawReturn(13, 0.9)), DrawNormal(start, 5));
  Rng rng(14);
  const auto trajectories = exact.Draw(5000, {}, rng);
  std::vector<double> spreads;
  for (const Variant& variant : kVariants) {
    const TrajectoryModel model = exact.Model(variant.baseline ? exact.leader_value() : Vector());
    spreads.push_back(
        EstimateFromTrajectories(model, trajectories, Kind::kGeometric, variant.estimator).standard_error.norm());
  }
  EXPECT_LT(spreads[3], spreads[2]);
  EXPECT_LT(spreads[2], 0.8 * spreads[0]);
}

// Another policy acted: weights bring the mean back, and count for fewer trajectories.
TEST(TrajectoryGradient, WeightsCorrectForAnotherPolicy) {
  Rng start(15);
  const WatchedFollower exact(Build(DrawReturn(16, 0.6)), DrawNormal(start, 5));
  const TabularMdp& mdp = *exact.problem().contexts[0].mdp;
  const Simulator simulator(mdp);
  Vector uniform = Vector::Zero(mdp.num_rows());
  for (Eigen::Index row = 0; row < uniform.size(); ++row) uniform[row] = mdp.available(row) ? 1 : 0;
  const Vector count = SumOverActions(mdp, uniform);
  uniform = uniform.cwiseQuotient(RepeatForActions(mdp, count));
  Rng rng(17);
  std::vector<Trajectory> trajectories;
  for (int i = 0; i < 40000; ++i) {
    trajectories.push_back(Roll(simulator, uniform, mdp.num_actions(), simulator.DrawStart(rng), {}, 0.6, rng));
    for (const int64_t row : trajectories.back().rows) {
      trajectories.back().log_weight += std::log(exact.pi()[row] / uniform[row]);
    }
  }
  const TrajectoryModel model = exact.Model(exact.leader_value());
  const auto found = EstimateFromTrajectories(model, trajectories, Kind::kGeometric, TrajectoryEstimator::kRewardToGo);
  EXPECT_LT(found.effective_sample_size, 20000);
  for (Eigen::Index j = 0; j < 5; ++j) {
    EXPECT_LE(std::abs(found.mean()[j] - exact.point().gradient[j]), 4.5 * found.standard_error[j]);
  }
  for (Trajectory& trajectory : trajectories) trajectory.log_weight = 0;
  const auto wrong = EstimateFromTrajectories(model, trajectories, Kind::kGeometric, TrajectoryEstimator::kRewardToGo);
  EXPECT_GT((wrong.mean() - exact.point().gradient).norm(), 5 * wrong.standard_error.norm());
}

// One trajectory that outweighs all others says nothing of its own error.
TEST(TrajectoryGradient, HasNoErrorBarsFromOneTrajectoryThatCounts) {
  Rng start(40);
  const WatchedFollower exact(Build(DrawReturn(41, 0.8)), DrawNormal(start, 5));
  Rng rng(42);
  auto trajectories = exact.Draw(2, {}, rng);
  for (const double gap : {20., 40., 800.}) {
    trajectories[0].log_weight = gap;
    for (const TrajectoryEstimator estimator : {TrajectoryEstimator::kReturn, TrajectoryEstimator::kRewardToGo}) {
      const auto found = EstimateFromTrajectories(exact.Model(Vector()), trajectories, Kind::kGeometric, estimator);
      EXPECT_TRUE(found.mean().allFinite());
      EXPECT_LT(found.mean().norm(), 1e6);
      if (gap > 30) {
        EXPECT_TRUE(std::isinf(found.standard_error[0]));
        EXPECT_TRUE(std::isinf(found.objective_standard_error));
      }
    }
  }
}

// A sample of the leader's reward with its mean serves as well as the table.
TEST(TrajectoryGradient, TakesNoisyRewardsOfTheLeader) {
  Rng start(18);
  const WatchedFollower exact(Build(DrawReturn(19, 0.8)), DrawNormal(start, 5));
  Rng rng(20);
  auto trajectories = exact.Draw(20000, {}, rng);
  const TrajectoryModel model = exact.Model(exact.leader_value());
  const Vector theta = exact.problem().map.Apply(model.x);
  const Vector cost = model.leader_reward.Evaluate(model.x, theta);
  for (Trajectory& trajectory : trajectories) {
    for (const int64_t row : trajectory.rows) trajectory.leader_rewards.push_back(cost[row] + rng.Normal());
  }
  const auto found = EstimateFromTrajectories(model, trajectories, Kind::kGeometric, TrajectoryEstimator::kRewardToGo);
  for (Eigen::Index j = 0; j < 5; ++j) {
    EXPECT_LE(std::abs(found.mean()[j] - exact.point().gradient[j]), 4.5 * found.standard_error[j]);
  }
}

// Why grad Q must not come from the trajectory that l comes from: both share the tail.
TEST(TrajectoryGradient, TailsOfTheSameTrajectoryAreBiased) {
  Rng start(21);
  const WatchedFollower exact(Build(DrawReturn(22, 0.8)), DrawNormal(start, 5));
  const TrajectoryModel model = exact.Model(Vector());
  const SparseRows features = model.reward.GradientFeatures();
  const Vector theta = exact.problem().map.Apply(model.x);
  const Vector cost = model.leader_reward.Evaluate(model.x, theta);
  Rng rng(23);
  constexpr int kTrajectories = 100000;
  Vector sum = Vector::Zero(5), squares = sum, honest = sum;
  for (const Trajectory& trajectory : exact.Draw(kTrajectories, {}, rng)) {
    double loss = 0;
    for (const int64_t row : trajectory.rows) loss += cost[row];
    Vector tail = Vector::Zero(5), scores = tail, exact_scores = tail;
    for (size_t t = trajectory.rows.size(); t-- > 0;) {
      const int64_t row = trajectory.rows[t];
      tail += Vector(features.row(row).transpose());  // undiscounted to a geometric end: unbiased for grad Q by itself
      scores += tail - exact.gradient().value.row(row / model.num_actions).transpose();
      exact_scores += exact.gradient().advantage.row(row).transpose();
    }
    sum += loss * scores;
    squares += (loss * scores).cwiseAbs2();
    honest += loss * exact_scores;
  }
  const Vector mean = sum / kTrajectories;
  const Vector error = ((squares / kTrajectories - mean.cwiseAbs2()) / kTrajectories).cwiseSqrt();
  EXPECT_GT(((mean - honest / kTrajectories).cwiseAbs().cwiseQuotient(error)).maxCoeff(), 10);
}

}  // namespace
}  // namespace bilevel::testing
