// Starting, being found healthy, and stopping without dropping calls.

#include "server/bilevel_server.h"

#include <grpcpp/impl/codegen/client_unary_call.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <array>
#include <chrono>
#include <string>
#include <thread>

#include "client/array.h"
#include "client/bilevel_client.h"
#include "client/problems/policy_matching.h"
#include "client/problems/two_state.h"
#include "tests/server/loopback.h"
#include "tests/server/requests.h"
#include "tests/server/server_process.h"

namespace bilevel::server {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

client::Health HealthOf(Loopback& loopback, const std::string& service) {
  return client::BilevelClient::FromChannel(loopback.channel())->CheckHealth(service).value();
}

TEST(BilevelServer, IsHealthyForTheWholeAndForItsServiceUntilItAnnouncesTheStop) {
  Loopback loopback;
  EXPECT_EQ(HealthOf(loopback, ""), client::Health::kServing);
  EXPECT_EQ(HealthOf(loopback, "bilevel.v1.SolverService"), client::Health::kServing);
  loopback.server().AnnounceStop();
  EXPECT_EQ(HealthOf(loopback, ""), client::Health::kNotServing);
  EXPECT_EQ(HealthOf(loopback, "bilevel.v1.SolverService"), client::Health::kNotServing);
  v1::EvaluateHypergradientRequest request;
  *request.mutable_problem() = client::TwoState();
  v1::EvaluateHypergradientResponse response;
  grpc::ClientContext context;
  EXPECT_TRUE(loopback.stub().EvaluateHypergradient(&context, request, &response).ok()) << "still serves";
}

TEST(BilevelServer, ReflectionListsItsServices) {
  Loopback loopback;
  // ServerReflectionRequest{list_services: ""} by hand: Debian does not package the message.
  const grpc::Slice list_services(std::string("\x3a\x00", 2));
  const grpc::ByteBuffer request(&list_services, 1);
  const grpc::internal::RpcMethod method("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                                         grpc::internal::RpcMethod::BIDI_STREAMING);
  grpc::ClientContext context;
  SetDeadline(context, seconds(10));
  const std::unique_ptr<grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>> stream(
      grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, grpc::ByteBuffer>::Create(loopback.channel().get(),
                                                                                            method, &context));
  ASSERT_TRUE(stream->Write(request));
  stream->WritesDone();
  grpc::ByteBuffer response;
  ASSERT_TRUE(stream->Read(&response));
  grpc::Slice bytes;
  ASSERT_TRUE(response.DumpToSingleSlice(&bytes).ok());
  const std::string text(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
  EXPECT_NE(text.find("bilevel.v1.SolverService"), std::string::npos);
  EXPECT_NE(text.find("grpc.health.v1.Health"), std::string::npos);
}

TEST(BilevelServer, PlaintextBeyondLoopbackNeedsToBeAskedFor) {
  ServerOptions options = LoopbackOptions();
  options.listen = "0.0.0.0:0";
  const auto refused = BilevelServer::Start(options);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(refused.status().ToString().find("--insecure"), std::string::npos);
  options.insecure = true;
  EXPECT_TRUE(BilevelServer::Start(options).ok());
}

TEST(BilevelServer, APortInUseIsAnError) {
  Loopback first;
  ServerOptions options = LoopbackOptions();
  options.listen = first.server().address();
  EXPECT_EQ(BilevelServer::Start(options).status().code(), absl::StatusCode::kUnavailable);
}

TEST(BilevelServer, OptionsOutOfRangeAreRefusedByName) {
  ServerOptions options = LoopbackOptions();
  options.listen = "nowhere";
  EXPECT_NE(BilevelServer::Start(options).status().ToString().find("listen"), std::string::npos);
  options = LoopbackOptions(0);
  EXPECT_NE(BilevelServer::Start(options).status().ToString().find("threads"), std::string::npos);
  options = LoopbackOptions();
  options.dispatcher.memory_budget = 0;
  EXPECT_NE(BilevelServer::Start(options).status().ToString().find("memory_budget"), std::string::npos);
}

TEST(BilevelServer, ShutdownLetsARunningOptimizeReturnWhatItHas) {
  Loopback loopback;
  grpc::ClientContext context;
  v1::OptimizeEvent event;
  const auto reader = loopback.stub().Optimize(&context, EndlessRequest());
  ASSERT_TRUE(reader->Read(&event));
  std::thread stopper([&loopback] { loopback.server().Shutdown(milliseconds(50)); });
  while (reader->Read(&event)) {
  }
  const grpc::Status status = reader->Finish();
  stopper.join();
  EXPECT_TRUE(status.ok()) << status.error_message();
  ASSERT_TRUE(event.has_result());
  EXPECT_EQ(event.result().termination().reason(), v1::Termination::REASON_CANCELLED);
  EXPECT_NE(event.result().termination().detail().find("the server is stopping"), std::string::npos);
}

TEST(BilevelServer, ShutdownWithCallsWaitingInTheQueueEndsThemAll) {
  Loopback loopback(LoopbackOptions(1));
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&loopback] {
      grpc::ClientContext context;
      v1::OptimizeEvent event;
      const auto reader = loopback.stub().Optimize(&context, EndlessRequest());
      while (reader->Read(&event)) {
      }
      const grpc::Status status = reader->Finish();
      EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::UNAVAILABLE) << status.error_message();
    });
  }
  std::this_thread::sleep_for(milliseconds(50));
  const auto begin = Clock::now();
  loopback.server().Shutdown(milliseconds(0));
  EXPECT_LT(Clock::now() - begin, seconds(2));
  for (std::thread& client : clients) client.join();
}

TEST(ServerProgram, SaysWhereItListensTakesFlagsFromTheEnvironmentAndExitsZeroOnSigterm) {
  ServerProcess process("0s");
  EXPECT_EQ(process.line().rfind("bilevel_server listening on 127.0.0.1:", 0), 0u) << process.line();
  const auto client = client::BilevelClient::Connect(process.address());
  EXPECT_EQ(client->ListMethods()->limits().threads(), 1);
  process.Signal(SIGTERM);
  EXPECT_EQ(process.Wait(), 0);
}

TEST(ServerProgram, ServesWhileItDrainsAndASecondSignalCutsThatShort) {
  ServerProcess process("60s");
  const auto client = client::BilevelClient::Connect(process.address());
  EXPECT_EQ(client->CheckHealth().value(), client::Health::kServing);
  process.Signal(SIGINT);
  while (client->CheckHealth().value() == client::Health::kServing) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_TRUE(client->ListMethods().ok());
  process.Signal(SIGTERM);
  EXPECT_EQ(process.Wait(), 0);
}

}  // namespace
}  // namespace bilevel::server
