// The client against a service in the same process: deadlines, retries, streams, errors.

#include "client/bilevel_client.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "bilevel/v1/solver_service.grpc.pb.h"
#include "client/chunk_call.h"

namespace bilevel::client {
namespace {

using std::chrono::milliseconds;

class FakeSolver : public v1::SolverService::Service {
 public:
  grpc::Status ListMethods(grpc::ServerContext*, const v1::ListMethodsRequest*,
                           v1::ListMethodsResponse* response) override {
    ++calls;
    if (failures-- > 0) return {failure_code, "not now"};
    response->set_server_version("fake");
    return grpc::Status::OK;
  }

  // Records how far away the deadline is.
  grpc::Status EvaluateHypergradient(grpc::ServerContext* context, const v1::EvaluateHypergradientRequest*,
                                     v1::EvaluateHypergradientResponse*) override {
    deadline_seconds = std::chrono::duration<double>(context->deadline() - std::chrono::system_clock::now()).count();
    return grpc::Status::OK;
  }

  // `iterations` progress events, then the result; without end when max_iterations is 0.
  grpc::Status Optimize(grpc::ServerContext* context, const v1::OptimizeRequest* request,
                        grpc::ServerWriter<v1::OptimizeEvent>* writer) override {
    for (int i = 1; i <= request->max_iterations() || request->max_iterations() == 0; ++i) {
      if (context->IsCancelled()) {
        cancelled = true;
        return grpc::Status::CANCELLED;
      }
      v1::OptimizeEvent event;
      event.mutable_progress()->set_iteration(i);
      writer->Write(event);
      if (request->max_iterations() == 0) std::this_thread::sleep_for(milliseconds(1));
    }
    if (omit_result) return grpc::Status::OK;
    v1::OptimizeEvent event;
    event.mutable_result()->set_iterations(request->max_iterations());
    writer->Write(event);
    return grpc::Status::OK;
  }

  // Takes a request of Optimize, and answers with `iterations` progress events and the result in chunks of `piece`.
  grpc::Status CallInChunks(grpc::ServerContext* context,
                            grpc::ServerReaderWriter<v1::CallChunk, v1::CallChunk>* stream) override {
    ++chunked_calls;
    deadline_seconds = std::chrono::duration<double>(context->deadline() - std::chrono::system_clock::now()).count();
    if (chunked_failures-- > 0) return {failure_code, "not now"};
    std::string bytes;
    v1::CallChunk chunk;
    for (bool first = true; stream->Read(&chunk); first = false) {
      if (first != !chunk.method().empty()) return {grpc::StatusCode::INVALID_ARGUMENT, "method"};
      if (first) total_bytes = chunk.total_bytes();
      bytes += chunk.data();
    }
    v1::OptimizeRequest request;
    if (bytes.size() != total_bytes || !request.ParseFromString(bytes)) return {grpc::StatusCode::DATA_LOSS, "bytes"};
    for (int i = 1; i <= request.max_iterations() + 1 || request.max_iterations() == 0; ++i) {
      if (context->IsCancelled()) {
        cancelled = true;
        return grpc::Status::CANCELLED;
      }
      v1::OptimizeEvent event;
      if (i <= request.max_iterations() || request.max_iterations() == 0) {
        event.mutable_progress()->set_iteration(i);
      } else {
        event.mutable_result()->set_method("fake");
      }
      const std::string message = event.SerializeAsString();
      chunk.Clear();
      chunk.set_total_bytes(message.size() + omit_result);
      chunk.set_data(message.substr(0, 1));
      stream->Write(chunk);
      chunk.Clear();
      chunk.set_data(message.substr(1));
      stream->Write(chunk);
      if (request.max_iterations() == 0) std::this_thread::sleep_for(milliseconds(1));
    }
    return grpc::Status::OK;
  }

  std::atomic<int> chunked_calls = 0;
  std::atomic<int> chunked_failures = 0;
  std::atomic<size_t> total_bytes = 0;
  std::atomic<int> calls = 0;
  std::atomic<int> failures = 0;
  std::atomic<grpc::StatusCode> failure_code = grpc::StatusCode::UNAVAILABLE;
  std::atomic<double> deadline_seconds = 0.0;
  std::atomic<bool> cancelled = false;
  std::atomic<bool> omit_result = false;
};

class BilevelClientTest : public testing::Test {
 protected:
  BilevelClientTest() {
    grpc::EnableDefaultHealthCheckService(true);
    StartServer(kMaxMessageBytes);
  }

