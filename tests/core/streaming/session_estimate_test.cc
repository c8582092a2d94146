// Estimates from what a session learned, against the exact hyper-gradient of the world that it saw.

#include "core/streaming/session_estimate.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/streaming/session_learner.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/streaming/draw_return.h"
#include "tests/support/sanitized.h"
#include "tests/support/watched_follower.h"

namespace bilevel::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using Kind = EstimatorOptions::Kind;
using Critic = EstimatorOptions::Critic;
using Baseline = EstimatorOptions::Baseline;
using Route = SessionLearnerOptions::Route;

constexpr int kTransitions = kSanitized ? 20'000 : 200'000;

// How the follower, or somebody in its place, is watched.
struct Watch {
  bool uniform = false;  // somebody else acts, at random, and says so
  bool sampled = false;  // the leader's rewards come with noise, and its table is not known
  uint32_t parameters_version = 0;
  int steps = 40;  // episodes are truncated there
};

class SessionEstimate : public ::testing::Test {
 protected:
  SessionEstimate() : exact_(Build(DrawReturn(31, 0.8)), StartOf()) {}

  static Vector StartOf() {
    Rng rng(32);
    return DrawNormal(rng, 5);
  }

  SessionLearner Learner(SessionLearnerOptions options = {}) {
    options.trajectory_capacity = 1'000'000;
    options.update_interval = 1'000'000'000;
    return *SessionLearner::Create(exact_.problem(), true, exact_.x(), options);
  }

  void Feed(SessionLearner& learner, int count, uint64_t seed, const Watch& watch) {
    Rng rng(seed);
    const int A = exact_.mdp().num_actions();
    Vector acts = exact_.pi();
    if (watch.uniform) {
      for (Eigen::Index row = 0; row < acts.size(); ++row) acts[row] = exact_.mdp().available(row) ? 1 : 0;
      acts = acts.cwiseQuotient(RepeatForActions(exact_.mdp(), SumOverActions(exact_.mdp(), acts)));
    }
    const Vector cost = exact_.LeaderReward();
    int state = -1, step = 0;
    for (uint64_t i = 0, episode = seed * 1'000'000; i < static_cast<uint64_t>(count); ++i) {
      Transition transition{.episode = episode, .begins = state < 0};
      if (state < 0) {
        state = exact_.simulator().DrawStart(rng);
        step = 0;
      }
      transition.state = state;
      transition.action = exact_.simulator().DrawAction(acts, state, rng);
      const int64_t row = int64_t{state} * A + transition.action;
      const int next = exact_.simulator().DrawNext(row, rng);
      const bool ended = next == Simulator::kEnded,
                 cut = ++step == watch.steps || i + 1 == static_cast<uint64_t>(count);
      transition.next_state = ended ? 0 : next;
      transition.kind = ended ? StepKind::kTerminated : cut ? StepKind::kTruncated : StepKind::kRunning;
      if (watch.uniform) transition.behavior_log_probability = std::log(acts[row]);
      if (watch.sampled) transition.leader_reward = cost[row] + rng.Normal();
      transition.parameters_version = watch.parameters_version;
      learner.Learn(0, transition);
      state = transition.kind == StepKind::kRunning ? next : -1;
      if (state < 0) ++episode;
    }
  }

  GradientEstimate Estimate(const SessionLearner& learner, const EstimatorOptions& options) {
    auto estimate = EstimateGradient(learner.problem(), learner.Data(true), learner.parameters(), options, {});
    EXPECT_TRUE(estimate.ok()) << estimate.status();
    return estimate.ok() ? *std::move(estimate) : GradientEstimate();
  }

  // Within its error bars, as far as it says that it is off. Errors of estimated critics come on top of the bars.
  void ExpectRight(const GradientEstimate& estimate, double critics) {
    const Vector error = estimate.gradient - estimate.bias - exact_.point().gradient;
    for (Eigen::Index j = 0; j < error.size(); ++j) {
      EXPECT_LE(std::abs(error[j]), 4.5 * estimate.standard_error[j] + critics) << j;
    }
    EXPECT_LE(std::abs(estimate.objective - estimate.objective_bias - exact_.point().objective),
              4.5 * estimate.objective_standard_error + critics);
  }

