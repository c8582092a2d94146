#include "core/streaming/replay_critics.h"

#include <atomic>
#include <cmath>
#include <memory>
#include <optional>

#include "gtest/gtest.h"
#include "tests/core/streaming/draw_return.h"
#include "tests/support/watched_follower.h"

namespace bilevel::testing {
namespace {

constexpr int kEverything = 1'000'000;

// Trajectories of the follower, as the ring has them.
Replay<ReplayedStep> Recall(const std::vector<Trajectory>& trajectories, int num_actions) {
  Replay<ReplayedStep> seen(kEverything);
  for (const Trajectory& trajectory : trajectories) {
    for (size_t t = 0; t < trajectory.rows.size(); ++t) {
      const bool last = t + 1 == trajectory.rows.size();
      const int next = last ? trajectory.final_state : static_cast<int>(trajectory.rows[t + 1] / num_actions);
      seen.Add({static_cast<int32_t>(trajectory.rows[t]), next});
    }
  }
  return seen;
}

// Numbers of rows that are never taken mean nothing.
RowMatrix Available(const TabularMdp& mdp, RowMatrix rows) {
  for (Eigen::Index row = 0; row < mdp.num_rows(); ++row) {
    if (!mdp.available(row)) rows.row(row).setZero();
  }
  return rows;
}

class ReplayCriticsTest : public ::testing::Test {
 protected:
  static BilevelProblem Problem(uint64_t seed) {
    ProblemNumbers numbers = DrawReturn(seed, 0.8);
    numbers.contexts[0].leader_discount = 0.7;
    return Build(numbers);
  }
  static WatchedFollower Watch(uint64_t seed) {
    Rng start(seed, 1);
    return {Problem(seed), DrawNormal(start, 5)};
  }