  void StartServer(int max_message_bytes) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&solver_);
    builder.SetMaxReceiveMessageSize(max_message_bytes);
    server_ = builder.BuildAndStart();
  }

  BilevelClient Client(const ClientOptions& options = {}) const {
    return BilevelClient::Connect("127.0.0.1:" + std::to_string(port_), options).value();
  }

  FakeSolver solver_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(BilevelClientTest, RetriesUnavailable) {
  solver_.failures = 2;
  const auto response = Client().ListMethods();
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(solver_.calls, 3);
}

TEST_F(BilevelClientTest, RetriesNothingElse) {
  solver_.failures = 1;
  solver_.failure_code = grpc::StatusCode::RESOURCE_EXHAUSTED;
  EXPECT_EQ(Client().ListMethods().status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(solver_.calls, 1);
}

TEST_F(BilevelClientTest, OneAttemptMeansNoRetry) {
  solver_.failures = 1;
  EXPECT_EQ(Client({.max_attempts = 1}).ListMethods().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(solver_.calls, 1);
}

TEST_F(BilevelClientTest, EveryCallHasADeadline) {
  const BilevelClient client = Client();
  v1::EvaluateHypergradientRequest request;
  ASSERT_TRUE(client.EvaluateHypergradient(request).ok());
  EXPECT_NEAR(solver_.deadline_seconds, 60, 5);
  ASSERT_TRUE(client.EvaluateHypergradient(request, {.deadline = std::chrono::seconds(20)}).ok());
  EXPECT_NEAR(solver_.deadline_seconds, 20, 5);
  request.mutable_time_limit()->set_seconds(100);
  ASSERT_TRUE(client.EvaluateHypergradient(request).ok());
  EXPECT_NEAR(solver_.deadline_seconds, 110, 5);
}

TEST_F(BilevelClientTest, NoServerIsUnavailable) {
  server_->Shutdown();
  const auto response = Client({.deadline = std::chrono::seconds(5), .max_attempts = 1}).ListMethods();
  EXPECT_EQ(response.status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(BilevelClientTest, OptionsOutOfRangeAreRefused) {
  EXPECT_FALSE(BilevelClient::Connect("").ok());
  EXPECT_FALSE(BilevelClient::Connect("localhost:1", {.deadline = milliseconds(0)}).ok());
  EXPECT_FALSE(BilevelClient::Connect("localhost:1", {.max_attempts = 6}).ok());
  EXPECT_FALSE(BilevelClient::FromChannel(nullptr).ok());
}

TEST_F(BilevelClientTest, OptimizeIsARangeThatEndsWithTheResult) {
  v1::OptimizeRequest request;
  request.set_max_iterations(3);
  int progress = 0;
  int results = 0;
  for (const auto& event : Client().Optimize(request)) {
    ASSERT_TRUE(event.ok()) << event.status();
    EXPECT_EQ(results, 0);
    progress += event->has_progress();
    results += event->has_result();
  }
  EXPECT_EQ(progress, 3);
  EXPECT_EQ(results, 1);
}

TEST_F(BilevelClientTest, CancelEndsTheRangeWithCancelled) {
  OptimizeStream stream = Client().Optimize(v1::OptimizeRequest());
  absl::Status last;
  for (const auto& event : stream) {
    if (event.ok() && event->progress().iteration() == 2) stream.Cancel();
    last = event.status();
  }
  EXPECT_EQ(last.code(), absl::StatusCode::kCancelled);
}

TEST_F(BilevelClientTest, LeavingTheLoopCancelsTheWork) {
  for (const auto& event : Client().Optimize(v1::OptimizeRequest())) {
    if (event.ok()) break;
  }
  for (int i = 0; i < 1000 && !solver_.cancelled; ++i) std::this_thread::sleep_for(milliseconds(5));
  EXPECT_TRUE(solver_.cancelled);
}

TEST_F(BilevelClientTest, AStreamThatIsNeverReadCancelsTheWork) {
  { const OptimizeStream stream = Client().Optimize(v1::OptimizeRequest()); }
  SUCCEED();  // the destructor returned
}

TEST_F(BilevelClientTest, AnEndWithoutResultIsAnError) {
  solver_.omit_result = true;
  v1::OptimizeRequest request;
  request.set_max_iterations(1);
  absl::Status last;
  for (const auto& event : Client().Optimize(request)) last = event.status();
  EXPECT_EQ(last.code(), absl::StatusCode::kInternal);
}

// Larger than one message, and than what gRPC keeps for a retry.
v1::OptimizeRequest LargeRequest(int max_iterations) {
  v1::OptimizeRequest request;
  request.set_max_iterations(max_iterations);
  request.mutable_parameters()->set_raw(std::string(9 << 20, 'x'));
  return request;
}

TEST_F(BilevelClientTest, LargeRequestsGoInChunksAndAreRetriedAsAnyOther) {
  solver_.chunked_failures = 2;
  const v1::OptimizeRequest request = LargeRequest(3);
  int progress = 0, results = 0;
  for (const auto& event : Client().Optimize(request)) {
    ASSERT_TRUE(event.ok()) << event.status();
    progress += event->has_progress();
    results += event->has_result();
  }
  EXPECT_EQ(progress, 3);
  EXPECT_EQ(results, 1);
  EXPECT_EQ(solver_.total_bytes, request.ByteSizeLong());
  EXPECT_EQ(solver_.chunked_calls, 3);
  EXPECT_NEAR(solver_.deadline_seconds, 3600, 5);
}

TEST_F(BilevelClientTest, ChunksAreRetriedNoMoreThanAnyOther) {
  const auto first = [&](const ClientOptions& options) {
    solver_.chunked_calls = 0;
    solver_.chunked_failures = 9;
    auto stream = Client(options).Optimize(LargeRequest(1));
    return (*stream.begin()).status().code();
  };
  EXPECT_EQ(first({.max_attempts = 1}), absl::StatusCode::kUnavailable);
  EXPECT_EQ(solver_.chunked_calls, 1);
  EXPECT_EQ(first({.max_attempts = 3}), absl::StatusCode::kUnavailable);
  EXPECT_EQ(solver_.chunked_calls, 3);
  // Where time is left for a second attempt, it may as well end at the deadline.
  const absl::StatusCode late = first({.optimize_deadline = milliseconds(150), .max_attempts = 5});
  EXPECT_TRUE(late == absl::StatusCode::kUnavailable || late == absl::StatusCode::kDeadlineExceeded) << late;
  EXPECT_LE(solver_.chunked_calls, 2);
  solver_.failure_code = grpc::StatusCode::RESOURCE_EXHAUSTED;
  EXPECT_EQ(first({}), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(solver_.chunked_calls, 1);
}

TEST_F(BilevelClientTest, WhatAServerOfSmallerMessagesRefusesGoesInChunks) {
  StartServer(2 << 20);
  v1::OptimizeRequest request = LargeRequest(3);
  request.mutable_parameters()->mutable_raw()->resize(3 << 20);
  int events = 0;
  for (const auto& event : Client().Optimize(request)) {
    ASSERT_TRUE(event.ok()) << event.status();
    ++events;
  }
  EXPECT_EQ(events, 4);
  EXPECT_EQ(solver_.chunked_calls, 1);
}

TEST_F(BilevelClientTest, CancelEndsACallInChunksAndItsWork) {
  OptimizeStream stream = Client().Optimize(LargeRequest(0));
  absl::Status last;
  for (const auto& event : stream) {
    if (event.ok() && event->progress().iteration() == 2) stream.Cancel();
    last = event.status();
  }
  EXPECT_EQ(last.code(), absl::StatusCode::kCancelled);
  for (const auto& event : Client().Optimize(LargeRequest(0))) {
    if (event.ok()) break;
  }
  for (int i = 0; i < 1000 && !solver_.cancelled; ++i) std::this_thread::sleep_for(milliseconds(5));
  EXPECT_TRUE(solver_.cancelled);
}

TEST_F(BilevelClientTest, ChunksThatMakeNoAnswerAreDataLoss) {
  solver_.omit_result = true;
  auto stream = Client().Optimize(LargeRequest(1));
  EXPECT_EQ((*stream.begin()).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(BilevelClientTest, HealthIsTheStandardService) {
  EXPECT_EQ(Client().CheckHealth().value(), Health::kServing);
  server_->GetHealthCheckService()->SetServingStatus(false);
  EXPECT_EQ(Client().CheckHealth().value(), Health::kNotServing);
  EXPECT_EQ(Client().CheckHealth("no.such.Service").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace bilevel::client
