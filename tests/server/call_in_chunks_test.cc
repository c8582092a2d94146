// CallInChunks over loopback: the bytes of the call itself, however large, and bad chunks.

#include <gmock/gmock.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "client/array.h"
#include "client/bilevel_client.h"
#include "client/problems/four_rooms.h"
#include "client/problems/policy_matching.h"
#include "client/problems/two_state.h"
#include "server/convert/parsed_size.h"
#include "server/cost_estimate.h"
#include "server/reasons.h"
#include "tests/server/loopback.h"
#include "tests/server/requests.h"

namespace bilevel::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;

constexpr size_t kMebibyte = 1 << 20;

std::vector<v1::CallChunk> Cut(const std::string& method, const std::string& bytes, size_t piece = kMebibyte) {
  std::vector<v1::CallChunk> chunks;
  for (size_t at = 0; at == 0 || at < bytes.size(); at += piece)
    chunks.emplace_back().set_data(bytes.substr(at, piece));
  chunks[0].set_method(method);
  chunks[0].set_total_bytes(bytes.size());
  return chunks;
}

struct Answer {
  grpc::Status status;
  std::vector<std::string> messages;
};

Answer Send(v1::SolverService::Stub& stub, const std::vector<v1::CallChunk>& chunks,
            milliseconds deadline = seconds(60)) {
  grpc::ClientContext context;
  SetDeadline(context, deadline);
  const auto stream = stub.CallInChunks(&context);
  for (const v1::CallChunk& chunk : chunks) {
    if (!stream->Write(chunk)) break;
  }
  stream->WritesDone();
  Answer answer;
  size_t left = 0;
  for (v1::CallChunk chunk; stream->Read(&chunk);) {
    EXPECT_LE(chunk.data().size(), kMebibyte);
    EXPECT_EQ(chunk.method(), "");
    if (left == 0) {
      answer.messages.emplace_back();
      left = chunk.total_bytes();
    } else {
      EXPECT_EQ(chunk.total_bytes(), 0u) << "of the first chunk alone";
    }
    EXPECT_LE(chunk.data().size(), left);
    left -= chunk.data().size();
    answer.messages.back() += chunk.data();
  }
  EXPECT_EQ(left, 0u);
  answer.status = stream->Finish();
  return answer;
}

template <typename Message>
std::string WithoutRunInfo(Message message) {
  message.clear_run_info();
  return message.SerializeAsString();
}

v1::EvaluateHypergradientRequest TwoStates() {
  v1::EvaluateHypergradientRequest request;
  *request.mutable_problem() = client::TwoState();
  return request;
}

