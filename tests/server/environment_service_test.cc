// EnvironmentService over loopback: uploads, cut and resumed, and problems that name what was uploaded.

#include <gmock/gmock.h>
#include <openssl/evp.h>

#include <algorithm>
#include <future>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bilevel/v1/environment_service.grpc.pb.h"
#include "client/array.h"
#include "client/bilevel_client.h"
#include "client/problems/random.h"
#include "server/dispatcher.h"
#include "server/jobs/refusal.h"
#include "server/reasons.h"
#include "tests/server/loopback.h"

namespace bilevel::server {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;

// A random walk of `length` entries in each row, as arrays and as a message.
struct RandomWalk {
  RandomWalk(int states, int actions, int length, uint64_t seed = 1) : num_states(states), num_actions(actions) {
    client::Random random(seed);
    for (int row = 0; row < states * actions; ++row) {
      for (const int next : random.Distinct(length, states)) {
        columns.push_back(static_cast<uint32_t>(next));
        probabilities.push_back(1.0 / length);
      }
      offsets.push_back(columns.size());
    }
  }

  client::EnvironmentBytes Bytes() const {
    return client::EnvironmentBytes::Create({.num_states = num_states,
                                             .num_actions = num_actions,
                                             .offsets = offsets,
                                             .columns = columns,
                                             .probabilities = probabilities,
                                             .probabilities_f32 = {},
                                             .termination = {},
                                             .initial = {},
                                             .available = {}})
        .value();
  }

  v1::Environment Message() const {
    v1::Environment environment;
    environment.set_num_states(num_states);
    environment.set_num_actions(num_actions);
    v1::SparseMatrix& sparse = *environment.mutable_transitions()->mutable_sparse();
    sparse.set_rows(num_states * num_actions);
    sparse.set_cols(num_states);
    *sparse.mutable_offsets() = client::MakeArray(offsets);
    *sparse.mutable_columns() = client::MakeArray(columns);
    *sparse.mutable_values() = client::MakeArray(probabilities);
    return environment;
  }

  int num_states, num_actions;
  std::vector<uint64_t> offsets = {0};
  std::vector<uint32_t> columns;
  std::vector<double> probabilities;
};

std::string Whole(const client::EnvironmentBytes& bytes) {
  std::string whole(bytes.size(), '\0');
  bytes.Read(0, whole);
  return whole;
}

std::string DigestOf(const std::string& bytes) {
  std::string digest(32, '\0');
  EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(digest.data()), nullptr, EVP_sha256(),
             nullptr);
  return digest;
}

class EnvironmentServiceTest : public ::testing::Test {
 protected:
  struct Answer {
    grpc::Status status;
    v1::UploadEnvironmentResponse response;
  };

  v1::EnvironmentService::Stub& stub() { return *stub_; }
  client::BilevelClient& client() { return client_; }

  // Sends [from, to) in pieces, and the digest where it is given.
  Answer Send(const std::string& id, const std::string& bytes, size_t from, size_t to, const std::string& digest,
              size_t piece = 1000) {
    Answer answer;
    grpc::ClientContext context;
    SetDeadline(context, seconds(20));
    const auto writer = stub_->UploadEnvironment(&context, &answer.response);
    v1::UploadEnvironmentRequest request;
    request.set_upload_id(id);
    do {
      const size_t size = std::min(piece, to - from);
      request.set_offset(from);
      request.set_data(bytes.substr(from, size));
      from += size;
      if (from == to) request.set_sha256(digest);
      if (!writer->Write(request)) break;
      request.clear_upload_id();
    } while (from < to);
    if (digest.empty()) {
      // The server has all of it before the stream breaks.
      while (Offset(id) < to) std::this_thread::yield();
      context.TryCancel();
    } else {
      writer->WritesDone();
    }
    answer.status = writer->Finish();
    return answer;
  }

  size_t Offset(const std::string& id) {
    v1::GetUploadRequest request;
    request.set_upload_id(id);
    const auto upload = client_.GetUpload(request);
    return upload.ok() ? static_cast<size_t>(upload->offset()) : 0;
  }

  std::string Name(const RandomWalk& world) {
    const auto uploaded = client_.UploadEnvironment(world.Bytes());
    EXPECT_TRUE(uploaded.ok()) << uploaded.status();
    return uploaded->environment().name();
  }

