// Gradients from the preferences of a session, against what the world's own critic makes of the same pairs.

#include "core/streaming/recorded_preferences.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <optional>
#include <utility>

#include "core/streaming/preference_gradient.h"
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
using Route = SessionLearnerOptions::Route;

constexpr int kEpisodes = kSanitized ? 1000 : 10'000;

ProblemNumbers Minimised() {
  ProblemNumbers numbers = DrawReturn(31, 0.8);
  numbers.sense = Sense::kMinimize;
  numbers.penalties.squared_l2 = 0.3;
  return numbers;
}

class RecordedPreferences : public ::testing::Test {
 protected:
  RecordedPreferences() : exact_(Build(Minimised()), StartOf()) {}

  static Vector StartOf() {
    Rng rng(32);
    return DrawNormal(rng, 5);
  }
  SessionLearner Learner(const SessionLearnerOptions& options = {.route = Route::kCount}) {
    return *SessionLearner::Create(exact_.problem(), true, exact_.x(), options);
  }

  // Episodes of 20 steps of the follower; in every other one it tries everything, so that the model is known.
  void Feed(SessionLearner& learner) {
    Rng rng(33);
    const int A = exact_.mdp().num_actions();
    for (uint64_t episode = 0; episode < kEpisodes; ++episode) {
      const Vector& pi = episode % 2 == 0 ? exact_.pi() : Uniform();
      const int start = exact_.simulator().DrawStart(rng);
      const auto path = Roll(exact_.simulator(), pi, A, start, {Horizon::Kind::kSteps, 20}, 0.8, rng);
      for (size_t t = 0; t < path.rows.size(); ++t) {
        const bool last = t + 1 == path.rows.size();
        learner.Learn(0,
                      {.episode = episode,
                       .state = static_cast<int32_t>(path.rows[t] / A),
                       .action = static_cast<int32_t>(path.rows[t] % A),
                       .next_state = last ? std::max(0, path.final_state) : static_cast<int32_t>(path.rows[t + 1] / A),
                       .kind = !last             ? StepKind::kRunning
                               : path.terminated ? StepKind::kTerminated
                                                 : StepKind::kTruncated,
                       .begins = t == 0});
      }
    }
  }

  const Vector& Uniform() {
    if (uniform_.size() != 0) return uniform_;
    uniform_ = Vector::Zero(exact_.mdp().num_rows());
    for (Eigen::Index row = 0; row < uniform_.size(); ++row) uniform_[row] = exact_.mdp().available(row) ? 1 : 0;
    uniform_ = uniform_.cwiseQuotient(RepeatForActions(exact_.mdp(), SumOverActions(exact_.mdp(), uniform_)));
    return uniform_;
  }

  Fragment Draw(const Vector& pi, bool told, Rng& rng) {
    const int start = exact_.simulator().DrawStart(rng);
    Fragment fragment{
        .rows =
            Roll(exact_.simulator(), pi, exact_.mdp().num_actions(), start, {Horizon::Kind::kSteps, 3}, 0.8, rng).rows};
    for (const int64_t row : fragment.rows) {
      if (told) fragment.behavior_log_probabilities.push_back(std::log(pi[row]));
    }
    return fragment;
  }
  // Labelled at random, as by somebody with other things in mind.
  std::vector<Preference> DrawPairs(const Vector& pi, bool told, int count, uint64_t seed = 34) {
    Rng rng(seed);
    std::vector<Preference> pairs;
    for (int i = 0; i < count; ++i) {
      Fragment first = Draw(pi, told, rng), second = Draw(pi, told, rng);
      pairs.push_back({std::move(first), std::move(second), rng.Uniform()});
    }
    return pairs;
  }

  PreferenceGradient Exact(const std::vector<Preference>& pairs, PreferenceArm arm) {
    const Context& context = exact_.problem().contexts[0];
    const Vector log_pi = exact_.pi().array().log();
    std::vector<WeighedPreference> weighed;
    for (const Preference& pair : pairs) {
      double log_weight = 0;
      for (const Fragment* fragment : {&pair.first, &pair.second}) {
        for (size_t h = 0; h < fragment->behavior_log_probabilities.size(); ++h) {
          log_weight += log_pi[fragment->rows[h]] - fragment->behavior_log_probabilities[h];
        }
      }
      weighed.push_back({&pair, arm == PreferenceArm::kFit ? 0 : log_weight});
    }
    return *EstimateFromPreferences(
        {exact_.problem().map, exact_.x(), context.reward, context.temperature, &exact_.gradient().advantage}, weighed,
        arm, {});
  }

  absl::StatusOr<GradientEstimate> Ask(const SessionLearner& learner, std::vector<Preference> pairs,
                                       const EstimatorOptions& options) {
    SessionData data = learner.Data(false);
    data.preferences = std::move(pairs);
    return EstimateGradient(learner.problem(), data, learner.parameters(), options, {});
  }

