#include "core/streaming/session_learner.h"

#include <cmath>

#include "core/streaming/simulator.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/random_problem.h"

namespace bilevel::testing {
namespace {

using ::testing::HasSubstr;
using Route = SessionLearnerOptions::Route;

// Two followers in worlds of their own.
BilevelProblem DrawWorlds(uint64_t seed) {
  Rng rng(seed);
  RandomProblemOptions options{.min_states = 6,
                               .max_states = 8,
                               .max_contexts = 2,
                               .min_discount = 0.6,
                               .max_discount = 0.9,
                               .min_temperature = 0.3,
                               .dynamics = false};
  ProblemNumbers numbers = DrawProblem(rng, options);
  while (numbers.contexts.size() < 2) numbers = DrawProblem(rng, options);
  return Build(numbers);
}

std::vector<Transition> Explore(const BilevelProblem& problem, int count, Rng& rng) {
  std::vector<Simulator> simulators;
  for (const Context& context : problem.contexts) simulators.emplace_back(*context.mdp);
  std::vector<Transition> steps;
  int state = -1, context = 0;
  uint64_t episode = 0;
  while (static_cast<int>(steps.size()) < count) {
    const bool begins = state < 0;
    if (begins) {
      context = static_cast<int>(rng.Below(problem.contexts.size()));
      state = simulators[static_cast<size_t>(context)].DrawStart(rng);
      ++episode;
    }
    const TabularMdp& mdp = *problem.contexts[static_cast<size_t>(context)].mdp;
    int action;
    do {
      action = static_cast<int>(rng.Below(static_cast<uint64_t>(mdp.num_actions())));
    } while (!mdp.available(int64_t{state} * mdp.num_actions() + action));
    const int next =
        simulators[static_cast<size_t>(context)].DrawNext(int64_t{state} * mdp.num_actions() + action, rng);
    const bool ended = next == Simulator::kEnded, stops = !ended && rng.Below(20) == 0;
    steps.push_back({.episode = episode,
                     .state = state,
                     .action = action,
                     .next_state = ended ? 0 : next,
                     .context = context,
                     .kind = ended   ? StepKind::kTerminated
                             : stops ? StepKind::kTruncated
                                     : StepKind::kRunning,
                     .begins = begins});
    state = ended || stops ? -1 : next;
  }
  return steps;
}

double PolicyError(const BilevelProblem& problem, const PolicySnapshot& snapshot) {
  const HypergradientPoint exact = *HypergradientEvaluator(problem, {}).Evaluate(snapshot.parameters, {});
  double error = 0;
  for (size_t c = 0; c < snapshot.contexts.size(); ++c) {
    error = std::max(error, (snapshot.contexts[c].pi - exact.contexts[c].solution.backup.pi).lpNorm<Eigen::Infinity>());
  }
  return error;
}

TEST(SessionLearner, BothRoutesFindTheFollowersPolicies) {
  for (const Route route : {Route::kPlugIn, Route::kSoftQ}) {
    const BilevelProblem problem = DrawWorlds(1);
    Rng rng(2);
    const Vector x = DrawNormal(rng, problem.num_parameters, 0.5);
    auto learner = SessionLearner::Create(problem, true, x, {.route = route, .update_interval = 50'000});
    ASSERT_TRUE(learner.ok()) << learner.status();
    std::vector<PolicySnapshot> snapshots;
    for (const Transition& step : Explore(problem, 200'000, rng)) {
      learner->Learn(0, step);
      if (!learner->due()) continue;
      auto made = learner->Update({});
      ASSERT_TRUE(made.ok() && made->has_value()) << made.status();
      snapshots.push_back(**std::move(made));
    }
    ASSERT_EQ(snapshots.size(), 4);
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(snapshots[i].version, i + 1);
      EXPECT_EQ(snapshots[i].merged, 50'000 * (i + 1));
      for (const ContextPolicy& policy : snapshots[i].contexts) {
        EXPECT_LT(policy.residual, route == Route::kPlugIn ? 1e-8 : 0.2);
      }
    }
    EXPECT_LT(PolicyError(problem, snapshots[3]), 0.05);
    EXPECT_EQ(learner->dropped(), 0);
  }
}

TEST(SessionLearner, TheSameOrderGivesTheSameBits) {
  for (const Route route : {Route::kPlugIn, Route::kSoftQ}) {
    const BilevelProblem problem = DrawWorlds(3);
    Rng rng(4);
    const Vector x = DrawNormal(rng, problem.num_parameters);
    const auto steps = Explore(problem, 6000, rng);
    const auto learn = [&] {
      auto learner = *SessionLearner::Create(problem, false, x, {.route = route, .update_interval = 1000});
      PolicySnapshot last;
      for (const Transition& step : steps) {
        learner.Learn(0, step);
        if (learner.due()) last = **learner.Update({});
      }
      return last;
    };
    const PolicySnapshot once = learn(), again = learn();
    for (size_t c = 0; c < 2; ++c) {
      EXPECT_EQ(once.contexts[c].pi, again.contexts[c].pi);
      EXPECT_EQ(once.contexts[c].value, again.contexts[c].value);
    }
  }
}

TEST(SessionLearner, CountsGiveThePlugInGradient) {
  const BilevelProblem problem = DrawWorlds(5);
  Rng rng(6);
  const Vector x = DrawNormal(rng, problem.num_parameters, 0.5);
  auto learner = *SessionLearner::Create(problem, true, x, {.route = Route::kCount});
  for (const Transition& step : Explore(problem, 300'000, rng)) {
    learner.Learn(0, step);
    EXPECT_FALSE(learner.due());
  }
  const auto found = EstimatePlugIn(learner.problem(), learner.Data(false).contexts, x, {.redraws = 20}, {});
  ASSERT_TRUE(found.ok()) << found.status();
  const Vector exact = HypergradientEvaluator(problem, {}).Evaluate(x, {})->gradient;
  EXPECT_LT((found->point.gradient - exact).norm(), 5 * found->standard_error.norm() + 1e-9);
  EXPECT_LT((found->point.gradient - exact).norm(), 0.1 * exact.norm());
}

TEST(SessionLearner, AnInterruptionLeavesThePolicyDue) {
  const BilevelProblem problem = DrawWorlds(7);
  Rng rng(8);
  auto learner = *SessionLearner::Create(problem, true, Vector::Zero(problem.num_parameters), {.update_interval = 100});
  for (const Transition& step : Explore(problem, 100, rng)) learner.Learn(0, step);
  ASSERT_TRUE(learner.due());
  const std::atomic<bool> cancelled = true;
  const auto nothing = learner.Update(Interrupt(&cancelled, std::nullopt));
  ASSERT_TRUE(nothing.ok()) << nothing.status();
  EXPECT_FALSE(nothing->has_value());
  EXPECT_TRUE(learner.due());
  EXPECT_EQ((*learner.Update({}))->version, 1);
  EXPECT_FALSE(learner.due());
}

TEST(SessionLearner, RefusesBadOptionsByName) {
  const BilevelProblem problem = DrawWorlds(9);
  const auto message = [&](const SessionLearnerOptions& options) {
    return std::string(
        SessionLearner::Create(problem, true, Vector::Zero(problem.num_parameters), options).status().message());
  };
  EXPECT_THAT(message({.update_interval = 0}), HasSubstr("update_interval: is 0"));
  EXPECT_THAT(message({.prior = {.strength = -1}}), HasSubstr("prior.strength: is -1"));
  EXPECT_THAT(message({.max_distinct = 0}), HasSubstr("max_distinct: is 0"));
  EXPECT_THAT(message({.soft_q = {.q = {.first = 2}}}), HasSubstr("soft_q.q.first: is 2"));
  EXPECT_THAT(message({.replay_draws = -1}), HasSubstr("replay_draws: is -1"));
}

}  // namespace
}  // namespace bilevel::testing
