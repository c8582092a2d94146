// What a model expects, as control variate and as what cut trajectories miss.

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/streaming/trajectory_gradient.h"
#include "gtest/gtest.h"
#include "tests/core/streaming/draw_return.h"
#include "tests/support/tally.h"
#include "tests/support/watched_follower.h"

namespace bilevel::testing {
namespace {

using Kind = Horizon::Kind;

struct Arm {
  const char* name;
  TrajectoryEstimator estimator;
};
constexpr Arm kArms[] = {{"return", TrajectoryEstimator::kReturn},
                         {"reward to go", TrajectoryEstimator::kRewardToGo},
                         {"critic", TrajectoryEstimator::kCritic}};

// The leader looks less far than the follower, so that no discount can stand in for the other.
WatchedFollower Watch(uint64_t seed, double discount, double leader_discount, bool quadratic = false) {
  ProblemNumbers numbers = DrawReturn(seed, discount, quadratic);
  numbers.contexts[0].leader_discount = leader_discount;
  Rng start(seed, 1);
  return {Build(numbers), DrawNormal(start, 5)};
}

// sum rho Gamma as a gradient.
Vector AtTheStart(const TrajectoryModel& model, const ExpectedGradient& expected, const Vector& rho) {
  ParameterGradient gradient(model.x.size());
  model.leader_reward.AddFeatureGradient(expected.exploitation.value.transpose() * rho, model.x, gradient);
  model.reward.AddFeatureGradient(expected.exploration.value.transpose() * rho / model.temperature, model.x, gradient);
  return model.map.Pullback(model.x, gradient.theta) + gradient.x;
}

// Two independent ways: the adjoint, and the recursion from every state.
TEST(ExpectedGradient, OfTheStartIsTheHypergradient) {
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    const WatchedFollower exact = Watch(seed, 0.95, 0.8, seed % 2 == 0);
    const TrajectoryModel model = exact.ModelWithBias();
    const Vector gradient = AtTheStart(model, exact.expected(), exact.mdp().initial_distribution());
    EXPECT_LT((gradient - exact.point().gradient).norm(), 1e-9 * exact.point().gradient.norm()) << "seed " << seed;
    EXPECT_NEAR(exact.expected().leader.value.dot(exact.mdp().initial_distribution()), exact.point().objective, 1e-9);
  }
}

TEST(ControlVariate, LeavesTheMeanAndLowersTheSpread) {
  constexpr int kTrajectories = 200;
  for (const bool quadratic : {false, true}) {
    const WatchedFollower exact = Watch(31, 0.95, 0.9, quadratic);
    for (const Arm& arm : kArms) {
      SCOPED_TRACE(arm.name);
      const TrajectoryModel plain = exact.ModelWithBias(), controlled = exact.ModelWithControl();
      Tally without(exact.point().gradient), with(exact.point().gradient);
      Tally objective_without(Vector::Constant(1, exact.point().objective)), objective_with = objective_without;
      for (uint64_t seed = 1; seed <= kManySeeds; ++seed) {
        Rng rng(seed, 32);
        const auto trajectories = exact.Draw(kTrajectories, {}, rng);
        const auto p = EstimateFromTrajectories(plain, trajectories, Kind::kGeometric, arm.estimator);
        const auto c = EstimateFromTrajectories(controlled, trajectories, Kind::kGeometric, arm.estimator);
        without.Add(p.mean(), p.standard_error);
        with.Add(c.mean(), c.standard_error);
        objective_without.Add(Vector::Constant(1, p.objective), Vector::Constant(1, p.objective_standard_error));
        objective_with.Add(Vector::Constant(1, c.objective), Vector::Constant(1, c.objective_standard_error));
        EXPECT_EQ(c.bias.norm(), 0);  // a geometric horizon misses nothing
      }
      // Bonferroni over 5 components, 3 estimators, 2 problems: |z| <= 3.8 at 0.5 %.
      with.ExpectHonest(3.8);
      EXPECT_LE(objective_with.worst_z(), kSanitized ? 8 : 3.8);
      EXPECT_GE(objective_with.coverage(), kSanitized ? 0.7 : 0.9);
      // What is left is the chance of the world itself.
      const double share = kSanitized ? 0.95 : 0.75;  // spreads of 20 seeds are right to 16 %
      EXPECT_LT(with.deviation().norm(), share * without.deviation().norm());
      EXPECT_LT(objective_with.deviation()[0], share * objective_without.deviation()[0]);
      RecordProperty(std::string(arm.name) + (quadratic ? " quadratic" : ""),
                     std::to_string(without.deviation().norm()) + " to " + std::to_string(with.deviation().norm()) +
                         ", coverage " + std::to_string(with.coverage()));
    }
  }
}

// The past is no choice's doing: with it, the two estimators are one.
TEST(ControlVariate, MakesTheReturnTheRewardToGo) {
  const WatchedFollower exact = Watch(33, 0.9, 0.9);
  Rng rng(34);
  for (const Horizon& horizon : {Horizon{}, Horizon{Kind::kSteps, 7}}) {
    const auto trajectories = exact.Draw(50, horizon, rng);
    const TrajectoryModel model = exact.ModelWithControl();
    const auto one = EstimateFromTrajectories(model, trajectories, horizon.kind, TrajectoryEstimator::kReturn);
    const auto other = EstimateFromTrajectories(model, trajectories, horizon.kind, TrajectoryEstimator::kRewardToGo);
    EXPECT_EQ(one.mean(), other.mean());
    EXPECT_EQ(one.bias, other.bias);
  }
}

// In a world without chance but the follower's own choices, nothing is left to vary; the horizon's coins included.
TEST(ControlVariate, LeavesNoSpreadInADeterministicWorld) {
  ProblemNumbers numbers = DrawReturn(35, 0.9);
  TabularMdpSpec& mdp = numbers.contexts[0].mdp;
  mdp = {.num_states = mdp.num_states, .num_actions = mdp.num_actions};
  mdp.offsets = {0};
  Rng rng(36);
  for (int row = 0; row < mdp.num_states * mdp.num_actions; ++row) {
    mdp.columns.push_back(static_cast<uint32_t>(rng.Below(20)));
    mdp.probabilities.push_back(1);
    mdp.offsets.push_back(static_cast<uint64_t>(row) + 1);
  }
  const WatchedFollower exact(Build(numbers), DrawNormal(rng, 5));
  for (const Horizon& horizon : {Horizon{}, Horizon{Kind::kSteps, 7}}) {
    const auto trajectories = exact.Draw(20, horizon, rng);
    for (const Arm& arm : kArms) {
      const auto found = EstimateFromTrajectories(exact.ModelWithControl(), trajectories, horizon.kind, arm.estimator);
      EXPECT_LT((found.corrected() - exact.point().gradient).norm(), 1e-10 * exact.point().gradient.norm()) << arm.name;
      EXPECT_LT(found.corrected_standard_error.norm(), 1e-6) << arm.name;
      EXPECT_NEAR(found.objective - found.objective_bias, exact.point().objective, 1e-10);
    }
  }
}

// Expectations of another world have mean 0 all the same.
TEST(ControlVariate, OfAWrongModelLeavesTheMean) {
  const WatchedFollower exact = Watch(37, 0.9, 0.8), wrong = Watch(38, 0.9, 0.8);
  TrajectoryModel model = exact.ModelWithControl();
  // The wrong world's values at the right pi: advantages must average to 0 over pi's choices.
  ExpectedGradient expected = wrong.expected();
  const TabularMdp& mdp = exact.mdp();
  const auto center = [&](auto& advantage) {
    for (int s = 0; s < mdp.num_states(); ++s) {
      const Eigen::Index first = Eigen::Index{s} * mdp.num_actions();
      const Eigen::RowVectorXd mean =
          exact.pi().segment(first, mdp.num_actions()).transpose() * advantage.middleRows(first, mdp.num_actions());
      for (int a = 0; a < mdp.num_actions(); ++a) advantage.row(first + a) -= mean;
    }
  };
  center(expected.leader.advantage);
  center(expected.exploitation.advantage);
  center(expected.exploration.advantage);
  model.expected = &expected;
  for (const Arm& arm : kArms) {
    SCOPED_TRACE(arm.name);
    Tally tally(exact.point().gradient);
    for (uint64_t seed = 1; seed <= kManySeeds; ++seed) {
      Rng rng(seed, 39);
      const auto trajectories = exact.Draw(200, {}, rng);
      const auto found = EstimateFromTrajectories(model, trajectories, Kind::kGeometric, arm.estimator);
      tally.Add(found.mean(), found.standard_error);
    }
    tally.ExpectHonest(3.6);  // Bonferroni over 5 components, 3 estimators: 0.5 %
  }
}

// Of a model that is the frequencies of the sample itself, what the control variate leaves of the critic's estimate
// sums to nothing but the model's own gradient. The mean is right to first order, but error bars take critics as exact:
// the less an estimator samples by itself, the more is missing from them.
TEST(ControlVariate, OfTheSampleItselfGivesThePlugInGradientAndErrorBarsThatAreTooShort) {
  const WatchedFollower exact = Watch(46, 0.9, 0.8);
  const auto tally_of = [&](TrajectoryEstimator estimator) {
    Tally tally(exact.point().gradient);
    for (uint64_t seed = 1; seed <= kManySeeds; ++seed) {
      Rng rng(seed, 47);
      const auto trajectories = exact.Draw(2000, {}, rng);
      const ModelCritic critic = exact.AskModel(exact.ModelOf(trajectories));
      TrajectoryModel model = exact.Model(critic.expected.leader.value, critic.gradient.advantage);
      model.leader_advantage = critic.expected.leader.advantage;
      model.expected = &critic.expected;
      model.control_variate = true;
      model.initial_distribution = exact.mdp().initial_distribution();
      const auto found = EstimateFromTrajectories(model, trajectories, Kind::kGeometric, estimator);
      tally.Add(found.mean(), found.standard_error);
      if (estimator == TrajectoryEstimator::kCritic) {
        const Vector plug_in = AtTheStart(model, critic.expected, model.initial_distribution);
        EXPECT_LT((found.mean() - plug_in).norm(), 1e-10 * plug_in.norm());
      }
    }
    EXPECT_LE(tally.worst_z(), kSanitized ? 7 : 3.5);  // Bonferroni over 5 components, 2 arms: 0.5 %
    return tally.coverage();
  };
  EXPECT_GT(tally_of(TrajectoryEstimator::kRewardToGo), kSanitized ? 0.85 : 0.9);
  EXPECT_LT(tally_of(TrajectoryEstimator::kCritic), kSanitized ? 0.9 : 0.85);
}

// Another policy acted; weights of whole trajectories hold for the control variate as well.
TEST(ControlVariate, KeepsItsMeanUnderImportanceWeights) {
  const WatchedFollower exact = Watch(40, 0.6, 0.6);
  const TabularMdp& mdp = exact.mdp();
  const Simulator simulator(mdp);
  // Half pi, half uniform: weights of a step are at most 2.
  Vector uniform = Vector::Zero(mdp.num_rows());
  for (Eigen::Index row = 0; row < uniform.size(); ++row) uniform[row] = mdp.available(row) ? 1 : 0;
  const Vector acting =
      0.5 * (exact.pi() +
             uniform.cwiseQuotient(
                 RepeatForActions(mdp, SumOverActions(mdp, uniform)).cwiseMax(std::numeric_limits<double>::min())));
  for (const Arm& arm : kArms) {
    SCOPED_TRACE(arm.name);
    Tally with(exact.point().gradient), without(exact.point().gradient);
    for (uint64_t seed = 1; seed <= kManySeeds; ++seed) {
      Rng rng(seed, 41);
      std::vector<Trajectory> trajectories;
      for (int i = 0; i < 1000; ++i) {
        trajectories.push_back(Roll(simulator, acting, mdp.num_actions(), simulator.DrawStart(rng), {}, 0.6, rng));
        for (const int64_t row : trajectories.back().rows) {
          trajectories.back().log_weight += std::log(exact.pi()[row] / acting[row]);
        }
      }
      const auto c = EstimateFromTrajectories(exact.ModelWithControl(), trajectories, Kind::kGeometric, arm.estimator);
      const auto p = EstimateFromTrajectories(exact.ModelWithBias(), trajectories, Kind::kGeometric, arm.estimator);
      with.Add(c.mean(), c.standard_error);
      without.Add(p.mean(), p.standard_error);
    }
    with.ExpectHonest(3.6);
    EXPECT_LT(with.deviation().norm(), (kSanitized ? 0.95 : 0.8) * without.deviation().norm());
  }
}

// H = 5 at discount 0.9 misses 59 % of the weight of time.
TEST(CutTrajectories, LessTheirBiasAgreeWithTheExactGradient) {
  constexpr int kTrajectories = 400;
  const WatchedFollower exact = Watch(42, 0.95, 0.9);
  for (const bool control : {false, true}) {
    for (const Arm& arm : kArms) {
      SCOPED_TRACE(std::string(arm.name) + (control ? " with control variate" : ""));
      const TrajectoryModel model = control ? exact.ModelWithControl() : exact.ModelWithBias();
      Tally raw(exact.point().gradient), corrected(exact.point().gradient);
      Tally objective(Vector::Constant(1, exact.point().objective));
      for (uint64_t seed = 1; seed <= kManySeeds; ++seed) {
        Rng rng(seed, 43);
        const auto trajectories = exact.Draw(kTrajectories, {Kind::kSteps, 5}, rng);
        const auto found = EstimateFromTrajectories(model, trajectories, Kind::kSteps, arm.estimator);
        raw.Add(found.mean(), found.standard_error);
        corrected.Add(found.corrected(), found.corrected_standard_error);
        objective.Add(Vector::Constant(1, found.objective - found.objective_bias), Vector::Zero(1));
      }
      // Bonferroni over 6 numbers, 3 estimators, with and without: |z| <= 3.9 at 0.4 %.
      corrected.ExpectHonest(3.9);
      EXPECT_LE(objective.worst_z(), kSanitized ? 8 : 3.9);
      EXPECT_GT(raw.bias().norm(), (kSanitized ? 5 : 20) * corrected.bias().norm());
    }
  }
}

TEST(CutTrajectories, SayWhereTheyWereCut) {
  const WatchedFollower exact = Watch(44, 0.9, 0.9);
  Rng rng(45);
  int cut = 0;
  for (const Trajectory& trajectory : exact.Draw(500, {Kind::kSteps, 8}, rng)) {
    EXPECT_EQ(trajectory.terminated, trajectory.final_state < 0);
    if (!trajectory.terminated) {
      ++cut;
      EXPECT_EQ(trajectory.rows.size(), 8);
    }
  }
  EXPECT_GT(cut, 50);
  EXPECT_LT(cut, 450);
}

}  // namespace
}  // namespace bilevel::testing
