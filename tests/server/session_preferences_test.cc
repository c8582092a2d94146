// Preferences that come over the wire, and the gradients that a session makes of them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/streaming/session_learner.h"
#include "server/convert/array.h"
#include "server/convert/session.h"
#include "tests/server/session_fixture.h"

namespace bilevel::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Kind = EstimatorOptions::Kind;

constexpr int kTransitions = 5000;

class SessionPreferencesTest : public SessionFixture {
 protected:
  static constexpr std::pair<v1::Estimator, Kind> kKinds[] = {
      {v1::ESTIMATOR_PREFERENCE_FIT, Kind::kPreferenceFit},
      {v1::ESTIMATOR_PREFERENCE, Kind::kPreference},
      {v1::ESTIMATOR_PREFERENCE_EXCESS_RISK, Kind::kPreferenceExcessRisk}};

  // No objective of its own: preferences say what is better.
  v1::CreateSessionRequest Minimising() {
    v1::CreateSessionRequest request = Request();
    request.set_trajectory_capacity(2 * kTransitions);
    request.mutable_problem()->set_sense(v1::SENSE_MINIMIZE);
    request.mutable_problem()->mutable_contexts(0)->clear_objective();
    v1::Penalty& penalty = *request.mutable_problem()->add_penalties();
    penalty.set_kind(v1::Penalty::KIND_SQUARED_L2);
    penalty.set_weight(0.25);
    return request;
  }

  // Each step of the last ones by name, against three by value.
  static v1::AddPreferencesRequest Labels(const std::string& name) {
    v1::AddPreferencesRequest request;
    request.set_name(name);
    request.set_first_sequence(1);
    Rng rng(5);
    const std::vector<Step> steps = Explore(kTransitions);
    for (size_t i = steps.size() - 60; i < steps.size(); ++i) {
      v1::Preference& preference = *request.add_preferences();
      v1::Fragment::Range& range = *preference.mutable_first()->mutable_range();
      range.set_writer_id("w0");
      range.set_episode_id(steps[i].episode);
      range.set_count(1);
      v1::Fragment::Steps& other = *preference.mutable_second()->mutable_steps();
      for (int t = 0; t < 3; ++t) {
        other.mutable_state()->mutable_indices()->add_list(static_cast<uint32_t>(rng.Below(kStates)));
        other.mutable_action()->mutable_indices()->add_list(static_cast<uint32_t>(rng.Below(kActions)));
      }
      preference.set_first_preferred(rng.Uniform());
    }
    return request;
  }
  static std::vector<PreferenceSource> Sources(const v1::AddPreferencesRequest& request) {
    std::vector<PreferenceSource> sources;
    for (const v1::Preference& preference : request.preferences()) {
      PreferenceSource source;
      source.first.range = FragmentSource::Range{0, preference.first().range().episode_id(), 0, 1};
      const v1::Fragment::Steps& steps = preference.second().steps();
      for (const uint32_t state : steps.state().indices().list()) {
        source.second.states.push_back(static_cast<int32_t>(state));
      }
      for (const uint32_t action : steps.action().indices().list()) {
        source.second.actions.push_back(static_cast<int32_t>(action));
      }
      source.first_preferred = preference.first_preferred();
      sources.push_back(source);
    }
    return sources;
  }

  static SessionLearner LearnInCore(const v1::CreateSessionRequest& request) {
    SessionPlan plan = *DecodeSession(request, Limits());
    SessionLearner learner =
        *SessionLearner::Create(std::move(plan.problem), plan.initial_known, plan.parameters, plan.learner);
    uint64_t episode = 0;
    for (const Step& step : Explore(kTransitions)) {
      learner.Learn(0, {.episode = step.episode,
                        .state = step.state,
                        .action = step.action,
                        .next_state = step.next,
                        .kind = static_cast<StepKind>(step.kind),
                        .begins = step.episode != episode});
      episode = step.episode;
    }
    return learner;
  }

  grpc::Status Add(const v1::AddPreferencesRequest& request) {
    grpc::ClientContext context;
    v1::AddPreferencesResponse response;
    return stub_->AddPreferences(&context, request, &response);
  }
  grpc::Status Estimate(const std::string& name, v1::Estimator estimator, v1::HypergradientEstimate* estimate) {
    grpc::ClientContext context;
    v1::EstimateHypergradientRequest request;
    request.set_name(name);
    request.mutable_options()->set_estimator(estimator);
    v1::EstimateHypergradientResponse response;
    grpc::Status status = stub_->EstimateHypergradient(&context, request, &response);
    *estimate = response.estimate();
    return status;
  }
};