  double Scale() const { return exact_.point().gradient.norm(); }

  WatchedFollower exact_;
};

TEST_F(SessionEstimate, EveryEstimatorAgreesWithTheWorldWithinItsErrorBars) {
  SessionLearner learner = Learner({.route = Route::kCount});
  Feed(learner, kTransitions, 1, {.uniform = true});  // so that the model is known everywhere
  Feed(learner, kTransitions, 2, {});
  for (const Kind kind :
       {Kind::kPlugIn, Kind::kZerothOrder, Kind::kReturn, Kind::kRewardToGo, Kind::kCritic, Kind::kOneStep}) {
    for (const Baseline baseline : {Baseline::kDefault, Baseline::kNone, Baseline::kModel}) {
      SCOPED_TRACE(static_cast<int>(kind) * 10 + static_cast<int>(baseline));
      const GradientEstimate estimate = Estimate(learner, {.kind = kind, .baseline = baseline, .draws = 100});
      ExpectRight(estimate, 0.02 * Scale());
      EXPECT_EQ(estimate.parameters_version, 1);
      EXPECT_EQ(estimate.left_out, 0);
      EXPECT_EQ(estimate.kind, kind);
      EXPECT_EQ(std::any_of(estimate.assumptions.begin(), estimate.assumptions.end(),
                            [](const std::string& one) { return one.find("plug-in gradient") != one.npos; }),
                kind == Kind::kCritic && baseline == Baseline::kModel);
      if (!UsesTrajectories(kind)) break;
      EXPECT_GT(estimate.trajectories, 1000);
      EXPECT_LT((estimate.exploitation + estimate.exploration - estimate.gradient).norm(), 1e-12 * Scale());
    }
  }
}

TEST_F(SessionEstimate, SaysWhatCuttingToOneStepCosts) {
  SessionLearner learner = Learner({.route = Route::kCount});
  Feed(learner, kTransitions, 3, {});
  const GradientEstimate cut = Estimate(learner, {.kind = Kind::kOneStep});
  EXPECT_GT((cut.gradient - exact_.point().gradient).norm(), 0.1 * Scale());
  EXPECT_GT(cut.bias.norm(), 0.1 * Scale());
  EXPECT_THAT(cut.assumptions, Contains(HasSubstr("BIASED")));
}

TEST_F(SessionEstimate, CutEpisodesAreToldAsBias) {
  SessionLearner learner = Learner({.route = Route::kCount});
  Feed(learner, kTransitions, 4, {.steps = 5});
  const GradientEstimate estimate = Estimate(learner, {.kind = Kind::kRewardToGo});
  EXPECT_GT(estimate.bias.norm(), 0.1 * Scale());
  ExpectRight(estimate, 0.03 * Scale());
}

TEST_F(SessionEstimate, SomebodyElsesTrajectoriesAreWeighed) {
  SessionLearner learner = Learner({.route = Route::kCount});
  Feed(learner, kTransitions, 5, {.uniform = true, .steps = 6});
  const GradientEstimate estimate = Estimate(learner, {.kind = Kind::kRewardToGo});
  EXPECT_LT(estimate.effective_sample_size, 0.8 * static_cast<double>(estimate.trajectories));
  ExpectRight(estimate, 0.03 * Scale());
  EXPECT_THAT(estimate.assumptions, Contains(HasSubstr("whoever acted")));
}

TEST_F(SessionEstimate, SampledRewardsOfTheLeaderServeWithoutItsTable) {
  SessionLearner learner = Learner({.route = Route::kCount});
  Feed(learner, kTransitions, 6, {.sampled = true});
  const GradientEstimate estimate = Estimate(learner, {.kind = Kind::kCritic});
  ExpectRight(estimate, 0.1 * Scale());
  EXPECT_THAT(estimate.assumptions, Contains(HasSubstr("mean rewards that were sampled")));
}