  static ReplayCritics Learn(const WatchedFollower& follower, const Replay<ReplayedStep>& seen,
                             const ReplayCriticsOptions& options, int times) {
    const Context& context = follower.problem().contexts[0];
    ReplayCritics critics(
        {follower.mdp(), context.discount, follower.leader_discount(), context.reward.GradientFeatures()}, options);
    critics.MoveTo(follower.Reward(), follower.LeaderReward(), context.temperature);
    Rng rng(3);
    for (int i = 0; i < times; ++i) critics.Learn(seen, rng, {});
    return critics;
  }
};

// The same numbers as from a model of the ring's frequencies, whose every equation is solved.
TEST_F(ReplayCriticsTest, FixedPointIsThatOfTheFrequencies) {
  for (const uint64_t seed : {41, 42, 43}) {
    SCOPED_TRACE(seed);
    WatchedFollower truth = Watch(seed);
    Rng rng(seed, 2);
    // Each available row at least once: what is not seen is nobody's model.
    std::vector<Trajectory> trajectories = truth.DrawTransitions(3000, rng);
    for (Eigen::Index row = 0; row < truth.mdp().num_rows(); ++row) {
      if (!truth.mdp().available(row)) continue;
      const int next = truth.simulator().DrawNext(row, rng);
      trajectories.push_back({.rows = {row}, .leader_rewards = {}, .terminated = next < 0, .final_state = next});
    }
    BilevelProblem problem = truth.problem();
    problem.contexts[0].mdp = std::make_shared<const TabularMdp>(truth.ModelOf(trajectories));
    const WatchedFollower frequencies(problem, truth.x());

    const Replay<ReplayedStep> seen = Recall(trajectories, truth.mdp().num_actions());
    // grad Q over a sample would fluctuate around its fixed point; here it gets the ring itself, by TableCritic.
    const ReplayCritics critics = Learn(truth, seen, {.sweeps = 300, .gradient_sample = 0}, 1);
    EXPECT_LT((critics.pi() - frequencies.pi()).cwiseAbs().maxCoeff(), 1e-9);
    EXPECT_LT((critics.LeaderValue() - frequencies.leader_value()).cwiseAbs().maxCoeff(), 1e-9);
    const RowMatrix advantage = Available(truth.mdp(), frequencies.expected().leader.advantage);
    EXPECT_LT((critics.LeaderAdvantage() - advantage).cwiseAbs().maxCoeff(), 1e-9);

    const Context& context = truth.problem().contexts[0];
    const RowMatrix features = context.reward.GradientFeatures();
    TableCritic gradient(features.rows(), features.cols());
    RowMatrix value = RowMatrix::Zero(truth.mdp().num_states(), features.cols());
    for (int sweep = 0; sweep < 600; ++sweep) {
      gradient.Sweep(seen.items(), features, value, context.discount, 0.5);
      value.setZero();
      for (Eigen::Index row = 0; row < features.rows(); ++row) {
        value.row(row / truth.mdp().num_actions()) += critics.pi()[row] * gradient.values().row(row);
      }
    }
    EXPECT_LT((value - frequencies.gradient().value).cwiseAbs().maxCoeff(), 1e-9);
  }
}

// All off-policy, pi by its own Q, grad Q by samples of the ring and the others either way: the error falls like one
// over the square root of what each row was tried, by 3.2 for ten times as often. Each is a mean square over five seeds
// and hundreds of numbers.
TEST_F(ReplayCriticsTest, ApproachesTheTruthWhoeverActs) {
  WatchedFollower truth = Watch(44);
  const auto error = [&](int tries, uint64_t seed, bool sampled) {
    Rng rng(seed, 5);
    Replay<ReplayedStep> seen(kEverything);
    for (Eigen::Index row = 0; row < truth.mdp().num_rows(); ++row) {
      for (int i = 0; i < tries && truth.mdp().available(row); ++i) {
        seen.Add({static_cast<int32_t>(row), truth.simulator().DrawNext(row, rng)});
      }
    }
    const auto all = static_cast<int64_t>(seen.size());
    ReplayCriticsOptions options{.gradient_sample = all, .gradient_step = 0.2};
    if (sampled) options.value_sample = all, options.value_step = 0.2;
    const ReplayCritics critics = Learn(truth, seen, options, 150);
    return (critics.Score() - Available(truth.mdp(), truth.gradient().advantage)).squaredNorm() +
           (critics.LeaderAdvantage() - Available(truth.mdp(), truth.expected().leader.advantage)).squaredNorm();
  };
  for (const bool sampled : {false, true}) {
    SCOPED_TRACE(sampled ? "samples of the ring" : "the ring");
    double few = 0, many = 0;
    for (uint64_t seed = 1; seed <= 5; ++seed) {
      few += error(10, seed, sampled);
      many += error(100, seed, sampled);
    }
    EXPECT_LT(std::sqrt(many / few), 0.4);
  }
}

TEST_F(ReplayCriticsTest, ScoresHaveMeanZeroAndNothingIsUnavailable) {
  WatchedFollower truth = Watch(45);
  Rng rng(6);
  const Replay<ReplayedStep> seen = Recall(truth.DrawTransitions(500, rng), truth.mdp().num_actions());
  const ReplayCritics critics = Learn(truth, seen, {}, 3);
  const Eigen::Index actions = truth.mdp().num_actions();
  const RowMatrix score = critics.Score();
  for (int s = 0; s < truth.mdp().num_states(); ++s) {
    const Vector pi = critics.pi().segment(s * actions, actions);
    EXPECT_NEAR(pi.sum(), 1, 1e-12);
    EXPECT_LT((pi.transpose() * score.middleRows(s * actions, actions)).norm(), 1e-12);
    EXPECT_NEAR(pi.dot(critics.LeaderAdvantage().segment(s * actions, actions)), 0, 1e-12);
  }
  for (Eigen::Index row = 0; row < truth.mdp().num_rows(); ++row) {
    if (truth.mdp().available(row)) continue;
    EXPECT_EQ(critics.pi()[row], 0);
    EXPECT_EQ(score.row(row).norm(), 0);
  }
}

TEST_F(ReplayCriticsTest, RowsWithoutTransitionsKeepTheirValue) {
  TableCritic critic(4, 2);
  const RowMatrix f = RowMatrix::Constant(4, 2, 3), v = RowMatrix::Constant(2, 2, 10);
  const std::vector<ReplayedStep> steps = {{1, 0}, {1, Simulator::kEnded}, {2, 1}};
  critic.Sweep(steps, f, v, 0.5, 0.5);
  const RowMatrix expected = (RowMatrix(4, 2) << 0, 0, 2.75, 2.75, 4, 4, 0, 0).finished();
  EXPECT_EQ(critic.values(), expected);  // 1: half of 3 + 0.5 * (10 + 0)/2; 2: half of 3 + 0.5 * 10
}

TEST_F(ReplayCriticsTest, AnInterruptionLeavesThemAsTheyWere) {
  WatchedFollower truth = Watch(46);
  Rng rng(7);
  const Replay<ReplayedStep> seen = Recall(truth.DrawTransitions(500, rng), truth.mdp().num_actions());
  ReplayCritics critics = Learn(truth, seen, {}, 1);
  const Vector before = critics.pi();
  const std::atomic<bool> cancelled = true;
  critics.Learn(seen, rng, Interrupt(&cancelled, std::nullopt));
  EXPECT_EQ(critics.pi(), before);
}

}  // namespace
}  // namespace bilevel::testing
