// Sessions of a small world over loopback: what its tests share.

#ifndef BILEVEL_TESTS_SERVER_SESSION_FIXTURE_H_
#define BILEVEL_TESTS_SERVER_SESSION_FIXTURE_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bilevel/v1/session_service.grpc.pb.h"
#include "core/base/rng.h"
#include "core/streaming/simulator.h"
#include "server/convert/problem.h"
#include "tests/server/loopback.h"

namespace bilevel::server {

inline constexpr int kStates = 5, kActions = 3, kRows = kStates * kActions;

inline void SetReals(const std::vector<double>& numbers, v1::Array* array) {
  array->mutable_values()->mutable_list()->Add(numbers.begin(), numbers.end());
}

// A world with two parameters; the last action of state 4 ends the episode half of the time. `known`: as a problem for
// the solvers; else without its transitions, as a session wants it.
inline v1::Problem World(bool known) {
  Rng rng(1);
  v1::Problem problem;
  problem.set_num_parameters(2);
  problem.set_sense(v1::SENSE_MAXIMIZE);
  v1::Context& context = *problem.add_contexts();
  v1::Environment& environment = *context.mutable_environment();
  environment.set_num_states(kStates);
  environment.set_num_actions(kActions);
  SetReals({1, 0, 0, 0, 0}, environment.mutable_initial_distribution());
  std::vector<double> transitions, ends(kRows, 0.0), features, leader;
  ends.back() = 0.5;
  for (int row = 0; row < kRows; ++row) {
    std::vector<double> p(kStates);
    double sum = 0;
    for (double& entry : p) sum += entry = rng.Uniform();
    for (const double entry : p) transitions.push_back(entry / sum * (1 - ends[static_cast<size_t>(row)]));
    for (int j = 0; j < 2; ++j) features.push_back(rng.Normal());
    leader.push_back(rng.Normal());
  }
  if (known) {
    SetReals(transitions, environment.mutable_transitions()->mutable_dense());
    SetReals(ends, environment.mutable_termination_probability());
  }
  context.set_discount(0.8);
  context.set_temperature(0.5);
  SetReals(features, context.mutable_reward()->mutable_features()->mutable_dense());
  SetReals(leader, context.add_objective()->mutable_leader_return()->mutable_reward()->mutable_base());
  return problem;
}

struct Step {
  uint64_t episode;
  int state, action, next, kind;
};

inline std::vector<Step> Explore(int count) {
  const BilevelProblem problem = *DecodeProblem(World(true), Purpose::kGradient, Limits());
  const Simulator simulator(*problem.contexts[0].mdp);
  Rng rng(2);
  std::vector<Step> steps;
  int state = -1;
  uint64_t episode = 0;
  while (static_cast<int>(steps.size()) < count) {
    if (state < 0) {
      state = simulator.DrawStart(rng);
      ++episode;
    }
    const int action = static_cast<int>(rng.Below(kActions));
    const int next = simulator.DrawNext(state * kActions + action, rng);
    const bool ended = next == Simulator::kEnded, cut = !ended && rng.Below(30) == 0;
    steps.push_back({episode, state, action, ended ? 0 : next, ended ? 1 : cut ? 2 : 0});
    state = ended || cut ? -1 : next;
  }
  return steps;
}

inline v1::TrainRequest Batch(const std::vector<Step>& steps, uint64_t first, uint64_t count) {
  v1::TrainRequest request;
  v1::TransitionBatch& batch = *request.mutable_batch();
  batch.set_first_sequence(first);
  batch.set_count(static_cast<int>(count));
  for (uint64_t i = first - 1; i < first - 1 + count; ++i) {
    const Step& step = steps[i];
    batch.mutable_episode_id()->mutable_indices()->add_list(static_cast<uint32_t>(step.episode));
    batch.mutable_state()->mutable_indices()->add_list(static_cast<uint32_t>(step.state));
    batch.mutable_action()->mutable_indices()->add_list(static_cast<uint32_t>(step.action));
    batch.mutable_next_state()->mutable_indices()->add_list(static_cast<uint32_t>(step.next));
    batch.mutable_step_kind()->mutable_indices()->add_list(static_cast<uint32_t>(step.kind));
  }
  return request;
}

// Dealt out in rounds of 64. Episodes would be torn apart: each step is one of its own, truncated unless terminated.
inline std::vector<std::vector<Step>> Deal(const std::vector<Step>& steps, size_t writers) {
  std::vector<std::vector<Step>> dealt(writers);
  for (size_t i = 0; i < steps.size(); ++i) {
    Step step = steps[i];
    step.episode = i;
    if (step.kind == 0) step.kind = 2;
    dealt[i / 64 % writers].push_back(step);
  }
  return dealt;
}

class SessionFixture : public ::testing::Test {
 protected:
  SessionFixture() : stub_(v1::SessionService::NewStub(loopback_.channel())) {}

