// The outer loop in a session, fed by a follower that acts as the session says: where it ends, by the exact gradient.

#include "core/streaming/session_descent.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <vector>

#include "core/hypergradient/hypergradient.h"
#include "core/streaming/session_learner.h"
#include "core/streaming/simulator.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/streaming/draw_return.h"
#include "tests/support/drifting_stream.h"
#include "tests/support/sanitized.h"

namespace bilevel::testing {
namespace {

using ::testing::HasSubstr;
using Kind = EstimatorOptions::Kind;
using Route = SessionLearnerOptions::Route;

// The leader's return less 1/2 |x|^2, which has its maximum somewhere.
BilevelProblem DrawLeader() {
  BilevelProblem problem = Build(DrawReturn(41, 0.8));
  problem.penalties.squared_l2 = 1;
  return problem;
}

Vector Uniform(const TabularMdp& mdp) {
  Vector pi = Vector::Zero(mdp.num_rows());
  for (Eigen::Index row = 0; row < mdp.num_rows(); ++row) pi[row] = mdp.available(row) ? 1 : 0;
  return pi.cwiseQuotient(RepeatForActions(mdp, SumOverActions(mdp, pi)));
}

// Who went to state s goes to the s-th from behind.
TabularMdp Mirrored(TabularMdpSpec mdp) {
  for (uint32_t& column : mdp.columns) column = static_cast<uint32_t>(mdp.num_states) - 1 - column;
  for (size_t row = 0; row + 1 < mdp.offsets.size(); ++row) {
    const auto begin = static_cast<std::ptrdiff_t>(mdp.offsets[row]),
               end = static_cast<std::ptrdiff_t>(mdp.offsets[row + 1]);
    std::reverse(mdp.columns.begin() + begin, mdp.columns.begin() + end);
    std::reverse(mdp.probabilities.begin() + begin, mdp.probabilities.begin() + end);
  }
  return *TabularMdp::Create(std::move(mdp));
}

// Acts by the newest policy, at random before the first; `uniform`: at random always.
class World {
 public:
  explicit World(const BilevelProblem& problem, bool uniform = false)
      : mdp_(*problem.contexts[0].mdp), simulator_(mdp_), uniform_(uniform), rng_(7) {
    Act(nullptr);
  }

  // Streams `count` transitions and remembers policies.
  void Feed(SessionLearner& learner, int count) {
    for (int i = 0; i < count; ++i) {
      Transition step{.episode = episode_, .begins = state_ < 0};
      if (state_ < 0) {
        state_ = simulator_.DrawStart(rng_);
        length_ = 0;
      }
      step.state = state_;
      step.action = simulator_.DrawAction(pi_, state_, rng_);
      const int64_t row = int64_t{state_} * mdp_.num_actions() + step.action;
      const int next = simulator_.DrawNext(row, rng_);
      const bool ended = next == Simulator::kEnded;
      step.next_state = ended ? 0 : next;
      step.kind = ended ? StepKind::kTerminated : ++length_ == 40 ? StepKind::kTruncated : StepKind::kRunning;
      step.behavior_log_probability = std::log(pi_[row]);
      learner.Learn(0, step);
      state_ = step.kind == StepKind::kRunning ? next : -1;
      if (state_ < 0) ++episode_;
      if (!learner.due()) continue;
      auto made = learner.Update({});
      ASSERT_TRUE(made.ok()) << made.status();
      policies.push_back(**std::move(made));
      if (!uniform_) Act(&policies.back().contexts[0].pi);
    }
  }

  std::vector<PolicySnapshot> policies;

 private:
  void Act(const Vector* pi) {
    if (pi != nullptr) pi_ = *pi;
    if (pi_.size() != 0) return;
    pi_ = Uniform(mdp_);
  }