bool WaitFor(const std::function<bool()>& condition, milliseconds limit = seconds(5)) {
  const auto end = Clock::now() + limit;
  while (!condition()) {
    if (Clock::now() > end) return false;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return true;
}

template <typename Response, typename Request, typename Method>
void ExpectSame(Loopback& loopback, const std::string& name, Method method, const Request& request) {
  SCOPED_TRACE(name);
  grpc::ClientContext context;
  Response whole;
  ASSERT_TRUE((loopback.stub().*method)(&context, request, &whole).ok());
  for (const size_t piece : {kMebibyte, size_t{97}}) {
    const Answer answer = Send(loopback.stub(), Cut(name, request.SerializeAsString(), piece));
    ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
    ASSERT_EQ(answer.messages.size(), 1u);
    Response response;
    ASSERT_TRUE(response.ParseFromString(answer.messages[0]));
    EXPECT_TRUE(response.has_run_info());
    EXPECT_TRUE(WithoutRunInfo(response) == WithoutRunInfo(whole));
  }
}

TEST(CallInChunks, AnswersAsTheCallItselfToTheBit) {
  Loopback loopback;
  using Stub = v1::SolverService::Stub;
  v1::SolveLowerLevelRequest solve;
  *solve.mutable_problem() = client::FourRooms();
  solve.set_return_q(true);
  ExpectSame<v1::SolveLowerLevelResponse>(loopback, "SolveLowerLevel", &Stub::SolveLowerLevel, solve);
  v1::EvaluateHypergradientRequest evaluate;
  *evaluate.mutable_problem() = client::FourRooms();
  evaluate.set_return_policies(true);
  ExpectSame<v1::EvaluateHypergradientResponse>(loopback, "EvaluateHypergradient", &Stub::EvaluateHypergradient,
                                                evaluate);
  evaluate.set_validate_only(true);
  ExpectSame<v1::EvaluateHypergradientResponse>(loopback, "EvaluateHypergradient", &Stub::EvaluateHypergradient,
                                                evaluate);
  v1::PullbackRequest pullback;
  *pullback.mutable_problem() = client::TwoState();
  *pullback.add_cotangents()->mutable_value() = client::MakeArray(std::vector<double>{1, 2});
  pullback.set_return_transition_gradient(true);
  ExpectSame<v1::PullbackResponse>(loopback, "Pullback", &Stub::Pullback, pullback);
  v1::CheckGradientRequest check;
  *check.mutable_problem() = client::TwoState();
  ExpectSame<v1::CheckGradientResponse>(loopback, "CheckGradient", &Stub::CheckGradient, check);
}

TEST(CallInChunks, OptimizeBringsItsEventsOneAfterTheOther) {
  Loopback loopback;
  v1::OptimizeRequest request = EndlessRequest();
  request.mutable_m_sobirl()->set_step_size(0.1);
  request.set_max_iterations(300);
  request.set_progress_every(1);
  grpc::ClientContext context;
  const auto reader = loopback.stub().Optimize(&context, request);
  v1::OptimizeEvent whole;
  while (reader->Read(&whole)) {
  }
  ASSERT_TRUE(reader->Finish().ok());
  const Answer answer = Send(loopback.stub(), Cut("Optimize", request.SerializeAsString()));
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  ASSERT_GT(answer.messages.size(), 1u);
  int iteration = -1;
  for (size_t i = 0; i < answer.messages.size(); ++i) {
    v1::OptimizeEvent event;
    ASSERT_TRUE(event.ParseFromString(answer.messages[i]));
    if (i + 1 < answer.messages.size()) {
      ASSERT_TRUE(event.has_progress());
      EXPECT_GT(event.progress().iteration(), iteration);
      iteration = event.progress().iteration();
    } else {
      ASSERT_TRUE(event.has_result());
      EXPECT_TRUE(WithoutRunInfo(event.result()) == WithoutRunInfo(whole.result()));
    }
  }
}

// A walk on a ring with a jump from every state and action: `states` of 4 actions.
client::EnvironmentBytes Ring(int states, std::vector<uint64_t>& offsets, std::vector<uint32_t>& columns,
                              std::vector<double>& probabilities) {
  const auto S = static_cast<uint32_t>(states);
  offsets = {0};
  for (uint32_t s = 0; s < S; ++s) {
    for (uint32_t a = 0; a < 4; ++a) {
      const uint32_t next = (s + 1 + a) % S, jump = (s * 7919 + 31 * a + 5) % S;
      const bool one = next == jump;
      columns.push_back(std::min(next, jump));
      if (!one) columns.push_back(std::max(next, jump));
      probabilities.insert(probabilities.end(), one ? 1 : 2, one ? 1.0 : 0.5);
      offsets.push_back(columns.size());
    }
  }
  return client::EnvironmentBytes::Create({.num_states = states,
                                           .num_actions = 4,
                                           .offsets = offsets,
                                           .columns = columns,
                                           .probabilities = probabilities,
                                           .probabilities_f32 = {},
                                           .termination = {},
                                           .initial = {},
                                           .available = {}})
      .value();
}

// Larger than one message, both ways; the answer is that of a server which takes it in one.
TEST(CallInChunks, TheClientTakesThemByItself) {
  constexpr int kStates = 200'000, kActions = 4;
  std::vector<uint64_t> offsets;
  std::vector<uint32_t> columns;
  std::vector<double> probabilities;
  const client::EnvironmentBytes bytes = Ring(kStates, offsets, columns, probabilities);
  std::vector<double> reward(kStates * kActions);
  for (size_t i = 0; i < reward.size(); ++i) reward[i] = std::sin(0.37 * static_cast<double>(i));
  v1::EvaluateHypergradientRequest request;
  v1::Problem& problem = *request.mutable_problem();
  problem.set_num_parameters(1);
  problem.set_sense(v1::SENSE_MINIMIZE);
  v1::Context& context = *problem.add_contexts();
  context.set_discount(0.8);
  context.set_temperature(0.5);
  *context.mutable_reward()->mutable_base() = client::MakeArray(reward, {kStates, kActions});
  v1::SparseMatrix& features = *context.mutable_reward()->mutable_features()->mutable_sparse();
  features.set_rows(kStates * kActions);
  features.set_cols(1);
  std::vector<uint64_t> rows(kStates * kActions + 1, 1);
  rows[0] = 0;
  *features.mutable_offsets() = client::MakeArray(rows);
  *features.mutable_columns() = client::MakeArray(std::vector<uint32_t>{0});
  *features.mutable_values() = client::MakeArray(std::vector<double>{1});
  context.add_objective()->mutable_separable();
  request.set_return_policies(true);

  ServerOptions options = LoopbackOptions();
  options.dispatcher.memory_budget = 3e9;
  Loopback usual(options);
  options.dispatcher.limits.message_bytes = 64 << 20;
  Loopback large(options);
  std::vector<std::string> answers;
  for (Loopback* loopback : {&usual, &large}) {
    const auto client = client::BilevelClient::Connect(loopback->server().address()).value();
    const auto uploaded = client.UploadEnvironment(bytes);
    ASSERT_TRUE(uploaded.ok()) << uploaded.status();
    context.set_environment_name(uploaded->environment().name());
    ASSERT_GT(request.ByteSizeLong(), 12u << 20);
    v1::EvaluateHypergradientResponse response;
    if (loopback == &usual) {
      auto answer = client.EvaluateHypergradient(request);
      ASSERT_TRUE(answer.ok()) << answer.status();
      response = *std::move(answer);
    } else {
      grpc::ChannelArguments arguments;
      arguments.SetMaxReceiveMessageSize(-1);
      const auto stub = v1::SolverService::NewStub(
          grpc::CreateCustomChannel(loopback->server().address(), grpc::InsecureChannelCredentials(), arguments));
      grpc::ClientContext call;
      const grpc::Status status = stub->EvaluateHypergradient(&call, request, &response);
      ASSERT_TRUE(status.ok()) << status.error_message();
    }
    EXPECT_EQ(client::ToVector(response.points(0).contexts(0).policy())->size(), 800'000u);
    answers.push_back(WithoutRunInfo(response));
  }
  EXPECT_GT(answers[0].size(), 6u << 20);
  EXPECT_TRUE(answers[0] == answers[1]);
}

// A small request with a large answer: the refusal of the call itself says what to do, and the client does it.
TEST(CallInChunks, AnAnswerThatIsTooLargeForOneMessageNamesIt) {
  Loopback loopback;
  v1::EvaluateHypergradientRequest request = TwoStates();
  *request.mutable_parameters() = client::MakeArray(std::vector<double>(10'000), {10'000, 1});
  grpc::ClientContext context;
  v1::EvaluateHypergradientResponse response;
  const grpc::Status refused = loopback.stub().EvaluateHypergradient(&context, request, &response);
  EXPECT_EQ(DetailsOf(refused).info.reason(), reasons::kResponseTooLarge);
  EXPECT_THAT(refused.error_message(), HasSubstr("call it by CallInChunks, or ask for fewer"));
  const auto client = client::BilevelClient::Connect(loopback.server().address()).value();
  const auto answer = client.EvaluateHypergradient(request);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->points_size(), 10'000);

  v1::OptimizeRequest optimize;
  *optimize.mutable_problem() = client::TwoState();
  optimize.mutable_problem()->set_num_parameters(2'147'483'647);
  auto stream = client.Optimize(optimize);
  const absl::Status beyond = (*stream.begin()).status();
  EXPECT_THAT(std::string(beyond.message()), HasSubstr("and chunks can bring 2147483647; ask for fewer"));
}

TEST(CallInChunks, TheClientOptimisesInThemToo) {
  ServerOptions options = LoopbackOptions();
  options.dispatcher.limits.message_bytes = 80'000;
  Loopback loopback(options);
  v1::OptimizeRequest request = EndlessRequest();
  request.mutable_m_sobirl()->set_step_size(0.1);
  request.set_max_iterations(2000);
  request.set_progress_every(100);
  request.set_return_history(true);  // 96 kB
  const auto client = client::BilevelClient::Connect(loopback.server().address()).value();
  int results = 0;
  auto stream = client.Optimize(request);
  for (const auto& event : stream) {
    ASSERT_TRUE(event.ok()) << event.status();
    if (event->has_result()) {
      ++results;
      EXPECT_EQ(event->result().iterations(), 2000);
    }
  }
  EXPECT_EQ(results, 1);
}

TEST(CallInChunks, BadChunksAreNamed) {
  Loopback loopback;
  const std::string bytes = TwoStates().SerializeAsString();
  struct Case {
    std::string name;
    std::function<void(std::vector<v1::CallChunk>&)> spoil;
    std::string path, text;
  };
  const std::vector<Case> cases = {
      {"nothing", [](auto& c) { c.clear(); }, "method", "is absent"},
      {"no method", [](auto& c) { c[0].clear_method(); }, "method", "is absent; the first chunk must name"},
      {"unknown method", [](auto& c) { c[0].set_method("ListMethods"); }, "method", "is \"ListMethods\"; the first"},
      {"method again", [](auto& c) { c[1].set_method("Pullback"); }, "method", "is \"Pullback\" in a later chunk"},
      {"size again", [](auto& c) { c[1].set_total_bytes(1); }, "total_bytes", "is 1 in a later chunk"},
      {"too large", [](auto& c) { c[0].set_total_bytes(1ull << 31); }, "total_bytes",
       "is 2147483648; at most 2147483647"},
      {"far too large", [](auto& c) { c[0].set_total_bytes(~0ull); }, "total_bytes", "is 18446744073709551615"},
      {"fewer bytes", [](auto& c) { c.pop_back(); }, "total_bytes", "bytes came"},
      {"no bytes", [](auto& c) { c.resize(1), c[0].clear_data(); }, "total_bytes", "and 0 bytes came"},
      {"more bytes",
       [](auto& c) {
         c.push_back(c.back());
         c.back().clear_method();
       },
       "data", "and total_bytes is"},
      {"no size", [](auto& c) { c[0].clear_total_bytes(); }, "data", "and total_bytes is 0"},
      {"large chunk",
       [](auto& c) {
         c[0].set_total_bytes(2 * kMebibyte);
         c[0].set_data(std::string(kMebibyte + 1, 'x'));
       },
       "data", "has 1048577 bytes; at most 1048576"},
      {"large later chunk",
       [](auto& c) {
         c[0].set_total_bytes(2 * kMebibyte);
         c[1].set_data(std::string(kMebibyte + 1, 'x'));
       },
       "data", "has 1048577 bytes; at most 1048576"},
      {"garbage",
       [](auto& c) {
         c.resize(1);
         c[0].set_total_bytes(1000);
         c[0].set_data(std::string(1000, '\xff'));
       },
       "data", "is not a bilevel.v1.EvaluateHypergradientRequest"},
      {"a cut message",
       [](auto& c) {
         c[0].set_total_bytes(c[0].data().size());
         c.resize(1);
       },
       "data", "bytes that do not parse"},
      {"a part that is shorter than it says",
       [](auto& c) {
         c.resize(1);
         c[0].set_data("\x0a\x05xx");
         c[0].set_total_bytes(4);
       },
       "data", "4 bytes that do not parse"},
      {"nothing in it",
       [](auto& c) {
         c.resize(1);
         c[0].clear_total_bytes();
         c[0].clear_data();
       },
       "problem.num_parameters", "is 0"},
      {"another message", [](auto& c) { c[0].set_method("Pullback"); }, "", ""},
  };
  for (const Case& bad : cases) {
    SCOPED_TRACE(bad.name);
    std::vector<v1::CallChunk> chunks = Cut("EvaluateHypergradient", bytes, bytes.size() / 3);
    ASSERT_GE(chunks.size(), 3u);
    bad.spoil(chunks);
    const Answer answer = Send(loopback.stub(), chunks);
    EXPECT_TRUE(answer.messages.empty() || bad.path.empty());
    if (bad.path.empty()) continue;  // whatever it means there, the server lives
    EXPECT_EQ(answer.status.error_code(), kInvalid) << answer.status.error_message();
    const ErrorDetails details = DetailsOf(answer.status);
    EXPECT_EQ(details.info.reason(), reasons::kInvalidField);
    ASSERT_EQ(details.bad_request.field_violations_size(), 1);
    EXPECT_EQ(details.bad_request.field_violations(0).field(), bad.path);
    EXPECT_THAT(details.bad_request.field_violations(0).description(), HasSubstr(bad.text));
  }
  EXPECT_TRUE(Send(loopback.stub(), Cut("EvaluateHypergradient", bytes)).status.ok());
}

TEST(CallInChunks, ErrorsAreThoseOfTheCall) {
  Loopback loopback;
  v1::EvaluateHypergradientRequest request = TwoStates();
  request.mutable_problem()->mutable_contexts(0)->set_discount(1.5);
  grpc::ClientContext context;
  v1::EvaluateHypergradientResponse response;
  const grpc::Status whole = loopback.stub().EvaluateHypergradient(&context, request, &response);
  const Answer answer = Send(loopback.stub(), Cut("EvaluateHypergradient", request.SerializeAsString()));
  EXPECT_EQ(answer.status.error_code(), kInvalid);
  EXPECT_EQ(answer.status.error_message(), whole.error_message());
  EXPECT_EQ(answer.status.error_details(), whole.error_details());
}

// A server with so little memory that a request of 4 MB has to have all of it: whatever stays reserved shows.
class SmallBudgetTest : public ::testing::Test {
 protected:
  static constexpr size_t kTotal = 4'000'000;

  static ServerOptions Options() {
    ServerOptions options = LoopbackOptions();
    options.dispatcher.memory_budget = LeastBytes(kTotal) + 0.5 * kTotal;
    return options;
  }

  // Two states, and x of half a million zeros that it does not ask for.
  static std::string Bytes() {
    v1::EvaluateHypergradientRequest request = TwoStates();
    v1::Array& label = *request.mutable_warm_start()->add_contexts()->mutable_value();
    label.set_raw(std::string(kTotal - 1000, '\0'));
    return request.SerializeAsString();
  }

  // Once nothing is reserved any more, the server gets as far as what is wrong with it.
  bool AllIsFree() {
    return WaitFor(
        [&] { return Send(loopback_.stub(), Cut("EvaluateHypergradient", Bytes())).status.error_code() == kInvalid; });
  }

  Loopback loopback_{Options()};
};

TEST_F(SmallBudgetTest, WhatCannotFitIsRefusedBeforeItComes) {
  std::vector<v1::CallChunk> chunks = Cut("Pullback", std::string());
  chunks[0].set_total_bytes(kTotal + kTotal / 4);
  grpc::ClientContext context;
  SetDeadline(context, seconds(20));
  const auto stream = loopback_.stub().CallInChunks(&context);
  stream->Write(chunks[0]);
  v1::CallChunk none;
  EXPECT_FALSE(stream->Read(&none)) << "although the request has not ended";
  const grpc::Status refused = stream->Finish();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(DetailsOf(refused).info.reason(), reasons::kMemoryBudgetExceeded);
  EXPECT_TRUE(AllIsFree());
}

TEST_F(SmallBudgetTest, WhatIsAnnouncedIsReservedUntilTheCallEnds) {
  const std::vector<v1::CallChunk> chunks = Cut("EvaluateHypergradient", Bytes());
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReaderWriter<v1::CallChunk, v1::CallChunk>>> streams;
  const auto busy = [&] {
    return DetailsOf(Send(loopback_.stub(), chunks).status).info.reason() == reasons::kMemoryBusy;
  };
  for (int i = 0; i < 4; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    streams.push_back(loopback_.stub().CallInChunks(contexts.back().get()));
    ASSERT_TRUE(streams.back()->Write(chunks[0]));
    if (i % 2 == 0) {
      ASSERT_TRUE(streams.back()->Write(chunks[1]));
    }
  }
  EXPECT_TRUE(WaitFor(busy)) << "four times 4 MB of 19";
  for (const auto& context : contexts) context->TryCancel();
  for (const auto& stream : streams) EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(AllIsFree());
}

TEST_F(SmallBudgetTest, NothingStaysOfBadCalls) {
  for (int round = 0; round < 6; ++round) {
    std::vector<v1::CallChunk> chunks = Cut("EvaluateHypergradient", Bytes());
    if (round % 3 == 0) chunks.pop_back();
    if (round % 3 == 1) chunks.push_back(chunks[1]);
    if (round % 3 == 2) chunks[2].set_data(std::string(kMebibyte, '\xff'));
    Send(loopback_.stub(), chunks);
  }
  EXPECT_TRUE(AllIsFree());
}

// Contexts that say nothing have 2 bytes each on the wire, and hundreds once they are parsed.
TEST_F(SmallBudgetTest, SmallBytesThatBecomeMuchAreRefusedBeforeTheyAreParsed) {
  v1::Problem problem;
  for (int i = 0; i < 1'000'000; ++i) problem.add_contexts();
  v1::EvaluateHypergradientRequest request;
  *request.mutable_problem() = problem;
  const std::string bytes = request.SerializeAsString();
  ASSERT_LT(bytes.size(), kTotal);
  google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  EXPECT_GT(ParsedBytes(v1::EvaluateHypergradientRequest(), &stream), 1e8);
  const Answer answer = Send(loopback_.stub(), Cut("EvaluateHypergradient", bytes));
  EXPECT_EQ(DetailsOf(answer.status).info.reason(), reasons::kMemoryBudgetExceeded) << answer.status.error_message();
  EXPECT_TRUE(AllIsFree());
}

// Over a connection of its own, whose window does not grow until a whole answer is under way to who does not read it.
std::unique_ptr<v1::SolverService::Stub> StubWithNarrowWindow(Loopback& loopback) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return v1::SolverService::NewStub(
      grpc::CreateCustomChannel(loopback.server().address(), grpc::InsecureChannelCredentials(), arguments));
}

// Their answer is several chunks.
constexpr int kManyPoints = 15'000;

// A caller that does not read holds its answer, and that alone.
TEST(CallInChunks, AnAnswerIsInTheBudgetUntilItIsSent) {
  v1::EvaluateHypergradientRequest request = TwoStates();
  *request.mutable_parameters() = client::MakeArray(std::vector<double>(kManyPoints), {kManyPoints, 1});
  Limits limits;
  limits.in_chunks = true;
  const Cost cost = EstimateCost(request, limits).value();
  ServerOptions options = LoopbackOptions();
  options.dispatcher.memory_budget = cost.bytes + 1e6;
  Loopback loopback(options);
  const std::vector<v1::CallChunk> chunks = Cut("EvaluateHypergradient", request.SerializeAsString());
  const auto reason = [&](int points) {
    *request.mutable_parameters() = client::MakeArray(std::vector<double>(static_cast<size_t>(points)), {points, 1});
    return DetailsOf(Send(loopback.stub(), Cut("EvaluateHypergradient", request.SerializeAsString())).status)
        .info.reason();
  };
  grpc::ClientContext context;
  const auto stub = StubWithNarrowWindow(loopback);
  const auto slow = stub->CallInChunks(&context);
  slow->WriteLast(chunks[0], {});
  v1::CallChunk chunk;
  ASSERT_TRUE(slow->Read(&chunk));
  ASSERT_GT(chunk.total_bytes(), 3u << 20);
  EXPECT_EQ(reason(kManyPoints), reasons::kMemoryBusy);
  EXPECT_EQ(reason(kManyPoints / 4), "") << "what the work held is free";
  while (slow->Read(&chunk)) {
  }
  EXPECT_TRUE(slow->Finish().ok());
  EXPECT_TRUE(WaitFor([&] { return reason(kManyPoints).empty(); }));
}

// Half a second without a chunk is late here.
TEST(CallInChunks, WhoDoesNotReadHoldsAnAnswerUntilSomebodyNeedsTheMemory) {
  v1::EvaluateHypergradientRequest request = TwoStates();
  *request.mutable_parameters() = client::MakeArray(std::vector<double>(kManyPoints), {kManyPoints, 1});
  Limits limits;
  limits.in_chunks = true;
  ServerOptions options = LoopbackOptions();
  options.dispatcher.memory_budget = EstimateCost(request, limits).value().bytes + 1e6;
  options.pace = {.idle = milliseconds(500), .bytes_per_second = 1};
  Loopback loopback(options);
  const std::vector<v1::CallChunk> chunks = Cut("EvaluateHypergradient", request.SerializeAsString());
  grpc::ClientContext context;
  const auto stub = StubWithNarrowWindow(loopback);
  const auto slow = stub->CallInChunks(&context);
  slow->WriteLast(chunks[0], {});
  v1::CallChunk chunk;
  ASSERT_TRUE(slow->Read(&chunk));
  EXPECT_TRUE(WaitFor([&] { return Send(loopback.stub(), chunks).status.ok(); }, seconds(20)));
  while (slow->Read(&chunk)) {
  }
  EXPECT_EQ(slow->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

// A ring whose factorisation is much larger than all that is known of it.
v1::EvaluateHypergradientRequest DenseRing() {
  constexpr int kStates = 600;
  v1::EvaluateHypergradientRequest request;
  v1::Problem& problem = *request.mutable_problem();
  problem.set_num_parameters(1);
  problem.set_sense(v1::SENSE_MINIMIZE);
  v1::Context& context = *problem.add_contexts();
  context.set_discount(0.9);
  context.set_temperature(1);
  std::vector<uint64_t> offsets = {0};
  std::vector<uint32_t> columns;
  for (uint32_t s = 0; s < kStates; ++s) {
    columns.push_back((s + 1) % kStates);
    offsets.push_back(columns.size());
  }
  v1::Environment& environment = *context.mutable_environment();
  environment.set_num_states(kStates);
  environment.set_num_actions(1);
  v1::SparseMatrix& sparse = *environment.mutable_transitions()->mutable_sparse();
  sparse.set_rows(kStates);
  sparse.set_cols(kStates);
  *sparse.mutable_offsets() = client::MakeArray(offsets);
  *sparse.mutable_columns() = client::MakeArray(columns);
  *sparse.mutable_values() = client::MakeArray(std::vector<double>(kStates, 1));
  *context.mutable_reward()->mutable_features()->mutable_dense() = client::MakeArray(std::vector<double>(kStates, 1));
  context.add_objective()->mutable_separable();
  request.mutable_lower_level()->set_method(v1::LOWER_LEVEL_METHOD_NEWTON_DIRECT);
  return request;
}

// Where the memory for a solve is not there, the memory for a check may be, in chunks as in the call itself.
TEST(CallInChunks, ChecksTakeWhatCheckingTakes) {
  v1::EvaluateHypergradientRequest request = DenseRing();
  const double bytes = EstimateCost(request, Limits()).value().bytes;
  ASSERT_GT(bytes, 10e6);
  ServerOptions options = LoopbackOptions();
  options.dispatcher.memory_budget = bytes + 1e6;
  Loopback loopback(options);
  const auto chunks = [&] { return Cut("EvaluateHypergradient", request.SerializeAsString()); };
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReaderWriter<v1::CallChunk, v1::CallChunk>>> streams;
  for (int i = 0; i < 3; ++i) {
    v1::CallChunk announced;
    announced.set_method("Pullback");
    announced.set_total_bytes(static_cast<uint64_t>(bytes / 5));
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    streams.push_back(loopback.stub().CallInChunks(contexts.back().get()));
    ASSERT_TRUE(streams.back()->Write(announced));
  }
  EXPECT_TRUE(
      WaitFor([&] { return DetailsOf(Send(loopback.stub(), chunks()).status).info.reason() == reasons::kMemoryBusy; }));
  request.set_validate_only(true);
  const Answer answer = Send(loopback.stub(), chunks());
  EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
  grpc::ClientContext context;
  v1::EvaluateHypergradientResponse response;
  const grpc::Status whole = loopback.stub().EvaluateHypergradient(&context, request, &response);
  EXPECT_TRUE(whole.ok()) << whole.error_message();
  for (const auto& held : contexts) held->TryCancel();
  for (const auto& stream : streams) stream->Finish();
}

TEST(ParsedBytes, LooksNoFurtherThanItIsTold) {
  v1::OptimizeRequest request;
  for (int i = 0; i < 100'000; ++i) request.mutable_problem()->add_contexts();
  const std::string bytes = request.SerializeAsString();
  const auto scan = [&](const ScanLimits& limits, double* parsed_bytes) {
    google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
    *parsed_bytes = ParsedBytes(request, &stream, limits).value();
    return static_cast<size_t>(stream.ByteCount());
  };
  double all = 0, some = 0;
  EXPECT_EQ(scan({}, &all), bytes.size());
  EXPECT_LT(scan({.most = all / 10}, &some), bytes.size() / 5);
  EXPECT_GT(some, all / 10);
  EXPECT_LT(some, all / 9);
  int asked = 0;
  EXPECT_LT(scan({.abandoned = [&] { return ++asked == 2; }}, &some), bytes.size() / 5);
  EXPECT_EQ(asked, 2);
}

TEST(ParsedBytes, BoundsWhatParsingHoldsByASmallFactor) {
  std::vector<v1::OptimizeRequest> requests(4);
  requests[0] = EndlessRequest();
  *requests[1].mutable_problem() = client::FourRooms();
  *requests[2].mutable_parameters() = client::MakeArray(std::vector<double>(300'000));
  for (int i = 0; i < 3000; ++i) requests[3].mutable_problem()->add_contexts()->add_objective()->set_weight(1);
  for (int i = 0; i < 3000; ++i) requests[3].mutable_parameters()->mutable_values()->add_list(i);
  for (const v1::OptimizeRequest& request : requests) {
    const std::string bytes = request.SerializeAsString();
    google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()), 1000);
    const auto bound = ParsedBytes(v1::OptimizeRequest(), &stream);
    v1::OptimizeRequest parsed;
    ASSERT_TRUE(parsed.ParseFromString(bytes));
    const auto held = static_cast<double>(parsed.SpaceUsedLong());
    ASSERT_TRUE(bound.has_value());
    EXPECT_GE(*bound, held);
    EXPECT_LE(*bound, 5 * held);
  }
}

TEST(ParsedBytes, CountsWhatNobodyKnows) {
  const std::string varints(100'000, '\x08');  // field 1 as a number, with the value 8: a Problem does not know it so
  v1::OptimizeRequest parsed;
  ASSERT_TRUE(parsed.ParseFromString(varints));
  google::protobuf::io::ArrayInputStream stream(varints.data(), static_cast<int>(varints.size()));
  EXPECT_GE(ParsedBytes(parsed, &stream), static_cast<double>(parsed.SpaceUsedLong()));
  for (const std::string& bad :
       {std::string("\x0a\x02\x00\x00", 4), std::string("\x0a\xff\xff\xff\xff\xff", 6), std::string("\x00", 1)}) {
    google::protobuf::io::ArrayInputStream cut(bad.data(), static_cast<int>(bad.size()));
    EXPECT_FALSE(ParsedBytes(v1::OptimizeRequest(), &cut).has_value());
    EXPECT_FALSE(v1::OptimizeRequest().ParseFromString(bad));
  }
}

TEST(CallInChunks, ADeadlineEndsARequestThatDoesNotComeAndASolveThatTakesLong) {
  Loopback loopback;
  std::vector<v1::CallChunk> chunks = Cut("Optimize", EndlessRequest().SerializeAsString());
  const Answer answer = Send(loopback.stub(), chunks, milliseconds(500));
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  v1::OptimizeEvent event;
  ASSERT_TRUE(event.ParseFromString(answer.messages.back()));
  EXPECT_EQ(event.result().termination().reason(), v1::Termination::REASON_TIME_LIMIT);

  grpc::ClientContext context;
  SetDeadline(context, milliseconds(200));
  const auto stream = loopback.stub().CallInChunks(&context);
  chunks[0].set_total_bytes(chunks[0].total_bytes() + 1);
  stream->Write(chunks[0]);
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST(CallInChunks, ACancelledCallFreesItsWorkerAndOneThatWaitsItsPlaceAtOnce) {
  ServerOptions options = LoopbackOptions(1);
  options.dispatcher.queue_length = 1;
  Loopback loopback(options);
  const v1::CallChunk request = Cut("Optimize", EndlessRequest().SerializeAsString())[0];
  v1::CallChunk chunk;
  grpc::ClientContext running_context;
  const auto running = loopback.stub().CallInChunks(&running_context);
  running->WriteLast(request, {});
  ASSERT_TRUE(running->Read(&chunk));
  for (int round = 0; round < 5; ++round) {
    SCOPED_TRACE(round);
    // The client may learn of its deadline a little before the server does.
    EXPECT_TRUE(WaitFor([&] {
      grpc::ClientContext context;
      SetDeadline(context, milliseconds(100));
      const auto waiting = loopback.stub().CallInChunks(&context);
      waiting->WriteLast(request, {});
      EXPECT_FALSE(waiting->Read(&chunk));
      return waiting->Finish().error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
    })) << "must wait, not be refused";
  }
  const auto cancelled = Clock::now();
  running_context.TryCancel();
  EXPECT_TRUE(WaitFor([&] {
    grpc::ClientContext context;
    const auto next = loopback.stub().CallInChunks(&context);
    next->WriteLast(request, {});
    const bool runs = next->Read(&chunk);
    context.TryCancel();
    next->Finish();
    return runs;
  }));
  EXPECT_LT(Clock::now() - cancelled, milliseconds(500));
  EXPECT_EQ(running->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST(CallInChunks, AServerThatStopsReturnsWhatItHasAndWaitsForNoRequest) {
  Loopback loopback;
  grpc::ClientContext half_context, running_context;
  std::vector<v1::CallChunk> chunks = Cut("Optimize", EndlessRequest().SerializeAsString());
  const auto running = loopback.stub().CallInChunks(&running_context);
  running->WriteLast(chunks[0], {});
  v1::CallChunk chunk;
  ASSERT_TRUE(running->Read(&chunk));
  const auto half = loopback.stub().CallInChunks(&half_context);
  chunks[0].set_total_bytes(chunks[0].total_bytes() + 1);
  ASSERT_TRUE(half->Write(chunks[0]));
  const auto began = Clock::now();
  std::thread stop([&] { loopback.server().Shutdown(milliseconds(100)); });
  std::string last;
  while (running->Read(&chunk)) last = chunk.total_bytes() > 0 ? chunk.data() : last + chunk.data();
  EXPECT_TRUE(running->Finish().ok());
  v1::OptimizeEvent event;
  ASSERT_TRUE(event.ParseFromString(last));
  EXPECT_THAT(event.result().termination().detail(), HasSubstr("the server is stopping"));
  EXPECT_FALSE(half->Finish().ok());
  stop.join();
  EXPECT_LT(Clock::now() - began, seconds(4));
}

}  // namespace
}  // namespace bilevel::server
