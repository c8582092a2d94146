// The unary calls on a running session: estimates by name, another x, preferences, policies in pieces.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/hypergradient/hypergradient.h"
#include "server/convert/array.h"
#include "tests/server/session_fixture.h"

namespace bilevel::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class SessionCallsTest : public SessionFixture {
 protected:
  // A session that has learned from exploration, by whom nobody knows.
  std::string Learned(const v1::CreateSessionRequest& request, int count = 20'000) {
    std::string name = MustCreate(request);
    Write(name, "w0", Explore(count), 1, 0, 256);
    WaitUntilMerged(name, count);
    return name;
  }

  grpc::Status Estimate(const v1::EstimateHypergradientRequest& request, v1::EstimateHypergradientResponse* response) {
    grpc::ClientContext context;
    return stub_->EstimateHypergradient(&context, request, response);
  }
  grpc::Status SetParameters(const v1::SetParametersRequest& request, v1::Session* session) {
    grpc::ClientContext context;
    return stub_->SetParameters(&context, request, session);
  }
  grpc::Status AddPreferences(const v1::AddPreferencesRequest& request, v1::AddPreferencesResponse* response) {
    grpc::ClientContext context;
    return stub_->AddPreferences(&context, request, response);
  }
};

TEST_F(SessionCallsTest, EstimatesByName) {
  v1::CreateSessionRequest create = Request();
  create.set_trajectory_capacity(20'000);
  create.mutable_soft_q()->set_learn_gradient(true);
  const std::string name = Learned(create);
  v1::EstimateHypergradientRequest request;
  request.set_name(name);
  request.mutable_options()->set_seed(4);
  for (const v1::Estimator estimator : {v1::ESTIMATOR_PLUG_IN, v1::ESTIMATOR_RETURN, v1::ESTIMATOR_REWARD_TO_GO,
                                        v1::ESTIMATOR_CRITIC, v1::ESTIMATOR_ONE_STEP, v1::ESTIMATOR_ZEROTH_ORDER}) {
    for (const v1::Critic critic : {v1::CRITIC_MODEL, v1::CRITIC_LEARNED}) {
      SCOPED_TRACE(v1::Estimator_Name(estimator) + v1::Critic_Name(critic));
      request.mutable_options()->set_estimator(estimator);
      request.mutable_options()->set_critic(critic);
      v1::EstimateHypergradientResponse found, again;
      const grpc::Status status = Estimate(request, &found);
      ASSERT_TRUE(status.ok()) << status.error_message();
      ASSERT_TRUE(Estimate(request, &again).ok());
      const v1::HypergradientEstimate& estimate = found.estimate();
      EXPECT_EQ(estimate.SerializeAsString(), again.estimate().SerializeAsString());
      EXPECT_EQ(estimate.estimator(), estimator);
      EXPECT_EQ(estimate.seed(), 4);
      EXPECT_EQ(estimate.parameters_version(), 1);
      EXPECT_EQ(DecodeReals(estimate.gradient(), {2})->size(), 2);
      EXPECT_GT(DecodeReals(estimate.standard_error(), {2})->minCoeff(), 0);
      EXPECT_TRUE(estimate.has_bias());
      EXPECT_GE(estimate.assumptions_size(), 2);
      const bool from_trajectories = estimate.trajectories() > 0;
      EXPECT_EQ(from_trajectories, estimator != v1::ESTIMATOR_PLUG_IN && estimator != v1::ESTIMATOR_ZEROTH_ORDER);
      EXPECT_EQ(estimate.has_exploration(), from_trajectories);
      EXPECT_EQ(found.has_on_model(), estimator == v1::ESTIMATOR_PLUG_IN);
    }
  }
}

// From some transition on every action does what the next one did before.
TEST_F(SessionCallsTest, AWorldThatDriftsIsReported) {
  std::vector<Step> steps = Explore(8000);
  for (size_t i = 4000; i < steps.size(); ++i) steps[i].action = (steps[i].action + 1) % kActions;
  for (const bool keep : {false, true}) {
    v1::CreateSessionRequest create = Request();
    create.mutable_drift()->set_window(1000);
    create.mutable_drift()->set_significance(1e-3);
    create.mutable_drift()->set_keep(keep);
    const std::string name = MustCreate(create);
    EXPECT_FALSE(Get(name).has_last_drift());
    Write(name, "w0", steps, 1, 0, 256);
    WaitUntilMerged(name, 8000);
    const v1::Session session = Get(name);
    EXPECT_EQ(session.drifts(), 1);
    EXPECT_EQ(session.last_drift().merged(), 5000);
    EXPECT_EQ(session.last_drift().what(), v1::Drift::WHAT_TRANSITIONS);
    EXPECT_EQ(session.last_drift().context(), 0);
    EXPECT_LT(session.last_drift().p_value(), 1e-9);
    v1::EstimateHypergradientRequest request;
    request.set_name(name);
    v1::EstimateHypergradientResponse found;
    ASSERT_TRUE(Estimate(request, &found).ok());
    EXPECT_EQ(found.estimate().transitions(), keep ? 8000 : 4000);
  }
  v1::CreateSessionRequest create = Request();
  create.mutable_drift()->set_window(99);
  grpc::ClientContext context;
  v1::Session session;
  EXPECT_THAT(stub_->CreateSession(&context, create, &session).error_message(), HasSubstr("drift.window: is 99"));
}

TEST_F(SessionCallsTest, EstimatesThatCannotBeMadeSayWhy) {
  const std::string name = Learned(Request(), 1000);
  const auto refused = [&](auto change) {
    v1::EstimateHypergradientRequest request;
    request.set_name(name);
    change(request);
    v1::EstimateHypergradientResponse response;
    const grpc::Status status = Estimate(request, &response);
    return absl::StrCat(static_cast<int>(status.error_code()), " ", status.error_message());
  };
  using R = v1::EstimateHypergradientRequest;
  EXPECT_THAT(refused([](R& r) { r.mutable_options()->set_redraws(1); }), HasSubstr("3 options.redraws: is 1"));
  EXPECT_THAT(refused([](R& r) { r.mutable_options()->set_radius(0); }), HasSubstr("3 options.radius: is 0"));
  EXPECT_THAT(refused([](R& r) { r.mutable_options()->set_estimator(static_cast<v1::Estimator>(99)); }),
              HasSubstr("3 options.estimator: is 99"));
  EXPECT_THAT(refused([](R& r) { r.mutable_options()->set_critic(static_cast<v1::Critic>(7)); }),
              HasSubstr("3 options.critic: is 7"));
  EXPECT_THAT(refused([](R& r) { r.mutable_options()->set_baseline(static_cast<v1::Baseline>(7)); }),
              HasSubstr("3 options.baseline: is 7"));
  EXPECT_THAT(refused([](R& r) { r.mutable_options()->set_estimator(v1::ESTIMATOR_RETURN); }),
              AllOf(HasSubstr("9 "), HasSubstr("trajectory_capacity is 0")));
  EXPECT_THAT(refused([](R& r) {
                r.mutable_options()->set_estimator(v1::ESTIMATOR_RETURN);
                SetReals({1, 1}, r.mutable_parameters());
              }),
              AllOf(HasSubstr("9 "), HasSubstr("parameters are not the session's")));
  EXPECT_THAT(refused([](R& r) { SetReals({1}, r.mutable_parameters()); }), HasSubstr("3 parameters"));
}

// What x was changed when, and not how transitions came, decides what is learned.
TEST_F(SessionCallsTest, XMovesBetweenTwoTransitions) {
  std::string first;
  for (const uint64_t batch : {uint64_t{1}, uint64_t{100}}) {
    const std::string name = MustCreate(Request());
    v1::SetParametersRequest move;
    move.set_name(name);
    SetReals({2, 1}, move.mutable_parameters());
    move.set_after_merged(1500);
    v1::Session session;
    ASSERT_TRUE(SetParameters(move, &session).ok());
    EXPECT_EQ(session.parameters_version(), 1);
    Write(name, "w0", Explore(3000), 1, 0, batch);
    WaitUntilMerged(name, 3000);
    const v1::GetPolicyResponse policy = Policy(name);
    EXPECT_EQ(policy.parameters_version(), 2);
    EXPECT_EQ(*DecodeReals(policy.parameters(), {2}), (Vector{{2, 1}}));
    if (first.empty()) first = policy.SerializeAsString();
    EXPECT_EQ(policy.SerializeAsString(), first);
    ASSERT_TRUE(SetParameters(move, &session).ok());  // again: it was made
    EXPECT_EQ(session.parameters_version(), 2);
    move.mutable_parameters()->mutable_values()->mutable_list()->Set(0, 3);
    EXPECT_EQ(SetParameters(move, &session).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
    move.clear_after_merged();
    ASSERT_TRUE(SetParameters(move, &session).ok());
    EXPECT_EQ(session.parameters_version(), 3);
    move.set_after_merged(0.5);
    EXPECT_THAT(SetParameters(move, &session).error_message(),
                HasSubstr("after_merged: is 0.5; must be a whole number"));
    move.clear_parameters();
    EXPECT_THAT(SetParameters(move, &session).error_message(), HasSubstr("parameters: is absent"));
  }
}

TEST_F(SessionCallsTest, PreferencesNameWhatWasSeenOrBringTheirOwn) {
  v1::CreateSessionRequest create = Request();
  create.set_trajectory_capacity(500);
  const std::string name = Learned(create, 2000);
  const std::vector<Step> steps = Explore(2000);
  const uint64_t last = steps.back().episode;
  v1::AddPreferencesRequest request;
  request.set_name(name);
  request.set_first_sequence(1);
  v1::Preference& preference = *request.add_preferences();
  v1::Fragment::Range& range = *preference.mutable_first()->mutable_range();
  range.set_writer_id("w0");
  range.set_episode_id(last);
  range.set_count(1);
  preference.mutable_second()->mutable_steps()->mutable_state()->mutable_indices()->add_list(2);
  preference.mutable_second()->mutable_steps()->mutable_action()->mutable_indices()->add_list(1);
  preference.set_first_preferred(1);
  v1::AddPreferencesResponse response;
  for (int i = 0; i < 2; ++i) {  // the second time is the same
    const grpc::Status status = AddPreferences(request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.accepted_sequence(), 1);
    EXPECT_EQ(response.steps(), 2);
  }
  EXPECT_EQ(Get(name).preferences(), 1);
  EXPECT_LE(Get(name).trajectory_steps(), 500);
  request.set_first_sequence(2);
  const auto refused = [&](auto change) {
    v1::AddPreferencesRequest other = request;
    change(other);
    const grpc::Status status = AddPreferences(other, &response);
    EXPECT_EQ(Get(name).preferences(), 1);
    return absl::StrCat(static_cast<int>(status.error_code()), " ", status.error_message());
  };
  using R = v1::AddPreferencesRequest;
  const auto first = [](R& r) { return r.mutable_preferences(0)->mutable_first()->mutable_range(); };
  EXPECT_THAT(refused([&](R& r) { first(r)->set_writer_id("stranger"); }),
              HasSubstr("3 preferences[0].first.range.writer_id: is \"stranger\""));
  EXPECT_THAT(refused([&](R& r) { first(r)->set_episode_id(steps[0].episode); }),
              AllOf(HasSubstr("9 preferences[0].first.range"), HasSubstr("beyond trajectory_capacity = 500")));
  EXPECT_THAT(refused([&](R& r) { first(r)->set_count(100'000); }), HasSubstr("9 preferences[0].first.range"));
  EXPECT_THAT(refused([](R& r) { r.mutable_preferences(0)->clear_second(); }),
              HasSubstr("3 preferences[0].second.source: is absent"));
  EXPECT_THAT(refused([](R& r) { r.mutable_preferences(0)->set_first_preferred(NAN); }),
              HasSubstr("3 preferences[0].first_preferred: is nan"));
  EXPECT_THAT(refused([](R& r) { r.clear_preferences(); }), HasSubstr("3 preferences: has 0 entries"));
  EXPECT_THAT(refused([](R& r) { r.set_first_sequence(9); }), HasSubstr("9 first_sequence is 9 after 1: a gap"));
}

TEST_F(SessionCallsTest, PoliciesComeWholeOrInPieces) {
  const std::string name = Learned(Request(), 2000);
  v1::GetPolicyRequest request;
  request.set_name(name);
  grpc::ClientContext context;
  auto stream = stub_->DownloadPolicy(&context, request);
  std::string bytes;
  v1::PolicyChunk chunk;
  while (stream->Read(&chunk)) {
    EXPECT_EQ(chunk.offset(), static_cast<double>(bytes.size()));
    bytes += chunk.data();
  }
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_EQ(chunk.total_bytes(), static_cast<double>(bytes.size()));
  EXPECT_EQ(bytes, Policy(name).SerializeAsString());
  request.set_name("sessions/none");
  grpc::ClientContext again;
  stream = stub_->DownloadPolicy(&again, request);
  EXPECT_FALSE(stream->Read(&chunk));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(SessionCallsTest, ALargePolicyNeedsPieces) {
  v1::CreateSessionRequest create = Request();
  v1::Problem problem;
  problem.set_num_parameters(1);
  v1::Context& big = *problem.add_contexts();
  big.mutable_environment()->set_num_states(100'000);
  big.mutable_environment()->set_num_actions(3);
  big.set_discount(0.5);
  big.set_temperature(1);
  *create.mutable_problem() = problem;
  create.clear_parameters();
  create.set_update_interval(100);
  const std::string name = Learned(create, 100);
  v1::GetPolicyRequest request;
  request.set_name(name);
  v1::GetPolicyResponse whole;
  grpc::ClientContext one, two;
  const grpc::Status status = stub_->GetPolicy(&one, request, &whole);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("call DownloadPolicy"));
  auto stream = stub_->DownloadPolicy(&two, request);
  std::string bytes;
  v1::PolicyChunk chunk;
  int chunks = 0;
  for (; stream->Read(&chunk); ++chunks) bytes += chunk.data();
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_GE(chunks, 5);
  ASSERT_TRUE(whole.ParseFromString(bytes));
  EXPECT_NEAR(DecodeReals(whole.contexts(0).policy(), {100'000, 3})->sum(), 100'000, 1e-6);
}

// News of a policy carry its digest and, where asked for, its gradient.
TEST_F(SessionCallsTest, PolicyNewsCarryDigestAndEstimate) {
  v1::CreateSessionRequest create = Request();
  create.mutable_estimate_with_policy()->set_redraws(8);
  std::string digest;
  for (int round = 0; round < 2; ++round) {
    const std::string name = MustCreate(create);
    grpc::ClientContext context;
    auto stream = Open(context, name, "w0");
    ASSERT_TRUE(stream->Write(Batch(Explore(1000), 1, 1000)));
    v1::TrainResponse response;
    while (stream->Read(&response) && !response.has_policy()) {
    }
    const v1::PolicyUpdate& news = response.policy();
    EXPECT_EQ(news.version(), 1);
    EXPECT_EQ(news.merged(), 1000);
    EXPECT_EQ(news.parameters_version(), 1);
    EXPECT_EQ(*DecodeReals(news.parameters(), {2}), (Vector{{0.5, -0.3}}));
    EXPECT_EQ(news.digest().size(), 32);
    if (digest.empty()) digest = news.digest();
    EXPECT_EQ(news.digest(), digest);
    EXPECT_EQ(news.estimate().effective_sample_size(), 8);
    v1::EstimateHypergradientRequest request;
    request.set_name(name);
    request.mutable_options()->set_redraws(8);
    v1::EstimateHypergradientResponse found;
    ASSERT_TRUE(Estimate(request, &found).ok());
    EXPECT_EQ(found.estimate().SerializeAsString(), news.estimate().SerializeAsString());
  }
}

TEST_F(SessionCallsTest, AnXTooLargeForNewsIsLeftOut) {
  v1::CreateSessionRequest create = Request();
  create.mutable_problem()->set_num_parameters(600'000);
  create.mutable_problem()->mutable_contexts(0)->mutable_reward()->clear_features();
  create.clear_parameters();
  const std::string name = MustCreate(create);
  EXPECT_FALSE(Get(name).has_parameters());
}

TEST_F(SessionCallsTest, FollowersAndLearnersGoTogetherOrNot) {
  const auto refused = [&](auto change) {
    v1::CreateSessionRequest request = Request();
    change(request);
    v1::Session session;
    return Create(request, &session).error_message();
  };
  using R = v1::CreateSessionRequest;
  EXPECT_THAT(refused([](R& r) { r.set_follower(static_cast<v1::Follower>(9)); }), HasSubstr("follower: is 9"));
  EXPECT_THAT(refused([](R& r) { r.mutable_observed(); }),
              HasSubstr("observed: is given; only an OBSERVED follower's"));
  const auto observed = [&](auto change) {
    return refused([&](R& r) {
      r.set_follower(v1::FOLLOWER_OBSERVED);
      change(r);
    });
  };
  EXPECT_THAT(observed([](R& r) { r.mutable_soft_q(); }), HasSubstr("soft_q: is given for an OBSERVED follower"));
  EXPECT_THAT(observed([](R& r) { r.mutable_plug_in(); }), HasSubstr("plug_in: is given for an OBSERVED follower"));
  EXPECT_THAT(observed([](R& r) { r.mutable_observed()->set_strength(-1); }), HasSubstr("observed.strength: is -1"));
  EXPECT_THAT(refused([](R& r) { r.set_trajectory_capacity(-1); }), HasSubstr("trajectory_capacity: is -1"));
  EXPECT_THAT(refused([](R& r) { r.set_preference_capacity(-1); }), HasSubstr("preference_capacity: is -1"));
  EXPECT_THAT(refused([](R& r) { r.mutable_soft_q()->set_num_features(-1); }), HasSubstr("soft_q.num_features: is -1"));
  EXPECT_THAT(refused([](R& r) { r.mutable_estimate_with_policy()->set_redraws(1); }),
              HasSubstr("estimate_with_policy.redraws: is 1"));
  EXPECT_THAT(refused([](R& r) { r.mutable_estimate_with_policy()->set_estimator(v1::ESTIMATOR_RETURN); }),
              HasSubstr("estimate_with_policy.estimator: needs trajectories"));
  EXPECT_THAT(refused([](R& r) {
                r.mutable_estimate_with_policy()->set_estimator(v1::ESTIMATOR_RETURN);
                r.mutable_estimate_with_policy()->set_critic(v1::CRITIC_LEARNED);
                r.set_trajectory_capacity(100);
              }),
              HasSubstr("estimate_with_policy.estimator: CRITIC_LEARNED needs"));
  EXPECT_THAT(refused([](R& r) { r.add_writers(""); }), HasSubstr("writers[1]: is \"\"; must be letters"));
  v1::CreateSessionRequest request = Request();
  request.set_follower(v1::FOLLOWER_OBSERVED);
  const std::string name = Learned(request, 2000);
  EXPECT_EQ(Get(name).follower(), v1::FOLLOWER_OBSERVED);
  EXPECT_GT(Get(name).trajectories(), 10);
  // Explored at random: the policy that was seen is about uniform.
  const Vector pi = *DecodeReals(Policy(name).contexts(0).policy(), {kStates, kActions});
  EXPECT_LT((pi.array() - 1.0 / kActions).abs().maxCoeff(), 0.15);
}

}  // namespace
}  // namespace bilevel::server