TEST_F(SessionEstimate, LearnedCriticsServeAndTellTheirBias) {
  SessionLearner learner = Learner({.route = Route::kSoftQ, .learn_gradient = true});
  Feed(learner, kTransitions, 7, {});
  const GradientEstimate estimate = Estimate(learner, {.kind = Kind::kRewardToGo, .critic = Critic::kLearned});
  EXPECT_GT(estimate.bias.norm(), 0);
  ExpectRight(estimate, 0.1 * Scale());
}

TEST_F(SessionEstimate, ALivePopulationsPolicyIsSeenAndNotSolvedFor) {
  SessionLearner learner = Learner({.route = Route::kObserved});
  Feed(learner, kTransitions, 8, {});
  const auto policy = learner.Update({});
  ASSERT_TRUE(policy.ok() && policy->has_value());
  const ContextPolicy& seen = (*policy)->contexts[0];
  const Vector value = exact_.point().contexts[0].solution.value;
  EXPECT_LT((seen.value - value).lpNorm<Eigen::Infinity>(), 0.05 * value.lpNorm<Eigen::Infinity>());
  EXPECT_LT(seen.residual, 0.1);
  const GradientEstimate estimate = Estimate(learner, {.kind = Kind::kRewardToGo});
  ExpectRight(estimate, 0.05 * Scale());
  EXPECT_EQ(estimate.effective_sample_size, static_cast<double>(estimate.trajectories));
  EXPECT_THAT(estimate.assumptions, Contains(HasSubstr("moves with x as a soft-optimal one")));
}

TEST_F(SessionEstimate, TrajectoriesOfAnOlderXAreLeftOut) {
  SessionLearner learner = Learner({.route = Route::kObserved});
  Feed(learner, 2000, 9, {});
  const GradientEstimate before = Estimate(learner, {.kind = Kind::kReturn});
  EXPECT_EQ(before.left_out, 0);
  const Vector x = exact_.x() + Vector::Constant(5, 0.5);
  learner.SetParameters(x);
  EXPECT_EQ(learner.parameters_version(), 2);
  const auto none = EstimateGradient(learner.problem(), learner.Data(true), x, {.kind = Kind::kReturn}, {});
  EXPECT_EQ(none.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("0 trajectories that can be used"));
  // Nothing is seen of the follower there yet: uniform.
  const auto policy = learner.Update({});
  const TabularMdp& mdp = exact_.mdp();
  Vector available(mdp.num_rows());
  for (Eigen::Index row = 0; row < available.size(); ++row) available[row] = mdp.available(row) ? 1 : 0;
  const Vector uniform = available.cwiseQuotient(RepeatForActions(mdp, SumOverActions(mdp, available)));
  EXPECT_LT(((*policy)->contexts[0].pi - uniform).lpNorm<Eigen::Infinity>(), 1e-15);
  Feed(learner, 1000, 10, {.parameters_version = 1});
  Feed(learner, 1000, 11, {});
  const GradientEstimate after = Estimate(learner, {.kind = Kind::kReturn});
  EXPECT_GT(after.left_out, before.trajectories);
  EXPECT_EQ(after.parameters_version, 2);
}

TEST_F(SessionEstimate, SaysWhatItLacks) {
  SessionLearner learner = Learner({.route = Route::kCount});
  Feed(learner, 500, 12, {});
  const auto message = [&](const EstimatorOptions& options, const Vector& x) {
    return std::string(EstimateGradient(learner.problem(), learner.Data(true), x, options, {}).status().message());
  };
  EXPECT_THAT(message({.kind = Kind::kReturn}, exact_.x() * 2), HasSubstr("parameters are not the session's"));
  EXPECT_THAT(message({.kind = Kind::kReturn, .critic = Critic::kLearned}, exact_.x()),
              HasSubstr("CRITIC_LEARNED needs a session with soft_q.learn_gradient"));
  EXPECT_THAT(message({.draws = 1}, exact_.x()), HasSubstr("redraws: is 1; must be 0 or in [2, 10000]"));
  EXPECT_THAT(message({.kind = Kind::kZerothOrder, .draws = 0}, exact_.x()), HasSubstr("redraws: is 0; must be in"));
  EXPECT_THAT(message({.radius = -1}, exact_.x()), HasSubstr("radius: is -1"));
}

