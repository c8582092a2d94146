// SessionService over loopback: policies and gradients from transitions, in-band rejections, lists and refusals.

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

using SessionServiceTest = SessionFixture;

TEST_F(SessionServiceTest, ThePolicyAndTheGradientTendToThoseOfTheWorld) {
  const BilevelProblem truth = *DecodeProblem(World(true), Purpose::kGradient, Limits());
  const HypergradientPoint exact = *HypergradientEvaluator(truth, {}).Evaluate(Vector{{0.5, -0.3}}, {});
  const std::vector<Step> steps = Explore(60'000);
  const std::string name = MustCreate(Request());
  Write(name, "w0", steps, 3, 2);
  WaitUntilMerged(name, 60'000);
  const v1::GetPolicyResponse policy = Policy(name);
  const Vector pi = *DecodeReals(policy.contexts(0).policy(), {kStates, kActions});
  EXPECT_LT((pi - exact.contexts[0].solution.backup.pi).cwiseAbs().maxCoeff(), 0.02);
  EXPECT_LT(policy.contexts(0).residual(), 1e-8);
  EXPECT_EQ(policy.contexts(0).unseen_rows(), 0);

  v1::EstimateHypergradientRequest request;
  request.set_name(name);
  request.mutable_options()->set_seed(5);
  v1::EstimateHypergradientResponse found, again;
  {
    grpc::ClientContext context;
    const grpc::Status status = stub_->EstimateHypergradient(&context, request, &found);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  {
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->EstimateHypergradient(&context, request, &again).ok());
  }
  EXPECT_EQ(found.estimate().transitions(), 60'000);
  EXPECT_EQ(found.estimate().effective_sample_size(), 64);
  const Vector gradient = *DecodeReals(found.estimate().gradient(), {2});
  const Vector error = *DecodeReals(found.estimate().standard_error(), {2});
  for (int j = 0; j < 2; ++j) {
    EXPECT_LT(error[j], 0.1 * exact.gradient.norm());
    EXPECT_LT(std::abs(gradient[j] - exact.gradient[j]), 4 * error[j]);
  }
  EXPECT_LT(std::abs(found.estimate().objective() - exact.objective), 4 * found.estimate().objective_standard_error());
  found.clear_run_info();
  again.clear_run_info();
  EXPECT_EQ(found.SerializeAsString(), again.SerializeAsString());
}

TEST_F(SessionServiceTest, RejectsInTheStreamAndLosesNothing) {
  const std::string name = MustCreate(Request());
  const std::vector<Step> steps = Explore(100);
  grpc::ClientContext context;
  auto stream = stub_->Train(&context);
  v1::TrainRequest open;
  open.mutable_open()->set_session(name);
  open.mutable_open()->set_writer_id("w0");
  ASSERT_TRUE(stream->Write(open));
  v1::TrainResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.opened().accepted_sequence(), 0);
  EXPECT_EQ(response.opened().credit_until(), 4000);
  const auto rejected = [&](const v1::TrainRequest& request) {
    EXPECT_TRUE(stream->Write(request));
    while (stream->Read(&response) && !response.has_rejected()) {
    }
    EXPECT_TRUE(response.has_rejected());
    return absl::StrCat(response.rejected().status().code(), " ", response.rejected().status().message());
  };
  const auto broken = [&](auto change) {
    v1::TrainRequest request = Batch(steps, 1, 10);
    change(*request.mutable_batch());
    return rejected(request);
  };
  using B = v1::TransitionBatch;
  EXPECT_THAT(broken([](B& b) { b.set_count(0); }), HasSubstr("3 batch.count: is 0; must be in [1, 8192]"));
  EXPECT_THAT(broken([](B& b) { b.set_count(9); }), HasSubstr("batch.episode_id: has 10 entries"));
  EXPECT_THAT(broken([](B& b) { b.clear_state(); }), HasSubstr("batch.state: is absent"));
  EXPECT_THAT(broken([](B& b) { b.mutable_state()->mutable_indices()->set_list(3, 77); }),
              HasSubstr("batch.state[3]: is 77; must be in [0, 4]"));
  EXPECT_THAT(broken([](B& b) { b.mutable_action()->mutable_indices()->set_list(2, 4'000'000'000u); }),
              HasSubstr("batch.action[2]"));
  EXPECT_THAT(broken([](B& b) { b.mutable_step_kind()->mutable_indices()->set_list(1, 3); }),
              HasSubstr("batch.step_kind[1]: is 3"));
  EXPECT_THAT(broken([](B& b) { b.set_first_sequence(0); }), HasSubstr("batch.first_sequence: is 0"));
  EXPECT_THAT(broken([](B& b) { b.mutable_state()->mutable_values()->add_list(0.5); }), HasSubstr("batch.state"));
  EXPECT_THAT(broken([](B& b) { b.set_first_sequence(5); }), AllOf(HasSubstr("9 "), HasSubstr("a gap")));
  EXPECT_THAT(rejected(open), HasSubstr("open: is given twice"));
  EXPECT_THAT(rejected({}), HasSubstr("message: is absent"));
  v1::TrainRequest finish;
  finish.mutable_finish()->set_last_sequence(3);
  EXPECT_THAT(rejected(finish), HasSubstr("finish.last_sequence: is 3; 0 were accepted"));
  EXPECT_EQ(Get(name).accepted(), 0);
  ASSERT_TRUE(stream->Write(Batch(steps, 1, 100)));
  while (stream->Read(&response) && response.ack().accepted_sequence() < 100) ASSERT_FALSE(response.has_rejected());
  stream->WritesDone();
  while (stream->Read(&response)) {
  }
  EXPECT_TRUE(stream->Finish().ok());
  WaitUntilMerged(name, 100);
}

TEST_F(SessionServiceTest, StreamsThatMayNotBeSayWhy) {
  const std::string name = MustCreate(Request());
  const auto ends = [&](const v1::TrainRequest& first) {
    grpc::ClientContext context;
    auto stream = stub_->Train(&context);
    stream->Write(first);
    v1::TrainResponse response;
    while (stream->Read(&response)) {
    }
    return stream->Finish();
  };
  v1::TrainRequest open;
  EXPECT_EQ(ends(open).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  open.mutable_open()->set_session("nonsense");
  EXPECT_THAT(ends(open).error_message(), HasSubstr("open.session: is \"nonsense\""));
  open.mutable_open()->set_session("sessions/none");
  EXPECT_EQ(ends(open).error_code(), grpc::StatusCode::NOT_FOUND);
  open.mutable_open()->set_session(name);
  open.mutable_open()->set_writer_id("stranger");
  EXPECT_EQ(ends(open).error_code(), grpc::StatusCode::NOT_FOUND);

  // A newer stream fences the older; deleting the session fences that.
  open.mutable_open()->set_writer_id("w0");
  grpc::ClientContext one, two;
  auto old = stub_->Train(&one), young = stub_->Train(&two);
  v1::TrainResponse response;
  old->Write(open);
  ASSERT_TRUE(old->Read(&response));
  young->Write(open);
  ASSERT_TRUE(young->Read(&response));
  EXPECT_FALSE(old->Read(&response));
  EXPECT_EQ(old->Finish().error_code(), grpc::StatusCode::ABORTED);
  grpc::ClientContext context;
  v1::DeleteSessionRequest deletion;
  deletion.set_name(name);
  v1::DeleteSessionResponse nothing;
  EXPECT_TRUE(stub_->DeleteSession(&context, deletion, &nothing).ok());
  EXPECT_FALSE(young->Read(&response));
  EXPECT_EQ(young->Finish().error_code(), grpc::StatusCode::ABORTED);
  grpc::ClientContext again;
  EXPECT_EQ(stub_->DeleteSession(&again, deletion, &nothing).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(SessionServiceTest, ListsWhatThereIsAndRefusesASecondOfTheSameName) {
  v1::CreateSessionRequest request = Request();
  request.set_session_id("town");
  EXPECT_EQ(MustCreate(request), "sessions/town");
  v1::Session session;
  EXPECT_EQ(Create(request, &session).error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(MustCreate(Request()), "sessions/s1");
  grpc::ClientContext context;
  v1::ListSessionsResponse list;
  ASSERT_TRUE(stub_->ListSessions(&context, {}, &list).ok());
  ASSERT_EQ(list.sessions_size(), 2);
  EXPECT_EQ(list.sessions(0).name(), "sessions/s1");
  EXPECT_GT(list.sessions(1).reserved_bytes(), 1e5);
  request.set_validate_only(true);
  request.set_session_id("other");
  ASSERT_TRUE(Create(request, &session).ok());
  EXPECT_EQ(session.name(), "");
  EXPECT_GT(session.reserved_bytes(), 1e5);
}

TEST_F(SessionServiceTest, RefusesBadSessionsByField) {
  const auto refused = [&](auto change) {
    v1::CreateSessionRequest request = Request();
    change(request);
    v1::Session session;
    const grpc::Status status = Create(request, &session);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    return status.error_message();
  };
  using R = v1::CreateSessionRequest;
  const auto environment = [](R& r) { return r.mutable_problem()->mutable_contexts(0)->mutable_environment(); };
  EXPECT_THAT(refused([](R& r) { r.set_session_id("a b"); }), HasSubstr("session_id: is \"a b\""));
  EXPECT_THAT(refused([](R& r) { *r.mutable_problem() = World(true); }),
              HasSubstr("problem.contexts[0].environment.transitions: is given; a session learns them"));
  EXPECT_THAT(refused([&](R& r) { environment(r)->set_num_states(0); }), HasSubstr("num_states: is 0"));
  EXPECT_THAT(refused([&](R& r) { environment(r)->set_num_actions(0); }), HasSubstr("num_actions: is 0"));
  EXPECT_THAT(refused([](R& r) { r.mutable_problem()->mutable_contexts(0)->mutable_dynamics(); }),
              HasSubstr("contexts[0].dynamics: is given"));
  EXPECT_THAT(refused([](R& r) { r.mutable_problem()->mutable_contexts(0)->set_discount(2); }),
              HasSubstr("problem.contexts[0].discount: is 2"));
  EXPECT_THAT(refused([](R& r) { SetReals({1, 2, 3}, r.mutable_parameters()); }), HasSubstr("parameters"));
  EXPECT_THAT(refused([](R& r) { r.add_writers("w0"); }), HasSubstr("writers: name somebody twice"));
  EXPECT_THAT(refused([](R& r) { r.set_merge_round(0); }), HasSubstr("merge_round: is 0"));
  EXPECT_THAT(refused([](R& r) { r.set_queue(100'000); }), HasSubstr("queue: is 100000; at most 65536"));
  EXPECT_THAT(refused([](R& r) { r.set_update_interval(-1); }), HasSubstr("update_interval: is -1"));
  EXPECT_THAT(refused([](R& r) { r.set_max_distinct(0); }), HasSubstr("max_distinct: is 0"));
  EXPECT_THAT(refused([](R& r) { r.mutable_prior()->set_strength(-2); }), HasSubstr("prior.strength: is -2"));
  EXPECT_THAT(refused([](R& r) { r.mutable_soft_q()->mutable_q()->set_first(0); }), HasSubstr("soft_q.q.first: is 0"));
  EXPECT_THAT(refused([](R& r) { r.mutable_soft_q()->set_replay_draws(5000); }), HasSubstr("replay_draws: is 5000"));

  // Before memory is taken.
  v1::CreateSessionRequest huge = Request();
  environment(huge)->set_num_states(10'000'000);
  environment(huge)->set_num_actions(2'000'000'000);
  v1::Session session;
  EXPECT_EQ(Create(huge, &session).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

}  // namespace
}  // namespace bilevel::server
