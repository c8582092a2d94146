// The follower that acts here: its actions' law, its repetitions, its transitions.

#include "core/streaming/actor.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bilevel::testing {
namespace {

using ::testing::HasSubstr;

constexpr int kStates = 3, kActions = 4;

std::shared_ptr<const TransitionRules> Rules(size_t features = 0) {
  TransitionRules rules{{{kStates, kActions, std::vector<uint8_t>(kStates * kActions, 1)}}, 2, features};
  rules.contexts[0].available_actions[1] = 0;  // action 1 in state 0
  return std::make_shared<const TransitionRules>(rules);
}

PolicySnapshot Policy() {
  PolicySnapshot policy{.version = 3, .merged = 10, .parameters = Vector(), .parameters_version = 2};
  policy.contexts.push_back({Vector{{.7, 0, .2, .1, .25, .25, .25, .25, 0, 0, 0, 1}}, {}, {}});
  return policy;
}

// Each action's share among episodes that begin in `state`, and what the actor says of its probability.
std::pair<Vector, Vector> Shares(const PolicySnapshot* policy, const Exploration& exploration, int state) {
  constexpr int kDraws = 20'000;
  Actor actor(Rules(), 1, 0);
  Vector share = Vector::Zero(kActions), told = share;
  for (uint64_t episode = 0; episode < kDraws; ++episode) {
    const Observation start{.episode = episode, .state = state};
    actor.Take(start);
    const ActedStep step = actor.Draw(start, policy, exploration);
    share[step.action] += 1.0 / kDraws;
    told[step.action] = std::exp(step.log_probability);
    actor.Take({.sequence = 1, .episode = episode, .kind = StepKind::kTruncated});
  }
  return {share, told};
}

TEST(Actor, DrawsFromPolicyAndExploration) {
  const PolicySnapshot policy = Policy();
  const auto expect = [](const std::pair<Vector, Vector>& found, const Vector& law) {
    EXPECT_LT((found.first - law).lpNorm<Eigen::Infinity>(), 4 * 0.5 / std::sqrt(20'000));
    EXPECT_LT((found.second - law).lpNorm<Eigen::Infinity>(), 1e-12);
  };
  expect(Shares(&policy, {}, 0), Vector{{.7, 0, .2, .1}});
  expect(Shares(&policy, {}, 2), Vector{{0, 0, 0, 1}});
  expect(Shares(nullptr, {}, 0), Vector{{1 / 3., 0, 1 / 3., 1 / 3.}});
  expect(Shares(&policy, {Exploration::Kind::kUniform, 0.3}, 0), Vector{{.59, 0, .24, .17}});
  // Every action in turn: a third of them each.
  const Vector tried = Shares(&policy, {Exploration::Kind::kLeastTried, 1}, 0).first;
  EXPECT_LT((tried - Vector{{1 / 3., 0, 1 / 3., 1 / 3.}}).lpNorm<Eigen::Infinity>(), 1e-3);
}

TEST(Actor, GivesTheSameActionToTheSameObservation) {
  Actor actor(Rules(), 5, 1), again(Rules(), 5, 1), other(Rules(), 6, 1);
  const PolicySnapshot policy = Policy();
  int differ = 0;
  for (uint64_t episode = 0; episode < 100; ++episode) {
    const Observation start{.episode = episode, .state = 1};
    EXPECT_FALSE(*actor.IsKnown(start, 0));
    for (Actor* one : {&actor, &again, &other}) one->Take(start);
    EXPECT_TRUE(*actor.IsKnown(start, 0));
    EXPECT_FALSE(actor.Drawn(start).has_value());
    const ActedStep step = actor.Draw(start, &policy, {});
    EXPECT_EQ(step.policy_version, 3);
    EXPECT_EQ(actor.Drawn(start)->action, step.action);
    EXPECT_EQ(again.Draw(start, &policy, {}).action, step.action);
    if (other.Draw(start, &policy, {}).action != step.action) ++differ;
    for (Actor* one : {&actor, &again, &other})
      one->Take({.sequence = 1, .episode = episode, .kind = StepKind::kTerminated});
  }
  EXPECT_GT(differ, 50);
}

TEST(Actor, CompletesTransitions) {
  Actor actor(Rules(1), 1, 0);
  const PolicySnapshot policy = Policy();
  actor.Take({.episode = 9, .state = 2, .features = {0.5}});
  actor.Draw({.episode = 9, .state = 2, .features = {0.5}}, &policy, {});
  const Observation next{.sequence = 1, .episode = 9, .state = 1, .leader_reward = 4, .features = {0.25}};
  const auto block = **actor.Complete(next);
  ASSERT_EQ(block.steps.size(), 1);
  const Transition& step = block.steps[0];
  EXPECT_EQ(step.episode, 9);
  EXPECT_EQ(step.state, 2);
  EXPECT_EQ(step.action, 3);
  EXPECT_EQ(step.next_state, 1);
  EXPECT_EQ(step.leader_reward, 4);
  EXPECT_EQ(step.behavior_log_probability, 0);
  EXPECT_EQ(step.parameters_version, 2);
  EXPECT_EQ(block.features, (std::vector<double>{0.5, 0.25}));
  actor.Take(next);
  actor.Draw(next, &policy, {});
  const auto last = **actor.Complete({.sequence = 2, .episode = 9, .kind = StepKind::kTerminated});
  EXPECT_EQ(last.steps[0].kind, StepKind::kTerminated);
  EXPECT_EQ(last.features, (std::vector<double>{0.25, 0}));
}

TEST(Actor, RefusesWhatDoesNotFit) {
  Actor actor(Rules(), 1, 0);
  const auto complete = [&](const Observation& observation) {
    return std::string(actor.Complete(observation).status().message());
  };
  EXPECT_THAT(complete({.state = 3}), HasSubstr("state: is 3"));
  EXPECT_THAT(complete({.context = 1}), HasSubstr("context: is 1"));
  EXPECT_THAT(complete({.kind = StepKind::kTruncated}), HasSubstr("step_kind"));
  EXPECT_THAT(complete({.features = {1}}), HasSubstr("features: has 1 entries; must have num_features = 0"));
  EXPECT_THAT(complete({.sequence = 1, .episode = 4}), HasSubstr("episode_id: is 4, which has not begun"));
  const Observation start{.episode = 1, .state = 1};
  actor.Take(start);
  EXPECT_THAT(complete({.sequence = 1, .episode = 1}), HasSubstr("no action yet"));
  actor.Draw(start, nullptr, {});
  EXPECT_THAT(std::string(actor.IsKnown({.sequence = 3, .episode = 1}, 1).status().message()), HasSubstr("a gap"));
  EXPECT_THAT(std::string(actor.IsKnown({.episode = 1, .state = 2}, 0).status().message()),
              HasSubstr("has begun already"));
  actor.Take({.sequence = 2, .episode = 1, .state = 2});
  EXPECT_THAT(std::string(actor.IsKnown({.sequence = 1, .episode = 1, .state = 2}, 2).status().message()),
              HasSubstr("not the last of episode 1"));
  actor.Take({.episode = 2});
  EXPECT_EQ(actor.Complete({.episode = 3}).status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace bilevel::testing