  const TabularMdp& mdp_;
  Simulator simulator_;
  bool uniform_;
  Rng rng_;
  Vector pi_;
  int state_ = -1, length_ = 0;
  uint64_t episode_ = 0;
};

SessionLearnerOptions Options(const SessionDescentOptions& descent, uint64_t interval) {
  return {.update_interval = interval, .trajectory_capacity = 100'000, .descent = descent};
}

class SessionDescent : public ::testing::Test {
 protected:
  SessionDescent() : problem_(DrawLeader()), start_(Vector::Zero(5)) {}

  SessionLearner Create(const SessionLearnerOptions& options) {
    return *SessionLearner::Create(problem_, true, start_, options);
  }
  double ExactNorm(const Vector& x) {
    const auto point = HypergradientEvaluator(problem_, {}).Evaluate(x, {});
    return problem_.ProjectedGradientNorm(x, point->gradient);
  }
  double ExactObjective(const Vector& x) { return HypergradientEvaluator(problem_, {}).Evaluate(x, {})->objective; }
  absl::Status Refused(SessionLearnerOptions options) {
    return SessionLearner::Create(problem_, true, start_, options).status();
  }

  BilevelProblem problem_;
  Vector start_;
};

TEST_F(SessionDescent, ReachesAStationaryPointOfTheWorldByThePlugInGradient) {
  SessionLearner learner = Create(Options({.descent = {.gradient_tolerance = 0.05}, .estimator = {.draws = 16}}, 2000));
  World world(problem_, true);
  while (!learner.descent()->stopped() && world.policies.size() < 200) world.Feed(learner, 2000);
  EXPECT_EQ(learner.descent()->descent().termination()->reason, StopReason::kConverged);
  // The interval covers: 95 % of the norm's, here with room.
  EXPECT_LE(ExactNorm(learner.parameters()), 0.05);
  EXPECT_GT(ExactNorm(start_), 1);
  const DescentStep& best = *learner.descent()->descent().best();
  EXPECT_NEAR(best.objective, ExactObjective(best.x), 4 * best.objective_standard_error);
  // The policy that is told belongs to the x that is told.
  for (const PolicySnapshot& policy : world.policies) {
    ASSERT_NE(policy.step, nullptr);
    EXPECT_EQ(policy.parameters == policy.step->descent.x,
              policy.step->descent.number == learner.descent()->descent().steps());
    EXPECT_EQ(policy.parameters_version, policy.parameters == policy.step->descent.x
                                             ? policy.step->parameters_version
                                             : policy.step->parameters_version + 1);
  }
}

TEST_F(SessionDescent, ReachesItFromFreshTrajectoriesToo) {
  for (const Kind kind : {Kind::kReturn, Kind::kRewardToGo, Kind::kCritic}) {
    SessionLearner learner = Create(Options({.estimator = {.kind = kind}}, kSanitized ? 500 : 2000));
    World world(problem_);
    for (int k = 0; k < 60; ++k) world.Feed(learner, kSanitized ? 500 : 2000);
    EXPECT_GE(learner.descent()->descent().steps(), 59);
    EXPECT_LE(ExactNorm(learner.parameters()), kSanitized ? 1 : 0.4) << static_cast<int>(kind);
    // Each sees the trajectories that ended since x moved, whole ones that began before included.
    const PolicySnapshot& last = world.policies.back();
    EXPECT_GT(last.step->estimate.transitions, kSanitized ? 400u : 1900u);
    EXPECT_LT(last.step->estimate.transitions, kSanitized ? 600u : 2100u);
  }
}

TEST_F(SessionDescent, ReachesItWithMomentum) {
  const int steps = kSanitized ? 500 : 2000;
  for (const bool learned : {false, true}) {
    EstimatorOptions estimator{.kind = Kind::kRewardToGo};
    if (learned) estimator.critic = EstimatorOptions::Critic::kLearned;
    SessionLearnerOptions options = Options({.descent = {.momentum = true}, .estimator = estimator}, steps);
    if (learned) {
      options.route = Route::kSoftQ;
      options.learn_gradient = true;
      options.replay_draws = 8;
    }
    SessionLearner learner = Create(options);
    World world(problem_);
    for (int k = 0; k < 60; ++k) world.Feed(learner, steps);
    EXPECT_GE(learner.descent()->descent().steps(), 59);
    EXPECT_LE(ExactNorm(learner.parameters()), kSanitized ? 1 : 0.4) << learned;
  }
}

// h_k = g_k + (1 - eta_k) (h_{k-1} - g'_k), from what steps tell.
TEST_F(SessionDescent, MomentumIsRecursive) {
  SessionLearner learner = Create(
      Options({.descent = {.momentum = true, .first_step = 0.02}, .estimator = {.kind = Kind::kRewardToGo, .seed = 3}},
              20'000));
  World world(problem_);
  world.Feed(learner, 100'000);
  ASSERT_GE(world.policies.size(), 5u);
  Vector exact_before;
  for (size_t k = 0; k < world.policies.size(); ++k) {
    const OuterStep& step = *world.policies[k].step;
    const GradientEstimate& estimate = step.estimate;
    const Vector exact = HypergradientEvaluator(problem_, {}).Evaluate(step.descent.x, {})->gradient;
    // eta_1 = eta_2 = 1.
    ASSERT_EQ(estimate.pair.has_value(), k > 1);
    if (k < 2) {
      EXPECT_EQ(step.descent.averaging, 1);
      EXPECT_EQ(step.descent.direction, estimate.gradient);
    } else {
      const double kept = 1 - step.descent.averaging;
      const Vector& before = world.policies[k - 1].step->descent.direction;
      EXPECT_GT(kept, 0);
      const Vector expected = estimate.gradient + kept * (before - estimate.pair->gradient);
      EXPECT_LE((step.descent.direction - expected).norm(), 1e-12 * expected.norm());
      // The pair knows how far the gradient moved better than either end knows where it is.
      EXPECT_LT((estimate.gradient - estimate.pair->gradient - (exact - exact_before)).norm(),
                0.3 * estimate.standard_error.norm());
      EXPECT_GT(estimate.pair->effective_sample_size, 0.9 * estimate.effective_sample_size);
    }
    exact_before = exact;
  }
}

// Momentum pauses where the trajectories of x_k say nothing of x_{k-1}.
TEST_F(SessionDescent, MomentumKeepsNothingOfWhatIsTooFar) {
  SessionLearner learner = Create(Options({.descent = {.momentum = true,
                                                       .steps = StepSchedule{.first = 100, .power = 0},
                                                       .averaging = StepSchedule{.first = 0.3, .power = 0}},
                                           .estimator = {.kind = Kind::kRewardToGo}},
                                          1000));
  World world(problem_);
  world.Feed(learner, 5000);
  int far = 0;
  for (const PolicySnapshot& policy : world.policies) {
    if (policy.step == nullptr || !policy.step->estimate.pair.has_value()) continue;
    const bool overlaps = policy.step->estimate.pair->overlaps;
    EXPECT_EQ(policy.step->descent.averaging, overlaps ? 0.3 : 1);
    far += overlaps ? 0 : 1;
  }
  EXPECT_GT(far, 0);
}

// Interrupted at any moment: no step, and the next one is what it would have been.
TEST_F(SessionDescent, AnInterruptedStepIsNone) {
  for (const Kind kind : {Kind::kPlugIn, Kind::kZerothOrder, Kind::kRewardToGo}) {
    const auto make = [&] {
      SessionLearner learner = Create(Options({.estimator = {.kind = kind, .draws = 8}, .on_request = true}, 10'000));
      World(problem_, true).Feed(learner, 1000);
      return learner;
    };
    SessionLearner learner = make(), undisturbed = make();
    int interrupted = 0;
    for (int after = 0;; after += 1 + after / 2) {
      std::atomic<bool> cancelled = false;
      int looks = 0;
      Pulse pulse([&] { cancelled = ++looks > after; }, {});
      const Interrupt interrupt(&cancelled, std::nullopt);
      const auto step = learner.Step(interrupt.WithPulse(pulse));
      if (step.ok()) break;
      EXPECT_EQ(step.status().code(), absl::StatusCode::kCancelled);
      EXPECT_EQ(learner.parameters_version(), 1u);
      EXPECT_EQ(learner.descent()->taken(), 0u);
      ++interrupted;
    }
    EXPECT_GT(interrupted, 3) << static_cast<int>(kind);
    ASSERT_TRUE(undisturbed.Step({}).ok());
    EXPECT_EQ(learner.parameters(), undisturbed.parameters());
  }
}

// Far from x, where weights matter.
TEST_F(SessionDescent, PairsAreAboutThePointBefore) {
  SessionLearner learner = Create(Options({.estimator = {.draws = 0}, .on_request = true}, 10'000));
  World world(problem_);
  world.Feed(learner, 200'000);
  SessionData data = learner.Data(true);
  const Vector before = data.parameters + Vector::Constant(5, 0.15);
  data.pair = {before};
  data.previous_log_policies.resize(1);
  data.previous_scores.resize(1);
  const Vector exact = HypergradientEvaluator(problem_, {}).Evaluate(before, {})->gradient;
  for (const Kind kind : {Kind::kReturn, Kind::kRewardToGo, Kind::kCritic}) {
    const auto found = EstimateGradient(problem_, data, data.parameters, {.kind = kind}, {});
    ASSERT_TRUE(found.ok()) << found.status();
    // Without weights: 0.29, 0.08, 0.09.
    EXPECT_LE((found->pair->gradient - exact).norm(), kind == Kind::kReturn ? 0.13 : 0.06) << static_cast<int>(kind);
  }
}

// Samples of the leader's reward are taken at x; at the x before they would have been others.
TEST_F(SessionDescent, PairsKnowWhatTheLeaderWouldHaveGot) {
  SessionLearner learner = Create(Options({.estimator = {.draws = 0}, .on_request = true}, 1000));
  World world(problem_, true);
  world.Feed(learner, 3000);
  SessionData data = learner.Data(true);
  data.pair = {data.parameters + Vector::Constant(5, 0.2)};
  data.previous_log_policies.resize(1);
  data.previous_scores.resize(1);
  const Vector cost = std::get<LeaderReturn>(problem_.contexts[0].objective[0].measure)
                          .reward.Evaluate(data.parameters, problem_.map.Apply(data.parameters));
  for (const Kind kind : {Kind::kReturn, Kind::kRewardToGo, Kind::kCritic}) {
    const auto known = EstimateGradient(problem_, data, data.parameters, {.kind = kind}, {});
    ASSERT_TRUE(known.ok()) << known.status();
    SessionData sampled = data;
    for (RecordedTrajectory& trajectory : sampled.trajectories) {
      for (RecordedStep& step : trajectory.steps) step.leader_reward = cost[step.row];
    }
    const auto found = EstimateGradient(problem_, sampled, data.parameters, {.kind = kind}, {});
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_LE((found->gradient - known->gradient).norm(), 1e-10 * known->gradient.norm());
    EXPECT_LE((found->pair->gradient - known->pair->gradient).norm(), 1e-10 * known->pair->gradient.norm());
    EXPECT_GT((known->gradient - known->pair->gradient).norm(), 1e-3 * known->gradient.norm());
  }
}

TEST_F(SessionDescent, WaitsForTheFollower) {
  SessionLearnerOptions options = Options({.estimator = {.draws = 0}, .lower_level_tolerance = 0.05}, 1000);
  options.route = Route::kSoftQ;
  SessionLearner learner = Create(options);
  World world(problem_, true);
  world.Feed(learner, 1000);
  EXPECT_EQ(world.policies.back().step, nullptr);
  EXPECT_THAT(learner.descent()->waiting(), HasSubstr("above lower_level_tolerance 0.05"));
  EXPECT_EQ(learner.parameters_version(), 1u);
  while (world.policies.back().step == nullptr && world.policies.size() < 300) world.Feed(learner, 1000);
  ASSERT_NE(world.policies.back().step, nullptr);
  EXPECT_LE(world.policies.back().step->residual, 0.05);
  EXPECT_EQ(learner.descent()->waiting(), "");
  EXPECT_EQ(learner.parameters_version(), 2u);
}

TEST_F(SessionDescent, StepsOnRequestAlone) {
  SessionLearner learner = Create(Options({.estimator = {.draws = 0}, .on_request = true}, 1000));
  EXPECT_THAT(std::string(learner.Step({}).status().message()), HasSubstr("not learned from any transition"));
  EXPECT_THAT(learner.descent()->waiting(), HasSubstr("not learned from any transition"));
  World world(problem_, true);
  world.Feed(learner, 2000);
  EXPECT_EQ(learner.parameters_version(), 1u);
  const auto step = learner.Step({});
  ASSERT_TRUE(step.ok()) << step.status();
  EXPECT_EQ((*step)->descent.number, 1);
  EXPECT_EQ((*step)->merged, 2000u);
  const auto policy = learner.MakePolicy({});
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ((*policy)->version, 3u);
  EXPECT_EQ((*policy)->step, *step);
  EXPECT_EQ((*policy)->parameters, learner.descent()->x());
  EXPECT_NEAR(((*policy)->parameters - start_).norm(), 0.5, 1e-12);
}

TEST_F(SessionDescent, BeginsAnewWhereTheLeaderIsPutAndEndsAtItsLimit) {
  SessionLearner learner = Create(Options({.descent = {.max_steps = 3}, .estimator = {.draws = 0}}, 500));
  World world(problem_, true);
  world.Feed(learner, 5000);
  EXPECT_EQ(learner.descent()->descent().termination()->reason, StopReason::kIterationLimit);
  EXPECT_EQ(learner.parameters_version(), 3u);
  EXPECT_EQ(world.policies.back().step, nullptr);
  learner.SetParameters(Vector::Constant(5, 2));
  EXPECT_EQ(learner.descent()->x(), Vector::Constant(5, 2));
  world.Feed(learner, 500);
  EXPECT_EQ(world.policies.back().step->descent.x, Vector::Constant(5, 2));
  EXPECT_EQ(world.policies.back().step->descent.number, 1);
  EXPECT_EQ(world.policies.back().step->number, 4u);
  EXPECT_EQ(world.policies.back().parameters_version, 5u);
}

// The world changes where the loop has come to rest.
TEST_F(SessionDescent, BeginsAnewWhereDriftIsNoticed) {
  SessionLearnerOptions options = Options({.descent = {.max_steps = 4}, .estimator = {.draws = 0}}, 1500);
  options.drift = DriftOptions{.window = 2000};
  SessionLearner learner = Create(options);
  const TabularMdp& mdp = *problem_.contexts[0].mdp;
  DriftingStream stream(mdp, Uniform(mdp), 5);
  std::vector<PolicySnapshot> policies;
  const auto feed = [&](int count) {
    for (int i = 0; i < count; ++i) {
      // A policy never comes before it was announced: x may move with it.
      const uint64_t earliest = learner.next_update();
      learner.Learn(0, stream.Next());
      if (!learner.due()) continue;
      EXPECT_GE(learner.merged(), earliest);
      policies.push_back(**learner.Update({}));
    }
  };
  feed(12'000);
  ASSERT_TRUE(learner.descent()->stopped());
  EXPECT_EQ(learner.drifts().total, 0u);
  const Vector x = learner.parameters();
  const TabularMdp other = Mirrored(DrawReturn(41, 0.8).contexts[0].mdp);
  stream.SetWorld(other);
  while (learner.drifts().total == 0 && learner.merged() < 40'000) feed(1);
  ASSERT_EQ(learner.drifts().total, 1u);
  EXPECT_EQ(policies.back().merged, learner.merged());
  EXPECT_EQ(policies.back().step->merged, learner.merged());
  EXPECT_EQ(learner.eras(), std::vector<uint32_t>{1});
  EXPECT_EQ(policies.back().step->descent.number, 1);
  EXPECT_EQ(policies.back().step->descent.x, x);
  feed(1500);
  EXPECT_EQ(policies.back().step->descent.number, 2);
}

// The same transitions, seeds and options: the same path, bit for bit; another seed draws other error bars.
TEST_F(SessionDescent, IsRepeatable) {
  const auto run = [&](uint64_t seed) {
    SessionLearner learner = Create(Options({.estimator = {.draws = 4, .seed = seed}}, 500));
    World world(problem_, true);
    world.Feed(learner, 5000);
    return *learner.descent()->descent().last();
  };
  const DescentStep first = run(1), again = run(1), other = run(2);
  EXPECT_EQ(first.x, again.x);
  EXPECT_EQ(first.gradient_norm_error, again.gradient_norm_error);
  EXPECT_NE(first.gradient_norm_error, other.gradient_norm_error);
}

TEST_F(SessionDescent, SubtractsTheBiasWhereAsked) {
  const auto direction = [&](bool subtract) {
    SessionLearner learner = Create(Options({.estimator = {.draws = 8}, .subtract_bias = subtract}, 500));
    World world(problem_, true);
    world.Feed(learner, 500);
    const OuterStep& step = *world.policies.back().step;
    return std::pair(step.descent.direction, Vector(step.estimate.gradient - step.estimate.bias));
  };
  EXPECT_EQ(direction(true).first, direction(true).second);
  EXPECT_NE(direction(false).first, direction(true).first);
}

TEST_F(SessionDescent, RefusesWhatCannotWork) {
  const auto refused = [&](const SessionLearnerOptions& options, const char* text) {
    EXPECT_THAT(std::string(Refused(options).message()), HasSubstr(text));
  };
  SessionLearnerOptions count = Options({}, 1000);
  count.route = Route::kCount;
  refused(count, "outer_loop");
  refused(Options({.lower_level_tolerance = 0}, 1000), "outer_loop.lower_level_tolerance");
  refused(Options({.descent = {.first_step = -1}}, 1000), "outer_loop.first_step");
  refused(Options({.estimator = {.draws = 1}}, 1000), "outer_loop.estimator.redraws");
  refused(Options({.descent = {.momentum = true}}, 1000), "outer_loop.estimator: must be one from trajectories");
  const EstimatorOptions walks{.kind = Kind::kReturn, .critic = EstimatorOptions::Critic::kContinuations};
  refused(Options({.descent = {.momentum = true}, .estimator = walks}, 1000), "outer_loop.estimator.critic");
  refused(Options({.weight_cap = 0.5}, 1000), "outer_loop.weight_cap: is 0.5");
  refused(Options({.estimator = {.kind = Kind::kPreferenceFit}}, 1000), "needs on_request");
  SessionLearnerOptions observed = Options({.descent = {.momentum = true}, .estimator = {.kind = Kind::kReturn}}, 1000);
  observed.route = Route::kObserved;
  refused(observed, "seen at x alone");
  SessionLearnerOptions forgetful = Options({.estimator = {.kind = Kind::kReturn}}, 1000);
  forgetful.trajectory_capacity = 0;
  refused(forgetful, "outer_loop.estimator");
  problem_.contexts[0].objective.clear();
  refused(Options({}, 1000), "objective");
}

}  // namespace
}  // namespace bilevel::testing