TEST_F(SessionPreferencesTest, GradientsAreTheCores) {
  const std::string name = MustCreate(Minimising());
  Write(name, "w0", Explore(kTransitions), 1, 0, 256);
  WaitUntilMerged(name, kTransitions);
  const v1::AddPreferencesRequest labels = Labels(name);
  const grpc::Status added = Add(labels);
  ASSERT_TRUE(added.ok()) << added.error_message();

  const SessionLearner learner = LearnInCore(Minimising());
  PreferenceStore store(1000);
  ASSERT_TRUE(store.Offer(1, Sources(labels), learner.trajectories(), learner.Rules(100)).ok());
  SessionData data = learner.Data(false);
  data.preferences = store.held();
  for (const auto& [estimator, kind] : kKinds) {
    SCOPED_TRACE(v1::Estimator_Name(estimator));
    v1::HypergradientEstimate found;
    const grpc::Status status = Estimate(name, estimator, &found);
    ASSERT_TRUE(status.ok()) << status.error_message();
    const auto core = EstimateGradient(learner.problem(), data, learner.parameters(), {.kind = kind}, {});
    ASSERT_TRUE(core.ok()) << core.status();
    EXPECT_EQ(*DecodeReals(found.gradient(), {2}), core->gradient);
    EXPECT_EQ(*DecodeReals(found.exploitation(), {2}), core->exploitation);
    EXPECT_EQ(*DecodeReals(found.exploration(), {2}), core->exploration);
    EXPECT_EQ(*DecodeReals(found.standard_error(), {2}), core->standard_error);
    EXPECT_EQ(found.objective(), core->objective);
    EXPECT_EQ(found.estimator(), estimator);
    EXPECT_EQ(found.trajectories(), 60);
    EXPECT_EQ(found.transitions(), 240);
    EXPECT_EQ(core->exploration.norm() > 0, kind != Kind::kPreferenceFit);
  }
}

TEST_F(SessionPreferencesTest, FittingNeedsPreferencesAlone) {
  const std::string name = MustCreate(Minimising());
  v1::HypergradientEstimate found;
  EXPECT_THAT(Estimate(name, v1::ESTIMATOR_PREFERENCE_FIT, &found).error_message(), HasSubstr("has no preferences"));
  v1::AddPreferencesRequest labels = Labels(name);
  for (v1::Preference& preference : *labels.mutable_preferences()) *preference.mutable_first() = preference.second();
  labels.mutable_preferences(0)->mutable_first()->mutable_steps()->mutable_state()->mutable_indices()->set_list(0, 0);
  ASSERT_TRUE(Add(labels).ok());
  EXPECT_TRUE(Estimate(name, v1::ESTIMATOR_PREFERENCE_FIT, &found).ok());
  EXPECT_EQ(found.trajectories(), 60);
  EXPECT_THAT(Estimate(name, v1::ESTIMATOR_PREFERENCE, &found).error_message(),
              HasSubstr("not learned from any transition"));
}

// The reward is fitted step by step at the client's call, and from labels alone: there is no transition yet.
TEST_F(SessionPreferencesTest, MoveTheLeaderStepByStep) {
  v1::CreateSessionRequest request = Minimising();
  v1::OuterLoop& loop = *request.mutable_outer_loop();
  loop.mutable_sobirl();
  loop.mutable_estimator()->set_estimator(v1::ESTIMATOR_PREFERENCE_FIT);
  loop.set_on_request(true);
  loop.set_first_step(0.1);
  loop.set_gradient_tolerance(0);
  const std::string name = MustCreate(request);
  const auto step = [&](v1::OuterStep* taken) {
    grpc::ClientContext context;
    v1::StepSessionRequest ask;
    ask.set_name(name);
    return stub_->StepSession(&context, ask, taken);
  };
  v1::OuterStep taken;
  EXPECT_THAT(step(&taken).error_message(), HasSubstr("has no preferences"));
  v1::AddPreferencesRequest labels = Labels(name);
  for (v1::Preference& preference : *labels.mutable_preferences()) {
    *preference.mutable_first() = preference.second();
    v1::Array& states = *preference.mutable_first()->mutable_steps()->mutable_state();
    for (uint32_t& state : *states.mutable_indices()->mutable_list()) state = (state + 1) % kStates;
  }
  ASSERT_TRUE(Add(labels).ok());
  v1::HypergradientEstimate at_start;
  ASSERT_TRUE(Estimate(name, v1::ESTIMATOR_PREFERENCE_FIT, &at_start).ok());
  for (int k = 1; k <= 200; ++k) {
    ASSERT_TRUE(step(&taken).ok());
    EXPECT_EQ(taken.number(), k);
    if (k > 1) continue;
    EXPECT_EQ(*DecodeReals(taken.direction(), {2}), *DecodeReals(at_start.gradient(), {2}));
    EXPECT_EQ(taken.objective(), at_start.objective());
  }
  EXPECT_LT(taken.objective(), at_start.objective());
  EXPECT_LT(taken.gradient_norm(), 1e-4);
}

TEST_F(SessionPreferencesTest, DoNotComeWithPolicies) {
  for (const auto& [estimator, kind] : kKinds) {
    v1::CreateSessionRequest request = Request();
    request.mutable_estimate_with_policy()->set_estimator(estimator);
    v1::Session session;
    const grpc::Status status = Create(request, &session);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), AllOf(HasSubstr("estimate_with_policy.estimator"), HasSubstr("preferences")));
  }
}

}  // namespace
}  // namespace bilevel::server