// Weights of contexts and terms, penalties and the sense enter as in the exact hyper-gradient.
TEST(SessionEstimateOfContexts, AddUpAsTheProblemSays) {
  ProblemNumbers numbers = DrawReturn(51, 0.7);
  numbers.contexts.push_back(DrawReturn(52, 0.6).contexts[0]);
  numbers.contexts[0].weight = 0.3;
  numbers.contexts[1].weight = 2;
  numbers.contexts[0].return_weight = -1.5;
  numbers.sense = Sense::kMinimize;
  numbers.penalties = {.squared_l2 = 0.8, .l1 = 0.3};
  const BilevelProblem problem = Build(numbers);
  Rng rng(53);
  const Vector x = DrawNormal(rng, 5);
  const HypergradientPoint exact = *HypergradientEvaluator(problem, {}).Evaluate(x, {});
  auto learner = *SessionLearner::Create(
      problem, true, x, {.route = Route::kCount, .update_interval = 1'000'000'000, .trajectory_capacity = 1'000'000});
  uint64_t episode = 0;
  for (int32_t c = 0; c < 2; ++c) {
    const Context& context = problem.contexts[static_cast<size_t>(c)];
    const Simulator simulator(*context.mdp);
    const Vector& pi = exact.contexts[static_cast<size_t>(c)].solution.backup.pi;
    const int A = context.mdp->num_actions();
    for (int i = 0; i < kTransitions / 40; ++i, ++episode) {
      const Trajectory walk =
          Roll(simulator, pi, A, simulator.DrawStart(rng), {Horizon::Kind::kSteps, 40}, context.discount, rng);
      for (size_t t = 0; t < walk.rows.size(); ++t) {
        const bool last = t + 1 == walk.rows.size();
        const int next = last ? std::max(0, walk.final_state) : static_cast<int>(walk.rows[t + 1] / A);
        learner.Learn(0, {.episode = episode,
                          .state = static_cast<int32_t>(walk.rows[t] / A),
                          .action = static_cast<int32_t>(walk.rows[t] % A),
                          .next_state = next,
                          .context = c,
                          .kind = !last             ? StepKind::kRunning
                                  : walk.terminated ? StepKind::kTerminated
                                                    : StepKind::kTruncated,
                          .begins = t == 0});
      }
    }
  }
  for (const Kind kind : {Kind::kReturn, Kind::kRewardToGo, Kind::kCritic}) {
    const auto found = EstimateGradient(problem, learner.Data(true), x, {.kind = kind}, {});
    ASSERT_TRUE(found.ok()) << found.status();
    const Vector error = found->gradient - found->bias - exact.gradient;
    for (Eigen::Index j = 0; j < 5; ++j) {
      EXPECT_LE(std::abs(error[j]), 4.5 * found->standard_error[j] + 0.02 * exact.gradient.norm()) << j;
    }
    EXPECT_LE(std::abs(found->objective - found->objective_bias - exact.objective),
              4.5 * found->objective_standard_error + 0.02 * std::abs(exact.objective));
    EXPECT_LT(found->standard_error.norm(), 0.3 * exact.gradient.norm());
    // Exploitation, exploration and the quadratic penalty are all there is.
    EXPECT_LT((found->gradient - found->exploitation - found->exploration - 0.8 * x).norm(), 1e-12);
  }
}

// Estimates come with policies, and an estimate that cannot be made yet does not hold them up.
TEST_F(SessionEstimate, ComesWithPolicies) {
  for (const size_t capacity : {size_t{10'000}, size_t{0}}) {
    SessionLearnerOptions options{.update_interval = 1000, .trajectory_capacity = capacity};
    options.estimate = EstimatorOptions{.kind = Kind::kReturn};
    auto learner = *SessionLearner::Create(exact_.problem(), true, exact_.x(), options);
    Feed(learner, 1000, 13, {});
    const auto policy = learner.Update({});
    ASSERT_TRUE(policy.ok() && policy->has_value());
    ASSERT_EQ((*policy)->estimate.has_value(), capacity > 0);
    if (capacity > 0) {
      EXPECT_EQ((*policy)->estimate->gradient, Estimate(learner, *options.estimate).gradient);
    }
  }
}

}  // namespace
}  // namespace bilevel::testing