  // Up to what the estimated model is off, in shares of the exact gradient.
  void ExpectNear(const GradientEstimate& found, const PreferenceGradient& exact, double share) {
    EXPECT_LE((found.exploitation - exact.exploitation).norm(), share * exact.mean().norm());
    EXPECT_LE((found.exploration - exact.exploration).norm(), share * exact.mean().norm());
    EXPECT_NEAR(found.objective, exact.objective + 0.15 * exact_.x().squaredNorm(), share);
    EXPECT_LE((found.gradient - found.exploitation - found.exploration - 0.3 * exact_.x()).norm(), 1e-12);
    EXPECT_LE((found.standard_error - exact.standard_error).norm(), 2 * share * exact.standard_error.norm());
  }

  WatchedFollower exact_;
  Vector uniform_;
};

TEST_F(RecordedPreferences, FittingNeedsNoTransitionsAndAnswersAtAnyX) {
  const SessionLearner learner = Learner();
  const std::vector<Preference> pairs = DrawPairs(Uniform(), true, 200);
  const auto found = Ask(learner, pairs, {.kind = Kind::kPreferenceFit});
  ASSERT_TRUE(found.ok()) << found.status();
  ExpectNear(*found, Exact(pairs, PreferenceArm::kFit), 1e-12);
  EXPECT_EQ(found->trajectories, 200);
  EXPECT_EQ(found->parameters_version, 1);
  EXPECT_EQ(found->effective_sample_size, 200);
  EXPECT_THAT(found->assumptions, Contains(HasSubstr("pairs as they are")));
  SessionData data = learner.Data(false);
  data.preferences = pairs;
  const auto elsewhere = EstimateGradient(learner.problem(), data, 2 * exact_.x(), {.kind = Kind::kPreferenceFit}, {});
  ASSERT_TRUE(elsewhere.ok());
  EXPECT_EQ(elsewhere->parameters_version, 0);
}

TEST_F(RecordedPreferences, ExploringAsksTheEstimatedModel) {
  SessionLearner learner = Learner();
  Feed(learner);
  for (const bool told : {false, true}) {
    const std::vector<Preference> pairs = DrawPairs(told ? Uniform() : exact_.pi(), told, 500);
    for (const auto& [kind, arm] : {std::pair(Kind::kPreference, PreferenceArm::kPublished),
                                    std::pair(Kind::kPreferenceExcessRisk, PreferenceArm::kExcessRisk)}) {
      const auto found = Ask(learner, pairs, {.kind = kind});
      ASSERT_TRUE(found.ok()) << found.status();
      const PreferenceGradient exact = Exact(pairs, arm);
      ExpectNear(*found, exact, kSanitized ? 0.3 : 0.1);
      EXPECT_GT(exact.exploration.norm(), 0.2 * exact.mean().norm());
      EXPECT_EQ(found->left_out, 0);
      EXPECT_EQ(told, found->effective_sample_size < 450);
      EXPECT_THAT(found->assumptions, Contains(HasSubstr(told ? "whoever acted" : "do not say who acted")));
      EXPECT_THAT(found->assumptions,
                  Contains(HasSubstr(kind == Kind::kPreference ? "NOT CONSISTENT" : "no objective has this gradient")));
    }
  }
}

TEST_F(RecordedPreferences, LearnedCriticsTellTheirBias) {
  SessionLearner learner = Learner({.route = Route::kSoftQ, .learn_gradient = true});
  Feed(learner);
  const std::vector<Preference> pairs = DrawPairs(exact_.pi(), false, 500);
  const auto found = Ask(learner, pairs, {.kind = Kind::kPreference, .critic = Critic::kLearned});
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_GT(found->bias.norm(), 0);
  const PreferenceGradient exact = Exact(pairs, PreferenceArm::kPublished);
  EXPECT_LE((found->exploitation + found->exploration - found->bias - exact.mean()).norm(),
            (kSanitized ? 0.5 : 0.2) * exact.mean().norm());
  // Another critic has another bias; less it, both are the model's.
  SessionData data = learner.Data(false);
  data.preferences = pairs;
  data.scores[0] *= 3;
  const auto worse = EstimateGradient(learner.problem(), data, exact_.x(),
                                      {.kind = Kind::kPreference, .critic = Critic::kLearned}, {});
  EXPECT_GT((worse->gradient - found->gradient).norm(), 0.1 * exact.mean().norm());
  EXPECT_LT((worse->gradient - worse->bias - found->gradient + found->bias).norm(), 1e-10 * exact.mean().norm());
}