  Loopback loopback_;
  std::unique_ptr<v1::EnvironmentService::Stub> stub_ = v1::EnvironmentService::NewStub(loopback_.channel());
  client::BilevelClient client_ = client::BilevelClient::Connect(loopback_.server().address()).value();
};

// min 1/2 |pi|^2 for rewards x on the first rows.
v1::Problem ProblemOn(int num_states, int num_actions) {
  v1::Problem problem;
  problem.set_num_parameters(2);
  problem.set_sense(v1::SENSE_MINIMIZE);
  v1::Context& context = *problem.add_contexts();
  context.set_discount(0.9);
  context.set_temperature(0.5);
  std::vector<double> features(static_cast<size_t>(num_states * num_actions * 2), 0.0);
  features[0] = features[7] = 1;
  *context.mutable_reward()->mutable_features()->mutable_dense() = client::MakeArray(features);
  context.add_objective()->mutable_separable();
  return problem;
}

TEST_F(EnvironmentServiceTest, UploadsListsAndDeletes) {
  const RandomWalk world(50, 2, 3);
  const client::EnvironmentBytes bytes = world.Bytes();
  uint64_t last = 0;
  const auto uploaded = client().UploadEnvironment(bytes, {.progress = [&](uint64_t sent, uint64_t total) {
                                                     EXPECT_GT(sent, last);
                                                     EXPECT_EQ(total, bytes.size());
                                                     last = sent;
                                                   }});
  ASSERT_TRUE(uploaded.ok()) << uploaded.status();
  EXPECT_EQ(last, bytes.size());
  EXPECT_FALSE(uploaded->existed());
  const v1::StoredEnvironment& environment = uploaded->environment();
  EXPECT_EQ(environment.num_states(), 50);
  EXPECT_EQ(environment.num_actions(), 2);
  EXPECT_EQ(environment.num_transitions(), 300);
  EXPECT_EQ(environment.total_bytes(), bytes.size());
  EXPECT_GT(environment.memory_bytes(), 300 * 12);
  EXPECT_GT(environment.create_time().seconds(), 1'000'000'000);

  EXPECT_TRUE(client().UploadEnvironment(bytes)->existed());
  Name(RandomWalk(50, 2, 3, 2));
  const auto list = client().ListEnvironments();
  ASSERT_EQ(list->environments_size(), 2);
  EXPECT_LT(list->environments(0).name(), list->environments(1).name());

  v1::GetEnvironmentRequest get;
  get.set_name(environment.name());
  EXPECT_EQ(client().GetEnvironment(get)->SerializeAsString(), environment.SerializeAsString());
  v1::DeleteEnvironmentRequest gone;
  gone.set_name(environment.name());
  EXPECT_TRUE(client().DeleteEnvironment(gone).ok());
  EXPECT_TRUE(absl::IsNotFound(client().DeleteEnvironment(gone)));
  EXPECT_TRUE(absl::IsNotFound(client().GetEnvironment(get).status()));
}

TEST_F(EnvironmentServiceTest, NamesAreTheDigestOfTheBytes) {
  const RandomWalk world(9, 2, 2);
  const std::string name = Name(world), digest = DigestOf(Whole(world.Bytes()));
  std::string hex;
  for (const unsigned char byte : digest) {
    for (const int digit : {byte >> 4, byte & 15}) hex += "0123456789abcdef"[digit];
  }
  EXPECT_EQ(name, "environments/" + hex);
}

TEST_F(EnvironmentServiceTest, ResumesWhereTheConnectionBroke) {
  const RandomWalk world(100, 2, 3);
  const std::string bytes = Whole(world.Bytes());
  ASSERT_EQ(Send("u", bytes, 0, 3001, "").status.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(Offset("u"), 3001u);
  EXPECT_EQ(Send("u", bytes, 4000, bytes.size(), DigestOf(bytes)).status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(Offset("u"), 3001u) << "the upload stays";
  const Answer answer = Send("u", bytes, 2900, bytes.size(), DigestOf(bytes));
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.response.environment().name(), Name(world));
}

TEST_F(EnvironmentServiceTest, TheClientGoesOnWhereAnEarlierProcessEnded) {
  constexpr size_t kArrived = 3 << 19;
  const RandomWalk world(300, 4, 200);
  const std::string bytes = Whole(world.Bytes());
  ASSERT_GT(bytes.size(), 2u << 20);
  Send("u", bytes, 0, kArrived, "", 1 << 19);
  uint64_t first = 0;
  const auto uploaded = client().UploadEnvironment(
      world.Bytes(),
      {.upload_id = "u", .progress = [&](uint64_t sent, uint64_t) { first = first == 0 ? sent : first; }});
  ASSERT_TRUE(uploaded.ok()) << uploaded.status();
  EXPECT_GT(first, kArrived) << "more than a piece from the start";
  EXPECT_FALSE(uploaded->existed());
}

TEST_F(EnvironmentServiceTest, AnOlderStreamEndsWithAborted) {
  const RandomWalk world(100, 2, 3);
  const std::string bytes = Whole(world.Bytes());
  grpc::ClientContext context;
  v1::UploadEnvironmentResponse response;
  const auto older = stub().UploadEnvironment(&context, &response);
  v1::UploadEnvironmentRequest request;
  request.set_upload_id("u");
  request.set_data(bytes.substr(0, 100));
  ASSERT_TRUE(older->Write(request));
  while (Offset("u") < 100) std::this_thread::yield();
  Send("u", bytes, 100, 200, "");
  request.set_offset(200);
  older->Write(request);
  older->WritesDone();
  EXPECT_EQ(older->Finish().error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(Offset("u"), 200u);
}

TEST_F(EnvironmentServiceTest, AWrongDigestIsDataLoss) {
  const std::string bytes = Whole(RandomWalk(9, 2, 2).Bytes());
  EXPECT_EQ(Send("u", bytes, 0, bytes.size(), std::string(32, 'x')).status.error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_TRUE(client().ListEnvironments()->environments().empty());
  EXPECT_TRUE(Send("u", bytes, 0, bytes.size(), DigestOf(bytes)).status.ok()) << "and may begin again";
}

TEST_F(EnvironmentServiceTest, SolvesByNameAsInlineToTheBit) {
  const RandomWalk world(400, 3, 4);
  v1::EvaluateHypergradientRequest inlined, named;
  *inlined.mutable_problem() = *named.mutable_problem() = ProblemOn(400, 3);
  *inlined.mutable_problem()->mutable_contexts(0)->mutable_environment() = world.Message();
  named.mutable_problem()->mutable_contexts(0)->set_environment_name(Name(world));
  *named.mutable_problem()->add_contexts() = named.problem().contexts(0);
  *inlined.mutable_problem()->add_contexts() = inlined.problem().contexts(0);
  for (auto* request : {&inlined, &named}) request->set_return_policies(true);
  auto a = client().EvaluateHypergradient(inlined), b = client().EvaluateHypergradient(named);
  ASSERT_TRUE(a.ok()) << a.status();
  ASSERT_TRUE(b.ok()) << b.status();
  a->clear_run_info();
  b->clear_run_info();
  EXPECT_EQ(a->SerializeAsString(), b->SerializeAsString());
}

TEST_F(EnvironmentServiceTest, EveryCallKnowsNames) {
  const RandomWalk world(30, 2, 3);
  v1::Problem problem = ProblemOn(30, 2);
  problem.mutable_contexts(0)->set_environment_name(Name(world));
  v1::SolveLowerLevelRequest solve;
  *solve.mutable_problem() = problem;
  EXPECT_TRUE(client().SolveLowerLevel(solve).ok());
  v1::CheckGradientRequest check;
  *check.mutable_problem() = problem;
  *check.mutable_parameters() = client::MakeArray(std::vector<double>{0.5, -0.3});
  const auto checked = client().CheckGradient(check);
  ASSERT_TRUE(checked.ok()) << checked.status();
  EXPECT_LT(checked->relative_error_l2(), 1e-5);
  v1::PullbackRequest pullback;
  *pullback.mutable_problem() = problem;
  *pullback.add_cotangents()->mutable_policy() = client::MakeArray(std::vector<double>(60, 1.0), {30, 2});
  pullback.set_return_transition_gradient(true);
  const auto pulled = client().Pullback(pullback);
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(client::ToVector(pulled->gradients(0).transitions())->size(), 180u);
  v1::OptimizeRequest optimize;
  *optimize.mutable_problem() = problem;
  optimize.mutable_quasi_newton();
  bool result = false;
  auto stream = client().Optimize(optimize);
  for (const auto& event : stream) result = result || (event.ok() && event->has_result());
  EXPECT_TRUE(result);
}

// What is stored is not counted again.
TEST_F(EnvironmentServiceTest, EstimatesByNameAndCountsWhatIsStoredOnce) {
  const RandomWalk world(2000, 2, 30);
  v1::EvaluateHypergradientRequest request;
  *request.mutable_problem() = ProblemOn(2000, 2);
  request.set_validate_only(true);
  request.mutable_problem()->mutable_contexts(0)->set_environment_name(Name(world));
  const auto named = client().EvaluateHypergradient(request);
  ASSERT_TRUE(named.ok()) << named.status();
  *request.mutable_problem()->mutable_contexts(0)->mutable_environment() = world.Message();
  const auto inlined = client().EvaluateHypergradient(request);
  EXPECT_EQ(named->estimate().seconds(), inlined->estimate().seconds());
  EXPECT_LT(named->estimate().bytes(), inlined->estimate().bytes() - 12.0 * 120'000);
  EXPECT_GT(named->estimate().bytes(), 80.0 * 120'000) << "the systems";
}

// A message of a few bytes makes vectors as long as what it names.
TEST(Dispatcher, ChecksOfNamedEnvironmentsAreInTheBudgetAndInTheLaneThatFits) {
  constexpr int kStates = 1'000'000;
  TabularMdpSpec spec;
  spec.num_states = kStates;
  spec.num_actions = 2;
  spec.offsets.resize(2 * kStates + 1);
  std::iota(spec.offsets.begin(), spec.offsets.end(), 0);
  spec.columns.assign(2 * kStates, 0);
  spec.probabilities.assign(2 * kStates, 1.0);
  const auto mdp = std::make_shared<const TabularMdp>(TabularMdp::Create(std::move(spec)).value());
  v1::EvaluateHypergradientRequest request;
  request.mutable_problem()->set_num_parameters(1);
  request.mutable_problem()->add_contexts()->set_environment_name("e");
  request.set_validate_only(true);
  const NamedEnvironments environments = {{"e", mdp}};
  const Limits limits{.message_bytes = 1 << 30};
  const Cost cost = EstimateCost(request, limits, environments).value();
  EXPECT_GT(cost.check_seconds, kShortSeconds);
  EXPECT_GT(cost.check_bytes, 8.0 * 2 * kStates);
  EXPECT_LT(cost.check_bytes, 0.6 * cost.bytes);

  Dispatcher dispatcher({.limits = limits, .memory_budget = cost.bytes});
  std::promise<double> used;
  const auto submit = [&] {
    return dispatcher.Submit(
        request, environments, /*interactive=*/true, dispatcher.OpenCall(std::nullopt),
        [&](const server::Run&) {
          used.set_value(dispatcher.budget().used());
          return absl::OkStatus();
        },
        [](const absl::Status&) {});
  };
  {
    const auto rest = dispatcher.budget().Reserve(cost.bytes - 1e6);
    EXPECT_EQ(GetRefusal(submit())->reason, reasons::kMemoryBusy);
  }
  ASSERT_TRUE(submit().ok());
  EXPECT_EQ(used.get_future().get(), cost.check_bytes);
  dispatcher.Stop();
}

TEST_F(EnvironmentServiceTest, UnknownNamesAreNotFoundAndSayWhatToDo) {
  v1::SolveLowerLevelRequest solve;
  *solve.mutable_problem() = ProblemOn(30, 2);
  solve.mutable_problem()->mutable_contexts(0)->set_environment_name("environments/" + std::string(64, 'a'));
  const absl::Status missing = client().SolveLowerLevel(solve).status();
  EXPECT_TRUE(absl::IsNotFound(missing));
  EXPECT_THAT(std::string(missing.message()), HasSubstr("problem.contexts[0].environment_name: "));
  EXPECT_THAT(std::string(missing.message()), HasSubstr("environments end with the server: upload it again"));
  for (const char* name : {"", "environments/", "environments/ABC", "sessions/a"}) {
    solve.mutable_problem()->mutable_contexts(0)->set_environment_name(name);
    const absl::Status wrong = client().SolveLowerLevel(solve).status();
    EXPECT_TRUE(absl::IsInvalidArgument(wrong)) << wrong;
    EXPECT_THAT(std::string(wrong.message()), HasSubstr("problem.contexts[0].environment_name: is \""));
  }
}

TEST_F(EnvironmentServiceTest, SessionsLearnTheirOwn) {
  v1::CreateSessionRequest create;
  *create.mutable_problem() = ProblemOn(30, 2);
  create.mutable_problem()->mutable_contexts(0)->set_environment_name(Name(RandomWalk(30, 2, 3)));
  const absl::Status refused = client().CreateSession(create).status();
  EXPECT_TRUE(absl::IsInvalidArgument(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("problem.contexts[0].environment_name: is given"));
}

TEST_F(EnvironmentServiceTest, ADeletedEnvironmentServesItsCallsToTheEnd) {
  const RandomWalk world(30, 2, 3);
  const std::string name = Name(world);
  v1::OptimizeRequest request;
  *request.mutable_problem() = ProblemOn(30, 2);
  request.mutable_problem()->mutable_contexts(0)->set_environment_name(name);
  request.mutable_m_sobirl()->set_step_size(1e-9);
  request.set_max_iterations(3000);
  request.set_progress_every(1);
  auto stream = client().Optimize(request);
  bool deleted = false, result = false;
  for (const auto& event : stream) {
    ASSERT_TRUE(event.ok()) << event.status();
    if (!std::exchange(deleted, true)) {
      v1::DeleteEnvironmentRequest gone;
      gone.set_name(name);
      EXPECT_TRUE(client().DeleteEnvironment(gone).ok());
    }
    if (event->has_result()) {
      result = true;
      EXPECT_GT(event->result().iterations(), 2000) << "to its end";
    }
  }
  EXPECT_TRUE(result);
  v1::SolveLowerLevelRequest solve;
  *solve.mutable_problem() = request.problem();
  EXPECT_TRUE(absl::IsNotFound(client().SolveLowerLevel(solve).status()));
}

TEST_F(EnvironmentServiceTest, BadMessagesOfStreamsAreNamed) {
  const std::string bytes = Whole(RandomWalk(9, 2, 2).Bytes());
  const auto refused = [](const grpc::Status& status) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    return status.error_message();
  };
  for (const std::string& id : {std::string(), std::string("Upper"), std::string(65, 'a'), std::string("a/b")}) {
    EXPECT_THAT(refused(Send(id, bytes, 0, bytes.size(), DigestOf(bytes)).status), HasSubstr("upload_id: is \""));
  }
  EXPECT_THAT(refused(Send("u", bytes, 0, bytes.size(), "short").status),
              HasSubstr("sha256: has 5 bytes; must have 32"));
  EXPECT_THAT(refused(Send("u", bytes, 0, 100, DigestOf(bytes)).status), HasSubstr("sha256: comes after 100 of "));
  EXPECT_THAT(refused(Send("u", "BILEVEL2" + bytes.substr(8), 0, bytes.size(), DigestOf(bytes)).status),
              HasSubstr("data.magic: is not BILEVEL1"));
  const std::string large(2 << 20, 'B');
  EXPECT_THAT(refused(Send("u", large, 0, large.size(), DigestOf(large), large.size()).status),
              HasSubstr("data: has 2097152 bytes"));
  grpc::ClientContext context;
  v1::UploadEnvironmentResponse response;
  const auto nothing = stub().UploadEnvironment(&context, &response);
  nothing->WritesDone();
  EXPECT_THAT(refused(nothing->Finish()), HasSubstr("upload_id: is absent"));
  grpc::ClientContext other;
  const auto two = stub().UploadEnvironment(&other, &response);
  v1::UploadEnvironmentRequest request;
  request.set_upload_id("a");
  two->Write(request);
  request.set_upload_id("b");
  two->Write(request);
  two->WritesDone();
  EXPECT_THAT(refused(two->Finish()), HasSubstr("upload_id: is \"b\" in a stream of a"));
  grpc::ClientContext half;
  const auto without = stub().UploadEnvironment(&half, &response);
  without->Write(request);
  without->WritesDone();
  EXPECT_THAT(refused(without->Finish()), HasSubstr("sha256: is absent"));
  EXPECT_TRUE(client().ListEnvironments()->environments().empty());
}

TEST_F(EnvironmentServiceTest, ListMethodsHasItsLimits) {
  const v1::ServerLimits limits = client().ListMethods()->limits();
  EXPECT_EQ(limits.environments(), 64);
  EXPECT_EQ(limits.uploads(), 8);
}

}  // namespace
}  // namespace bilevel::server
