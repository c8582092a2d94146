// The follower that acts here: its actions' law, its repetitions, its transitions.

#include "core/streaming/actor.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

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

// What an environment calls its episodes is of no account, nor are two actors or two steps alike.
TEST(Actor, DrawsAnewInEveryEpisodeAndStep) {
  Actor actor(Rules(), 5, 1), neighbour(Rules(), 5, 2);
  int firsts = 0, same_step = 0, same_actor = 0;
  uint64_t sequence = 0;
  for (int episode = 0; episode < 1000; ++episode) {
    std::array<int32_t, 2> actions = {};
    for (size_t step = 0; step < 2; ++step) {
      const Observation seen{.sequence = step == 0 ? 0 : ++sequence, .episode = 0, .state = 1};
      actor.Take(seen);
      actions[step] = actor.Draw(seen, nullptr, {}).action;
      if (step > 0) continue;
      neighbour.Take(seen);
      same_actor += neighbour.Draw(seen, nullptr, {}).action == actions[0] ? 1 : 0;
    }
    firsts += actions[0] == 0 ? 1 : 0;
    same_step += actions[0] == actions[1] ? 1 : 0;
    actor.Take({.sequence = ++sequence, .episode = 0, .kind = StepKind::kTruncated});
    neighbour.Take({.sequence = sequence, .episode = 0, .kind = StepKind::kTruncated});
  }
  // Four actions: a quarter each, within 5 standard deviations.
  for (const int count : {firsts, same_step, same_actor}) EXPECT_NEAR(count, 250, 5 * std::sqrt(1000 * 0.25 * 0.75));
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

// Walks after episodes through states 0, 1, 2 in turn.
class Walker {
 public:
  static constexpr double kDiscount = 0.6;

  Walker() : actor_(RulesOfWalks(), 1, 0) {}

  static std::shared_ptr<const TransitionRules> RulesOfWalks() {
    return std::make_shared<const TransitionRules>(
        TransitionRules{{{kStates, kActions, std::vector<uint8_t>(kStates * kActions, 1), kDiscount}}, 2, 0});
  }
  static PolicySnapshot Uniform() {
    PolicySnapshot policy{.version = 3, .merged = 10, .parameters = Vector(), .parameters_version = 2};
    policy.contexts.push_back({Vector::Constant(Eigen::Index{kStates} * kActions, 0.25), {}, {}});
    return policy;
  }

  // As a session does.
  ActedStep Observe(const Observation& observation) {
    const absl::StatusOr<bool> known = actor_.IsKnown(observation, accepted_);
    EXPECT_TRUE(known.ok()) << known.status();
    if (!*known) {
      const auto completed = actor_.Complete(observation);
      EXPECT_TRUE(completed.ok()) << completed.status();
      if (completed->has_value()) {
        last_ = (**completed).steps[0];
        ++accepted_;
      }
      actor_.Take(observation, true);
    }
    const std::optional<ActedStep> drawn = actor_.Drawn(observation);
    const PolicySnapshot policy = Uniform();
    return drawn.has_value() ? *drawn : actor_.Draw(observation, &policy, {Exploration::Kind::kUniform, 1});
  }
  Observation Next(uint64_t episode, int state, StepKind kind = StepKind::kRunning) const {
    return {.sequence = accepted_ + 1, .episode = episode, .state = state, .kind = kind};
  }
  static Observation StartOf(const Walk& walk, uint64_t number) {
    return {.episode = number, .state = walk.state, .walk = walk.kind, .walk_of = walk.of_episode};
  }

  // The walks, and in `actions` what was done in each state.
  std::vector<Walk> RunEpisode(uint64_t episode, int* actions = nullptr) {
    int action = Observe({.episode = episode}).action;
    for (int s = 0; s < kStates; ++s) {
      if (actions != nullptr) actions[s] = action;
      const ActedStep step =
          Observe(Next(episode, s + 1, s + 1 == kStates ? StepKind::kTerminated : StepKind::kRunning));
      if (step.ended) return step.walks;
      action = step.action;
    }
    return {};
  }

  // The actions of a walk that is run under this number.
  std::vector<int> RunWalk(const Walk& walk, uint64_t number) {
    std::vector<int> actions;
    for (ActedStep step = Observe(StartOf(walk, number)); !step.ended; step = Observe(Next(number, 2))) {
      actions.push_back(step.action);
    }
    return actions;
  }

  std::string Refusal(const Observation& observation) {
    const absl::StatusOr<bool> known = actor_.IsKnown(observation, accepted_);
    if (!known.ok()) return std::string(known.status().message());
    return std::string(actor_.Complete(observation).status().message());
  }

  uint64_t accepted() const { return accepted_; }
  const Transition& last() const { return last_; }
  Actor& actor() { return actor_; }

 private:
  Actor actor_;
  uint64_t accepted_ = 0;
  Transition last_;
};

TEST(ActorWalks, BeginInEveryStepAlikeAndEndByAFairCoin) {
  Walker walker;
  constexpr int kEpisodes = 4000;
  Vector begun = Vector::Zero(kStates), length = Vector::Zero(2);
  RowMatrix choices = RowMatrix::Zero(kActions, 2), stopped = choices;  // first actions, and those that were the last
  for (uint64_t episode = 0; episode < kEpisodes; ++episode) {
    int actions[kStates];
    const std::vector<Walk> walks = walker.RunEpisode(episode, actions);
    ASSERT_EQ(walks.size(), 2);
    EXPECT_EQ(walks[0].state, walks[1].state);
    begun[walks[0].state] += 1.0 / kEpisodes;
    for (const Walk& walk : walks) {
      EXPECT_EQ(walk.of_episode, episode);
      ActedStep step = walker.Observe(walker.StartOf(walk, episode));  // its number is free again
      if (walk.kind == WalkKind::kFromChoice) {
        EXPECT_EQ(step.action, actions[walk.state]);
        EXPECT_EQ(step.log_probability, 0);
      } else {
        EXPECT_NEAR(step.log_probability, std::log(0.25), 1e-12);
      }
      const int first = step.action, kind = walk.kind == WalkKind::kFromChoice ? 0 : 1;
      choices(first, kind) += 1;
      int steps = 0;
      do {
        step = walker.Observe(walker.Next(episode, 1));
        EXPECT_EQ(walker.last().episode, episode);
        EXPECT_EQ(walker.last().walk, walk.kind);
        EXPECT_EQ(walker.last().stopped, step.ended);
        EXPECT_EQ(walker.last().kind, step.ended ? StepKind::kTruncated : StepKind::kRunning);
        EXPECT_TRUE(step.walks.empty());
        ++steps;
      } while (!step.ended);
      stopped(first, kind) += steps == 1 ? 1 : 0;
      length[kind] += static_cast<double>(steps) / kEpisodes;
    }
  }
  const double bound = 4 / std::sqrt(kEpisodes);
  EXPECT_LT((begun - Vector::Constant(kStates, 1.0 / kStates)).lpNorm<Eigen::Infinity>(), 0.5 * bound);
  // A geometric length has mean 1 / (1 - gamma) and deviation sqrt(gamma) / (1 - gamma).
  for (int kind = 0; kind < 2; ++kind) {
    EXPECT_NEAR(length[kind], 1 / (1 - Walker::kDiscount),
                bound * std::sqrt(Walker::kDiscount) / (1 - Walker::kDiscount));
    // Neither which step it was, nor the coin, has to do with the actions.
    for (int a = 0; a < kActions; ++a) {
      EXPECT_NEAR(choices(a, kind) / kEpisodes, 0.25, 0.5 * bound);
      EXPECT_NEAR(stopped(a, kind) / choices(a, kind), 1 - Walker::kDiscount, bound);
    }
  }
}

TEST(ActorWalks, AreTheSameWhateverIsAskedAgain) {
  Walker walker;
  for (uint64_t episode = 0; episode < 50; ++episode) {
    walker.RunEpisode(episode);
    const Observation end{.sequence = walker.accepted(), .episode = episode, .kind = StepKind::kTerminated};
    const std::vector<Walk> walks = walker.Observe(end).walks;
    ASSERT_EQ(walks.size(), 2);
    EXPECT_EQ(walker.Observe(end).walks[1].state, walks[1].state);
    for (const Walk& walk : walks) {
      Observation observation = walker.StartOf(walk, 1000 + episode);
      ActedStep step = walker.Observe(observation);
      while (!step.ended) {
        EXPECT_EQ(walker.Observe(observation).action, step.action);
        observation = walker.Next(1000 + episode, 1);
        step = walker.Observe(observation);
      }
      const uint64_t accepted = walker.accepted();
      EXPECT_TRUE(walker.Observe(observation).ended);
      EXPECT_EQ(walker.accepted(), accepted);
    }
  }
}

// Whatever happens between, and whatever numbers they and their episodes have.
TEST(ActorWalks, DependOnSeedEpisodeAndKindAlone) {
  Walker one, other;
  int differ = 0;
  for (uint64_t episode = 10; episode < 30; ++episode) {
    const std::vector<Walk> walks = one.RunEpisode(episode), again = other.RunEpisode(500 + episode);
    ASSERT_EQ(walks.size(), 2);
    EXPECT_EQ(walks[0].state, again[0].state);
    const std::vector<int> choice = one.RunWalk(walks[0], episode), state = one.RunWalk(walks[1], 7);
    EXPECT_EQ(state, other.RunWalk(again[1], 90));
    EXPECT_EQ(choice, other.RunWalk(again[0], 20 + episode));
    differ += choice.size() != state.size() ? 1 : 0;
  }
  EXPECT_GT(differ, 5);
}

TEST(ActorWalks, RefuseWhatWasNotAskedFor) {
  Walker walker;
  const std::vector<Walk> walks = walker.RunEpisode(4);
  const auto change = [&](auto edit) {
    Observation observation = walker.StartOf(walks[0], 9);
    edit(observation);
    return walker.Refusal(observation);
  };
  EXPECT_EQ(change([](Observation&) {}), "");
  EXPECT_THAT(change([](Observation& o) { o.walk_of = 5; }), HasSubstr("walk_of: is 5, an episode of which no walks"));
  EXPECT_THAT(change([](Observation& o) { o.state = (o.state + 1) % kStates; }),
              HasSubstr("; FROM_CHOICE of episode 4 begins in "));
  walker.Observe(walker.StartOf(walks[0], 9));
  EXPECT_THAT(change([](Observation& o) { o.episode = 8; }),
              HasSubstr("walk_kind: is FROM_CHOICE of episode 4, which has begun already"));
  EXPECT_THAT(change([](Observation& o) { o.walk = WalkKind::kFromState; }), HasSubstr("9, which has begun already"));
  EXPECT_THAT(walker.Refusal({.episode = 4}), HasSubstr("episode_id: is 4; its walk FROM_CHOICE is open"));
  // A walk is an open episode like others, of which two may be.
  walker.Observe({.episode = 5});
  EXPECT_EQ(walker.actor().Complete({.episode = 6}).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(ActorWalks, AreForgottenBeyondTheLatestAndWithTheirNumber) {
  Walker walker;
  const std::vector<Walk> one = walker.RunEpisode(1), two = walker.RunEpisode(2), three = walker.RunEpisode(3);
  EXPECT_THAT(walker.Refusal(walker.StartOf(one[0], 9)), HasSubstr("walk_of: is 1"));
  EXPECT_EQ(walker.Refusal(walker.StartOf(two[0], 9)), "");
  walker.Observe({.episode = 2});
  EXPECT_THAT(walker.Refusal(walker.StartOf(two[0], 9)), HasSubstr("walk_of: is 2"));
  EXPECT_EQ(walker.Refusal(walker.StartOf(three[0], 9)), "");
}

}  // namespace
}  // namespace bilevel::testing
