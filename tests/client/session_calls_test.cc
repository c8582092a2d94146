// The calls of SessionService that are no streams of transitions: retries, chunks.

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>

#include "absl/strings/str_cat.h"
#include "bilevel/v1/session_service.grpc.pb.h"
#include "client/array.h"
#include "client/bilevel_client.h"

namespace bilevel::client {
namespace {

class FakeSessions : public v1::SessionService::Service {
 public:
  std::atomic<int> calls = 0;
  std::atomic<int> failures = 0;
  int chunk = 1000;
  bool lose_a_chunk = false;

  grpc::Status CreateSession(grpc::ServerContext*, const v1::CreateSessionRequest* request,
                             v1::Session* session) override {
    session->set_name(absl::StrCat("sessions/", request->session_id()));
    return Answer();
  }
  grpc::Status GetSession(grpc::ServerContext*, const v1::GetSessionRequest* request, v1::Session* session) override {
    session->set_name(request->name());
    return Answer();
  }
  grpc::Status ListSessions(grpc::ServerContext*, const v1::ListSessionsRequest*,
                            v1::ListSessionsResponse* response) override {
    response->add_sessions();
    return Answer();
  }
  grpc::Status DeleteSession(grpc::ServerContext*, const v1::DeleteSessionRequest*,
                             v1::DeleteSessionResponse*) override {
    return Answer();
  }
  grpc::Status GetPolicy(grpc::ServerContext*, const v1::GetPolicyRequest*, v1::GetPolicyResponse* response) override {
    response->set_version(3);
    return Answer();
  }
  grpc::Status SetParameters(grpc::ServerContext*, const v1::SetParametersRequest* request,
                             v1::Session* session) override {
    *session->mutable_parameters() = request->parameters();
    return Answer();
  }
  grpc::Status AddPreferences(grpc::ServerContext*, const v1::AddPreferencesRequest* request,
                              v1::AddPreferencesResponse* response) override {
    response->set_accepted_sequence(static_cast<double>(request->first_sequence()));
    return Answer();
  }
  grpc::Status EstimateHypergradient(grpc::ServerContext*, const v1::EstimateHypergradientRequest*,
                                     v1::EstimateHypergradientResponse* response) override {
    response->mutable_estimate()->set_objective(0.5);
    return Answer();
  }
  grpc::Status DownloadPolicy(grpc::ServerContext*, const v1::GetPolicyRequest*,
                              grpc::ServerWriter<v1::PolicyChunk>* writer) override {
    if (const grpc::Status status = Answer(); !status.ok()) return status;
    const std::string bytes = Policy().SerializeAsString();
    for (std::size_t at = 0; at < bytes.size(); at += static_cast<std::size_t>(chunk)) {
      if (lose_a_chunk && at == static_cast<std::size_t>(chunk)) continue;
      v1::PolicyChunk message;
      message.set_total_bytes(static_cast<double>(bytes.size()));
      message.set_offset(static_cast<double>(at));
      message.set_data(bytes.substr(at, static_cast<std::size_t>(chunk)));
      writer->Write(message);
    }
    return grpc::Status::OK;
  }

  static v1::GetPolicyResponse Policy() {
    v1::GetPolicyResponse policy;
    policy.set_version(7);
    *policy.add_contexts()->mutable_policy() = MakeArray(std::vector<double>(10'000, 0.25), {2500, 4});
    return policy;
  }

 private:
  grpc::Status Answer() {
    ++calls;
    return failures-- > 0 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "not now") : grpc::Status::OK;
  }
};

class SessionCallsTest : public ::testing::Test {
 protected:
  SessionCallsTest() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&sessions_);
    server_ = builder.BuildAndStart();
    client_ = BilevelClient::Connect(absl::StrCat("127.0.0.1:", port)).value();
  }

  FakeSessions sessions_;
  std::unique_ptr<grpc::Server> server_;
  std::optional<BilevelClient> client_;
};

TEST_F(SessionCallsTest, EachCallArrivesAndIsAnswered) {
  v1::CreateSessionRequest create;
  create.set_session_id("town");
  EXPECT_EQ(client_->CreateSession(create)->name(), "sessions/town");
  v1::GetSessionRequest get;
  get.set_name("sessions/town");
  EXPECT_EQ(client_->GetSession(get)->name(), "sessions/town");
  EXPECT_EQ(client_->ListSessions()->sessions_size(), 1);
  EXPECT_EQ(client_->GetPolicy({})->version(), 3);
  v1::SetParametersRequest set;
  *set.mutable_parameters() = MakeArray(std::vector<double>{1, 2});
  EXPECT_EQ(ToVector(client_->SetParameters(set)->parameters())->size(), 2);
  v1::AddPreferencesRequest preferences;
  preferences.set_first_sequence(5);
  EXPECT_EQ(client_->AddPreferences(preferences)->accepted_sequence(), 5);
  EXPECT_EQ(client_->EstimateHypergradient({})->estimate().objective(), 0.5);
  EXPECT_TRUE(client_->DeleteSession({}).ok());
  EXPECT_EQ(sessions_.calls, 8);
}

TEST_F(SessionCallsTest, WhatMayBeRepeatedIs) {
  sessions_.failures = 1;
  EXPECT_TRUE(client_->GetSession({}).ok());
  sessions_.failures = 1;
  EXPECT_TRUE(client_->DownloadPolicy({}).ok());
  sessions_.failures = 1;
  EXPECT_TRUE(client_->AddPreferences({}).ok());
  EXPECT_EQ(sessions_.calls, 6);
}

TEST_F(SessionCallsTest, WhatMightTakeEffectTwiceIsNot) {
  sessions_.failures = 1;
  EXPECT_EQ(client_->CreateSession({}).status().code(), absl::StatusCode::kUnavailable);
  sessions_.failures = 1;
  EXPECT_EQ(client_->SetParameters({}).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(sessions_.calls, 2);
}

TEST_F(SessionCallsTest, PutsThePolicyTogether) {
  const absl::StatusOr<v1::GetPolicyResponse> policy = client_->DownloadPolicy({});
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(policy->SerializeAsString(), FakeSessions::Policy().SerializeAsString());
}

TEST_F(SessionCallsTest, AMissingChunkIsAnError) {
  sessions_.lose_a_chunk = true;
  EXPECT_EQ(client_->DownloadPolicy({}).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace bilevel::client