  v1::CreateSessionRequest Request(int writers = 1) {
    v1::CreateSessionRequest request;
    *request.mutable_problem() = World(false);
    SetReals({0.5, -0.3}, request.mutable_parameters());
    for (int w = 0; w < writers; ++w) request.add_writers(absl::StrCat("w", w));
    request.set_merge_round(64);
    request.set_update_interval(1000);
    request.set_queue(4000);
    return request;
  }

  grpc::Status Create(const v1::CreateSessionRequest& request, v1::Session* session) {
    grpc::ClientContext context;
    return stub_->CreateSession(&context, request, session);
  }
  std::string MustCreate(const v1::CreateSessionRequest& request) {
    v1::Session session;
    const grpc::Status status = Create(request, &session);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return session.name();
  }

  v1::Session Get(const std::string& name) {
    grpc::ClientContext context;
    v1::GetSessionRequest request;
    request.set_name(name);
    v1::Session session;
    EXPECT_TRUE(stub_->GetSession(&context, request, &session).ok());
    return session;
  }

  void WaitUntilMerged(const std::string& name, double count) {
    for (int i = 0; i < 2000 && Get(name).merged() < count; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    EXPECT_EQ(Get(name).merged(), count);
  }

  v1::GetPolicyResponse Policy(const std::string& name, double newer_than = 0) {
    grpc::ClientContext context;
    v1::GetPolicyRequest request;
    request.set_name(name);
    request.set_if_newer_than(newer_than);
    v1::GetPolicyResponse response;
    const grpc::Status status = stub_->GetPolicy(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  void Delete(const std::string& name) {
    grpc::ClientContext context;
    v1::DeleteSessionRequest request;
    request.set_name(name);
    v1::DeleteSessionResponse nothing;
    EXPECT_TRUE(stub_->DeleteSession(&context, request, &nothing).ok());
  }

  using TrainStream = std::unique_ptr<grpc::ClientReaderWriter<v1::TrainRequest, v1::TrainResponse>>;
  // A stream of the writer, opened.
  TrainStream Open(grpc::ClientContext& context, const std::string& session, const std::string& writer) {
    TrainStream stream = stub_->Train(&context);
    v1::TrainRequest open;
    open.mutable_open()->set_session(session);
    open.mutable_open()->set_writer_id(writer);
    v1::TrainResponse response;
    EXPECT_TRUE(stream->Write(open) && stream->Read(&response) && response.has_opened());
    return stream;
  }

  // Streams everything, in batches of `batch` (0: of random sizes), over streams that are cut at random moments (`cuts`
  // of them).
  void Write(const std::string& session, const std::string& writer, const std::vector<Step>& steps, uint64_t seed,
             int cuts, uint64_t batch = 0) {
    Rng rng(seed);
    while (true) {
      grpc::ClientContext context;
      auto stream = stub_->Train(&context);
      v1::TrainRequest open;
      open.mutable_open()->set_session(session);
      open.mutable_open()->set_writer_id(writer);
      ASSERT_TRUE(stream->Write(open));
      v1::TrainResponse response;
      ASSERT_TRUE(stream->Read(&response)) << stream->Finish().error_message();
      ASSERT_TRUE(response.has_opened());
      uint64_t next = response.opened().accepted_sequence() + 1;
      uint64_t credit = response.opened().credit_until();
      uint64_t accepted = next - 1;
      if (next > 5 && rng.Below(2) == 0) next -= rng.Below(5);
      const uint64_t stop =
          cuts > 0 ? next + rng.Below(std::max<uint64_t>(1, 2 * steps.size() / static_cast<uint64_t>(cuts + 1)))
                   : UINT64_MAX;
      while (accepted < steps.size() && next < stop) {
        const uint64_t last = std::min<uint64_t>(credit, steps.size());
        // As far as credit goes; then what the server has to say.
        if (next <= last) {
          const uint64_t count = std::min<uint64_t>(last + 1 - next, batch == 0 ? 1 + rng.Below(400) : batch);
          ASSERT_TRUE(stream->Write(Batch(steps, next, count)));
          next += count;
          continue;
        }
        ASSERT_TRUE(stream->Read(&response));
        ASSERT_FALSE(response.has_rejected()) << response.rejected().status().message();
        if (response.has_ack()) {
          accepted = response.ack().accepted_sequence();
          credit = response.ack().credit_until();
        }
      }
      if (accepted == steps.size()) {
        v1::TrainRequest finish;
        finish.mutable_finish()->set_last_sequence(steps.size());
        ASSERT_TRUE(stream->Write(finish));
        stream->WritesDone();
        while (stream->Read(&response)) ASSERT_FALSE(response.has_rejected());
        const grpc::Status status = stream->Finish();
        EXPECT_TRUE(status.ok()) << status.error_message();
        return;
      }
      --cuts;
      context.TryCancel();
      while (stream->Read(&response)) {
      }
      stream->Finish();
    }
  }

  Loopback loopback_;
  std::unique_ptr<v1::SessionService::Stub> stub_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_TESTS_SERVER_SESSION_FIXTURE_H_
