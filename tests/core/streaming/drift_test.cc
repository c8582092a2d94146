// Drift under way: how often it is told without one, how soon with one, and what a session is worth after it.

#include "core/streaming/drift.h"

#include <cmath>

#include "core/streaming/session_learner.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/drifting_stream.h"
#include "tests/support/random_problem.h"
#include "tests/support/sanitized.h"

namespace bilevel::testing {
namespace {

using ::testing::HasSubstr;
using Route = SessionLearnerOptions::Route;

// S = 8, A = 3, episodes that end; a slip makes another world, a temperature another follower.
struct World {
  explicit World(double slip = 0, double temperature = 0.5) : World(Numbers(slip, temperature)) {}
  const TabularMdp& mdp() const { return *problem.contexts[0].mdp; }

  BilevelProblem problem;
  Vector x, pi;

 private:
  static ProblemNumbers Numbers(double slip, double temperature) {
    ProblemNumbers numbers = DrawMatching(1);
    Rng rng(2);
    numbers.contexts[0].mdp = WithSlip(DrawMdp(rng, 8, 3, false, true), slip);
    numbers.contexts[0].mdp.initial_distribution.resize(0);  // uniform: no state is never seen
    numbers.contexts[0].temperature = temperature;
    return numbers;
  }
  explicit World(const ProblemNumbers& numbers) : problem(Build(numbers)) {
    Rng rng(3);
    x = DrawNormal(rng, numbers.num_parameters, 0.5);
    pi = HypergradientEvaluator(problem, {}).Evaluate(x, {})->contexts[0].solution.backup.pi;
  }
};

const Vector kUniform = Vector::Constant(24, 1.0 / 3);

// Of sessions of which none should give a false alarm, all seeds together.
constexpr double kStrict = 1e-4;

SessionLearner Begin(const World& world, SessionLearnerOptions options, const DriftOptions& drift) {
  options.drift = drift;
  return *SessionLearner::Create(world.problem, true, world.x, options);
}

void Feed(SessionLearner& learner, DriftingStream& stream, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    learner.Learn(0, stream.Next());
    if (learner.due()) {
      ASSERT_TRUE(learner.Update({}).ok());
    }
  }
}

Vector PolicyOf(SessionLearner& learner) { return (*learner.Update({}))->contexts[0].pi; }

// P(X >= count), X binomial.
double BinomialTail(int n, double p, int count) {
  double tail = 0;
  for (int k = count; k <= n; ++k) {
    tail += std::exp(std::lgamma(n + 1.0) - std::lgamma(k + 1.0) - std::lgamma(n - k + 1.0) + k * std::log(p) +
                     (n - k) * std::log1p(-p));
  }
  return tail;
}

TEST(Drift, SpendsItsSignificanceOnce) {
  double spent = 0;
  for (uint64_t k = 1; k <= 100'000; ++k) spent += SpentInWindow(0.05, k);
  EXPECT_LT(spent, 0.05);
  EXPECT_NEAR(spent, 0.05, 1e-6);
}

// Transitions and actions of an OBSERVED follower, 15 windows of about 12 visits to a state-action.
TEST(Drift, AnUndisturbedSessionGivesAlarmAsSeldomAsStated) {
  constexpr int kSessions = kSanitized ? 30 : 300;
  constexpr double kSignificance = 0.2;
  const World world(0.1);
  int alarms = 0;
  for (int session = 0; session < kSessions; ++session) {
    SessionLearner learner = Begin(world, {.route = Route::kObserved, .update_interval = 1'000'000},
                                   {.window = 300, .significance = kSignificance});
    DriftingStream stream(world.mdp(), world.pi, 100 + static_cast<uint64_t>(session));
    Feed(learner, stream, 4500);
    alarms += learner.drifts().total > 0 ? 1 : 0;
  }
  EXPECT_GE(BinomialTail(kSessions, kSignificance, alarms), 1e-3) << alarms;
  if (!kSanitized) {
    EXPECT_GT(alarms, 0);  // or the test is deaf
  }
}

// On-policy learning moves the mixture of actions; next states given (s,a) do not.
TEST(Drift, AnotherMixtureOfActionsIsNoDriftOfTheWorld) {
  const World world(0.1), cold(0.1, 0.1);
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SessionLearner learner = Begin(world, {.update_interval = 1'000'000}, {.window = 500, .significance = kStrict});
    DriftingStream stream(world.mdp(), kUniform, seed);
    Feed(learner, stream, 5000);
    stream.SetPolicy(cold.pi);
    Feed(learner, stream, 5000);
    EXPECT_EQ(learner.drifts().total, 0) << seed;
  }
}

TEST(Drift, AnotherWorldIsNoticedWithinTwoWindows) {
  const World before(0.05), after(0.35);
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SessionLearner learner = Begin(before, {.update_interval = 1'000'000}, {.window = 1000, .significance = kStrict});
    DriftingStream stream(before.mdp(), kUniform, seed);
    Feed(learner, stream, 10'500);
    EXPECT_EQ(learner.drifts().total, 0) << seed;
    stream.SetWorld(after.mdp());
    Feed(learner, stream, 1500);
    ASSERT_GE(learner.drifts().total, 1) << seed;
    const Drift& drift = learner.drifts().last.front();
    EXPECT_EQ(drift.what, Drift::What::kTransitions);
    EXPECT_EQ(drift.context, 0);
    EXPECT_TRUE(drift.merged == 11'000 || drift.merged == 12'000);
    EXPECT_LE(drift.p_value, drift.level);
    EXPECT_LT(drift.level, kStrict / 81);
    // What is compared with is new from then on.
    Feed(learner, stream, 10'000);
    EXPECT_LE(learner.drifts().total, 2) << seed;
  }
}

TEST(Drift, AnotherTemperatureIsNoticedWithinTwoWindows) {
  const World before(0.1, 0.5), after(0.1, 0.25);
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SessionLearner learner = Begin(before, {.route = Route::kObserved, .update_interval = 1'000'000},
                                   {.window = 1000, .significance = kStrict});
    DriftingStream stream(before.mdp(), before.pi, seed);
    Feed(learner, stream, 10'500);
    EXPECT_EQ(learner.drifts().total, 0) << seed;
    stream.SetPolicy(after.pi);
    Feed(learner, stream, 1500);
    ASSERT_GE(learner.drifts().total, 1) << seed;
    EXPECT_EQ(learner.drifts().last.front().what, Drift::What::kPolicy);
    Feed(learner, stream, 10'000);
    EXPECT_LE(learner.drifts().total, 2) << seed;
  }
}

// The leader moves x, the population answers: that is what it is watched for.
TEST(Drift, AFollowerThatAnswersAnotherXDoesNotDrift) {
  const World world(0.1);
  const Vector x = -world.x;
  const Vector answer = HypergradientEvaluator(world.problem, {}).Evaluate(x, {})->contexts[0].solution.backup.pi;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    SessionLearner learner = Begin(world, {.route = Route::kObserved, .update_interval = 1'000'000},
                                   {.window = 1000, .significance = kStrict});
    DriftingStream stream(world.mdp(), world.pi, seed);
    Feed(learner, stream, 5500);
    learner.SetParameters(x);
    stream.SetPolicy(answer);
    Feed(learner, stream, 6500);
    EXPECT_EQ(learner.drifts().total, 0) << seed;
    stream.SetPolicy(world.pi);  // but now it does
    Feed(learner, stream, 2000);
    EXPECT_GE(learner.drifts().total, 1) << seed;
  }
}

// Values equal in all states: residuals see nothing, counts do.
TEST(Drift, CountsSeeWhatResidualsCannot) {
  ProblemNumbers numbers = DrawMatching(1);
  Rng rng(2);
  numbers.contexts[0].mdp = WithSlip(DrawMdp(rng, 8, 3, false, false), 0);
  numbers.contexts[0].reward.features.setZero();
  const BilevelProblem problem = Build(numbers);
  const TabularMdp after = *TabularMdp::Create(WithSlip(numbers.contexts[0].mdp, 0.5));
  auto learner = *SessionLearner::Create(problem, true, Vector::Zero(6),
                                         {.update_interval = 1000, .drift = DriftOptions{.window = 1000}});
  DriftingStream stream(*problem.contexts[0].mdp, kUniform, 1);
  Feed(learner, stream, 5000);
  stream.SetWorld(after);
  Feed(learner, stream, 1000);
  ASSERT_EQ(learner.drifts().total, 1);
  EXPECT_LT(std::abs(learner.drifts().last[0].residual), 4);
}

TEST(Drift, ResidualsSayWhichWayValuesMoved) {
  const World before(0), after(1);
  SessionLearner learner = Begin(before, {.update_interval = 1000}, {.window = 1000});
  // A follower that seeks what is good for it slips into what is worse.
  DriftingStream stream(before.mdp(), before.pi, 1);
  Feed(learner, stream, 10'000);
  stream.SetWorld(after.mdp());
  Feed(learner, stream, 1000);
  ASSERT_GE(learner.drifts().total, 1);
  EXPECT_LT(learner.drifts().last[0].residual, -4);
}

struct Recovered {
  double forgot, kept, newer_alone;  // largest error of the policy
};

// 20,000 transitions before and 20,000 after; the change comes within a window.
Recovered Recover(const World& before, const World& after, Route route, const Vector& acts_before,
                  const Vector& acts_after, const Vector& exact) {
  const auto run = [&](bool keep) {
    SessionLearner learner = Begin(before, {.route = route, .update_interval = 1'000'000, .observed_strength = 0},
                                   {.window = 1000, .keep = keep});
    DriftingStream stream(before.mdp(), acts_before, 7);
    Feed(learner, stream, 20'400);
    stream.SetWorld(after.mdp());
    stream.SetPolicy(acts_after);
    Feed(learner, stream, 19'600);
    EXPECT_GE(learner.drifts().total, 1);
    EXPECT_EQ(learner.merged(), 40'000);
    return (PolicyOf(learner) - exact).lpNorm<Eigen::Infinity>();
  };
  SessionLearner fresh = *SessionLearner::Create(
      before.problem, true, before.x, {.route = route, .update_interval = 1'000'000, .observed_strength = 0});
  DriftingStream stream(after.mdp(), acts_after, 8);
  Feed(fresh, stream, 19'000);
  return {run(false), run(true), (PolicyOf(fresh) - exact).lpNorm<Eigen::Infinity>()};
}

// What is still there of the window that the change fell into is less than 2 % of the newer data.
TEST(Drift, ThePlugInPolicyRecoversFromAnotherWorld) {
  const World before(0), after(0.8);
  const Recovered error = Recover(before, after, Route::kPlugIn, kUniform, kUniform, after.pi);
  EXPECT_LT(error.forgot, 3 * error.newer_alone);
  EXPECT_GT(error.kept, 5 * error.newer_alone);
}

TEST(Drift, TheObservedPolicyRecoversFromAnotherTemperature) {
  const World before(0.1, 0.5), after(0.1, 0.15);
  const Recovered error = Recover(before, after, Route::kObserved, before.pi, after.pi, after.pi);
  EXPECT_LT(error.forgot, 3 * error.newer_alone);
  EXPECT_GT(error.kept, 5 * error.newer_alone);
}

TEST(Drift, SoftQRecoversFromAnotherWorld) {
  const World before(0), after(0.8);
  const auto error = [&](bool keep) {
    SessionLearner learner =
        Begin(before, {.route = Route::kSoftQ, .update_interval = 1'000'000, .soft_q = {.q = {.power = 1}}},
              {.window = 1000, .keep = keep});
    DriftingStream stream(before.mdp(), kUniform, 9);
    Feed(learner, stream, 20'000);
    stream.SetWorld(after.mdp());
    Feed(learner, stream, 20'000);
    return (PolicyOf(learner) - after.pi).lpNorm<Eigen::Infinity>();
  };
  EXPECT_LT(2 * error(false), error(true));
}

// Of a policy's drift alone the world is still known.
TEST(Drift, ForgetsWhatDriftedAndNothingElse) {
  const World before(0.1, 0.5), after(0.1, 0.15);
  SessionLearner learner =
      Begin(before, {.route = Route::kObserved, .update_interval = 1'000'000, .trajectory_capacity = 100'000},
            {.window = 1000});
  DriftingStream stream(before.mdp(), before.pi, 3);
  Feed(learner, stream, 5000);
  stream.SetPolicy(after.pi);
  while (learner.merged() < 6000) learner.Learn(0, stream.Next());
  ASSERT_EQ(learner.drifts().total, 1);
  EXPECT_TRUE(learner.due());  // a policy from what is left
  EXPECT_EQ(learner.Data(false).merged, 6000);
  EXPECT_LT(learner.trajectories().steps(), 1001);
  EXPECT_GT(learner.trajectories().steps(), 900);
  const World other(0.9);
  stream.SetWorld(other.mdp());
  Feed(learner, stream, 1000);
  ASSERT_GE(learner.drifts().total, 2);
  EXPECT_EQ(learner.drifts().last[1].what, Drift::What::kTransitions);
  EXPECT_EQ(learner.Data(false).merged, 1000);
  uint64_t counted = 0;
  const SessionData data = learner.Data(false);
  for (const TransitionCounts::Entry& entry : data.contexts[0].entries) {
    if (entry.row < 24) counted += entry.count;
  }
  EXPECT_EQ(counted, 1000);
}

TEST(Drift, OneContextDriftsAlone) {
  const World world(0.05), other(0.9);
  BilevelProblem problem = world.problem;
  problem.contexts.push_back(problem.contexts[0]);
  auto learner = *SessionLearner::Create(
      problem, true, world.x,
      {.update_interval = 1'000'000, .trajectory_capacity = 100'000, .drift = DriftOptions{.window = 2000}});
  DriftingStream first(world.mdp(), kUniform, 4), second(world.mdp(), kUniform, 5);
  const auto feed = [&](int pairs) {
    for (int i = 0; i < pairs; ++i) {
      learner.Learn(0, first.Next());
      Transition step = second.Next();
      step.context = 1;
      learner.Learn(1, step);
    }
  };
  feed(5000);
  second.SetWorld(other.mdp());
  feed(1000);
  ASSERT_EQ(learner.drifts().total, 1);
  EXPECT_EQ(learner.drifts().last[0].context, 1);
  EXPECT_EQ(learner.drifts().last[0].merged, 12'000);
  EXPECT_EQ(learner.Data(false).merged, 7000);
  size_t steps = 0;
  for (const RecordedTrajectory& trajectory : learner.trajectories().held()) {
    steps += trajectory.context == 0 ? trajectory.steps.size() : 0;
    EXPECT_EQ(learner.trajectories().Find(trajectory.writer, trajectory.episode), &trajectory);
  }
  EXPECT_EQ(steps, 6000);
}

// Beyond what may be told apart, successors are one kind on both sides.
TEST(Drift, WithoutRoomForAllItStillTells) {
  const World before(0.05), after(0.9);
  int early = 0;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    SessionLearner learner =
        Begin(before, {.update_interval = 1'000'000, .max_distinct = 60}, {.window = 1000, .significance = kStrict});
    DriftingStream stream(before.mdp(), kUniform, seed);
    Feed(learner, stream, 10'000);
    early += learner.drifts().total > 0 ? 1 : 0;
    stream.SetWorld(after.mdp());
    Feed(learner, stream, 2000);
    EXPECT_GE(learner.drifts().total, 1);
  }
  EXPECT_EQ(early, 0);
}

TEST(Drift, TheSameOrderGivesTheSameBitsAndTheLogIsBounded) {
  const World one(0), other(0.9);
  const auto run = [&] {
    SessionLearner learner = Begin(one, {.route = Route::kSoftQ, .update_interval = 700}, {.window = 500});
    DriftingStream stream(one.mdp(), kUniform, 6);
    for (int change = 0; change < 20; ++change) {
      Feed(learner, stream, 1000);
      stream.SetWorld((change % 2 == 0 ? other : one).mdp());
    }
    return **learner.Update({});
  };
  const PolicySnapshot once = run(), again = run();
  EXPECT_EQ(once.contexts[0].pi, again.contexts[0].pi);
  EXPECT_EQ(once.drifts.total, again.drifts.total);
  EXPECT_GT(once.drifts.total, DriftLog::kHeld);
  ASSERT_EQ(once.drifts.last.size(), DriftLog::kHeld);
  for (size_t i = 1; i < DriftLog::kHeld; ++i) {
    EXPECT_LT(once.drifts.last[i - 1].merged, once.drifts.last[i].merged);
    EXPECT_EQ(once.drifts.last[i].p_value, again.drifts.last[i].p_value);
  }
}

TEST(Drift, RefusesBadOptionsByName) {
  const auto message = [](const DriftOptions& drift) { return std::string(drift.Validate().message()); };
  EXPECT_THAT(message({.window = 99}), HasSubstr("window: is 99; must be in [100, 10000000]"));
  EXPECT_THAT(message({.significance = 0}), HasSubstr("significance: is 0; must be in (0, 0.5]"));
  EXPECT_THAT(message({.significance = std::nan("")}), HasSubstr("significance: is nan"));
  EXPECT_TRUE((DriftOptions{}).Validate().ok());
}

TEST(Drift, ItsMemoryIsCounted) {
  const World world;
  const SessionLearnerOptions without;
  SessionLearnerOptions with = without;
  with.drift = {.window = 1'000'000};
  EXPECT_GT(SessionLearner::MaxBytes(world.problem, with), SessionLearner::MaxBytes(world.problem, without) + 32e6);
}

}  // namespace
}  // namespace bilevel::testing