TEST_F(RecordedPreferences, WhatTheFollowerMadeAtAnotherXIsLeftOut) {
  SessionLearner learner = Learner();
  Feed(learner);
  std::vector<Preference> pairs = DrawPairs(exact_.pi(), false, 20);
  for (size_t i = 0; i < pairs.size(); ++i) pairs[i].second.parameters_version = i < 5 ? 1 : 2;
  pairs[0].first.parameters_version = Fragment::kSeveralVersions;
  const auto found = Ask(learner, pairs, {.kind = Kind::kPreference});
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->trajectories, 4);
  EXPECT_EQ(found->left_out, 16);
  const auto fit = Ask(learner, pairs, {.kind = Kind::kPreferenceFit});
  EXPECT_EQ(fit->trajectories, 20);
  // Nor does what was made before the follower drifted count.
  pairs[1].era = 1;
  EXPECT_EQ(Ask(learner, pairs, {.kind = Kind::kPreference})->trajectories, 3);
  EXPECT_EQ(Ask(learner, pairs, {.kind = Kind::kPreferenceFit})->trajectories, 20);
  learner.SetParameters(exact_.x());  // version 2
  learner.SetParameters(exact_.x());
  for (Preference& pair : pairs) pair.first.parameters_version = 1;
  const auto none = Ask(learner, pairs, {.kind = Kind::kPreference});
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("of 20, 20 have fragments that the follower made"));
}

TEST_F(RecordedPreferences, SaysWhatItLacks) {
  SessionLearner learner = Learner();
  const std::vector<Preference> pairs = DrawPairs(exact_.pi(), false, 5);
  const auto message = [&](const EstimatorOptions& options, const std::vector<Preference>& given) {
    return std::string(Ask(learner, given, options).status().message());
  };
  EXPECT_THAT(message({.kind = Kind::kPreferenceFit}, {}), HasSubstr("has no preferences"));
  EXPECT_THAT(message({.kind = Kind::kPreference}, pairs), HasSubstr("not learned from any transition"));
  Feed(learner);
  EXPECT_THAT(message({.kind = Kind::kPreference}, {pairs[0]}), HasSubstr("context 0: 1 preference can be used"));
  EXPECT_THAT(message({.kind = Kind::kPreference, .critic = Critic::kLearned}, pairs), HasSubstr("learn_gradient"));
  EXPECT_THAT(message({.kind = Kind::kPreference, .critic = Critic::kContinuations}, pairs), HasSubstr("critic: is"));
  EXPECT_THAT(message({.kind = Kind::kPreferenceFit, .baseline = EstimatorOptions::Baseline::kModel}, pairs),
              HasSubstr("baseline: is"));
  SessionData data = learner.Data(false);
  data.preferences = pairs;
  const auto elsewhere = EstimateGradient(learner.problem(), data, 2 * exact_.x(), {.kind = Kind::kPreference}, {});
  EXPECT_THAT(std::string(elsewhere.status().message()), HasSubstr("parameters are not the session's"));
  BilevelProblem other = exact_.problem();
  other.sense = Sense::kMaximize;
  const auto upside = EstimateGradient(other, data, exact_.x(), {.kind = Kind::kPreferenceFit}, {});
  EXPECT_THAT(std::string(upside.status().message()), HasSubstr("theirs is a loss"));
}

TEST_F(RecordedPreferences, AnInterruptedCallHasNoAnswer) {
  SessionLearner learner = Learner();
  Feed(learner);
  SessionData data = learner.Data(false);
  data.preferences = DrawPairs(exact_.pi(), false, 5);
  const std::atomic<bool> cancelled = true;
  for (const Kind kind : {Kind::kPreferenceFit, Kind::kPreference}) {
    const auto found =
        EstimateGradient(learner.problem(), data, exact_.x(), {.kind = kind}, Interrupt(&cancelled, std::nullopt));
    EXPECT_EQ(found.status().code(), absl::StatusCode::kCancelled) << found.status();
  }
}

// Means over all pairs, whatever context they are of, where contexts weigh the same.
TEST(RecordedPreferencesOfContexts, CountPairByPair) {
  ProblemNumbers numbers = DrawReturn(51, 0.7);
  numbers.sense = Sense::kMinimize;
  numbers.contexts.push_back(DrawReturn(52, 0.6).contexts[0]);
  const BilevelProblem problem = Build(numbers);
  Rng rng(53);
  const Vector x = DrawNormal(rng, 5);
  SessionData data{.parameters = x};
  const auto pair = [&](int32_t context) {
    const auto fragment = [&] {
      const auto row = [&] { return static_cast<int64_t>(4 * rng.Below(20)); };  // action 0 is always available
      return Fragment{.context = context, .rows = {row(), row()}};
    };
    return Preference{fragment(), fragment(), rng.Uniform()};
  };
  Vector sum = Vector::Zero(5);
  double objective = 0;
  for (int i = 0; i < 12; ++i) {
    data.preferences = {pair(i < 9 ? 0 : 1)};
    const auto one = EstimateGradient(problem, data, x, {.kind = Kind::kPreferenceFit}, {});
    ASSERT_TRUE(one.ok()) << one.status();
    sum += one->gradient / 12;
    objective += one->objective / 12;
  }
  Rng again(53);
  DrawNormal(again, 5);
  rng = again;
  data.preferences.clear();
  for (int i = 0; i < 12; ++i) data.preferences.push_back(pair(i < 9 ? 0 : 1));
  const auto all = EstimateGradient(problem, data, x, {.kind = Kind::kPreferenceFit}, {});
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_LT((all->gradient - sum).norm(), 1e-12);
  EXPECT_NEAR(all->objective, objective, 1e-12);
}

}  // namespace
}  // namespace bilevel::testing
