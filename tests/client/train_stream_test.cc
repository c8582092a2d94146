// A writer's stream against a server in the same process that cuts, forgets, rejects and drains.

#include "client/train_stream.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <numeric>
#include <thread>

#include "client/backoff.h"
#include "client/bilevel_client.h"
#include "client/status.h"
#include "client/transition_batch.h"
#include "tests/client/fake_trainer.h"

namespace bilevel::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

Transition At(std::uint32_t state) { return {.episode = state, .state = state, .kind = StepKind::kTruncated}; }

std::vector<double> Range(std::size_t count) {
  std::vector<double> range(count);
  std::iota(range.begin(), range.end(), 0.0);
  return range;
}

TrainOptions Quick() {
  TrainOptions options;
  options.buffer = {.capacity = 500, .batch_size = 32, .max_delay = milliseconds(1)};
  options.reconnect = {.initial_delay = milliseconds(1), .max_delay = milliseconds(4), .retry_for = seconds(20)};
  return options;
}

class TrainStreamTest : public ::testing::Test {
 protected:
  void Start() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&trainer_);
    server_ = builder.BuildAndStart();
    client_ = BilevelClient::Connect(absl::StrCat("127.0.0.1:", port_)).value();
  }
  ~TrainStreamTest() override {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
  }

  absl::StatusOr<TrainStream> Train(const TrainOptions& options = Quick()) {
    if (server_ == nullptr) Start();
    return client_->Train("sessions/s1", options, {.deadline = seconds(5)});
  }

  FakeTrainer trainer_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::optional<BilevelClient> client_;
};

TEST_F(TrainStreamTest, DeliversAndFinishes) {
  auto stream = Train();
  ASSERT_TRUE(stream.ok()) << stream.status();
  EXPECT_EQ(stream->accepted_sequence(), 0);
  for (std::uint32_t n = 0; n < 1000; ++n) ASSERT_EQ(*stream->Append(At(n)), n + 1);
  ASSERT_TRUE(stream->Flush(seconds(10)).ok());
  EXPECT_EQ(trainer_.states(), Range(1000));
  EXPECT_EQ(stream->progress().durable, 1000);
  EXPECT_LT(trainer_.batches, 200);
  ASSERT_TRUE(stream->policy());
  EXPECT_EQ(stream->policy()->version(), 1);
  ASSERT_TRUE(stream->Finish(seconds(10)).ok());
  EXPECT_TRUE(trainer_.finished());
  EXPECT_TRUE(stream->status().ok());
  EXPECT_FALSE(stream->Append(At(0)).ok());
  EXPECT_TRUE(stream->Finish(seconds(1)).ok());
}

TEST_F(TrainStreamTest, DeliversOnceAndInOrderOverCutStreams) {
  trainer_.cut_one_in = 8;
  trainer_.fall_back_one_in = 3;
  trainer_.credit = 100;
  trainer_.total = 20'000;
  auto stream = Train();
  ASSERT_TRUE(stream.ok()) << stream.status();
  std::uint64_t most = 0;
  for (std::uint32_t n = 0; n < 20'000; ++n) {
    ASSERT_TRUE(stream->Append(At(n), seconds(20)).ok()) << n << " " << stream->status();
    const TrainProgress progress = stream->progress();
    most = std::max(most, progress.appended - progress.durable);
  }
  ASSERT_TRUE(stream->Finish(seconds(20)).ok());
  EXPECT_EQ(trainer_.states(), Range(20'000));
  EXPECT_TRUE(trainer_.finished());
  EXPECT_LE(most, 500);
  EXPECT_EQ(trainer_.beyond_credit, 0);
  EXPECT_EQ(trainer_.max_cuts, 0);
  EXPECT_GT(stream->connections(), 90);
}

TEST_F(TrainStreamTest, ANewProcessSkipsWhatTheServerHas) {
  {
    auto first = Train();
    for (std::uint32_t n = 0; n < 300; ++n) ASSERT_TRUE(first->Append(At(n)).ok());
    ASSERT_TRUE(first->Flush(seconds(10)).ok());
    for (std::uint32_t n = 300; n < 350; ++n) ASSERT_TRUE(first->Append(At(n)).ok());
  }
  auto second = Train();
  ASSERT_GE(second->accepted_sequence(), 300);
  for (auto n = static_cast<std::uint32_t>(second->accepted_sequence()); n < 600; ++n) {
    ASSERT_EQ(*second->Append(At(n)), n + 1);
  }
  ASSERT_TRUE(second->Flush(seconds(10)).ok());
  EXPECT_EQ(trainer_.states(), Range(600));
}

TEST_F(TrainStreamTest, ARejectionNamesTransitionAndColumnAndLosesNothing) {
  trainer_.bad_state = 777;
  auto stream = Train();
  // The rejection may come while what follows is still being appended.
  std::uint32_t next = 0;
  const auto append = [&](std::uint32_t end, std::uint32_t bad) {
    for (; next < end; ++next) {
      if (stream->Append(At(next == bad ? 777 : next)).ok()) continue;
      EXPECT_GT(next, bad);
      return;
    }
  };
  append(100, 50);
  const absl::Status flushed = stream->Flush(seconds(10));
  EXPECT_EQ(flushed.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(flushed.message(), "transition 51: state is bad");
  EXPECT_TRUE(StatusDetail<v1::rpc::BadRequest>(flushed));
  EXPECT_EQ(stream->Append(At(0)).status(), flushed);
  ASSERT_TRUE(stream->rejection());
  EXPECT_EQ(stream->rejection()->first, 51);
  EXPECT_EQ(stream->rejection()->column, "state");
  EXPECT_EQ(trainer_.states(), Range(50));
  ASSERT_EQ(stream->NotTaken().size(), next - 50);
  EXPECT_EQ(stream->NotTaken().front().state, 777);
  ASSERT_TRUE(stream->ReplaceRejected({At(50)}).ok());
  append(200, 150);
  EXPECT_THAT(std::string(stream->Finish(seconds(10)).message()), HasSubstr("transition 151"));
  ASSERT_TRUE(stream->DropRejected().ok());
  append(200, 150);
  ASSERT_TRUE(stream->Finish(seconds(10)).ok());
  std::vector<double> expected = Range(200);
  expected.erase(expected.begin() + 150);
  EXPECT_EQ(trainer_.states(), expected);
  EXPECT_EQ(stream->connections(), 1);
}

TEST_F(TrainStreamTest, ANewerStreamEndsTheOlderForGood) {
  auto older = Train();
  ASSERT_TRUE(older->Append(At(0)).ok());
  ASSERT_TRUE(older->Flush(seconds(10)).ok());
  auto newer = Train();
  EXPECT_EQ(newer->accepted_sequence(), 1);
  ASSERT_TRUE(older->Append(At(1)).ok());
  EXPECT_EQ(older->Flush(seconds(10)).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(older->NotTaken().size(), 1);
  EXPECT_EQ(older->Append(At(2)).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(trainer_.openings, 2);
}

TEST_F(TrainStreamTest, NoSuchSessionIsFinal) {
  Start();
  EXPECT_EQ(client_->Train("sessions/none", Quick()).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(TrainStreamTest, GivesUpAfterRetryFor) {
  trainer_.accept_openings = false;
  TrainOptions options = Quick();
  options.reconnect.retry_for = milliseconds(100);
  const absl::StatusOr<TrainStream> stream = Train(options);
  EXPECT_EQ(stream.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(stream.status().message()), HasSubstr("100 ms; the last attempt: not now"));
  EXPECT_GT(trainer_.openings, 10);
}

TEST_F(TrainStreamTest, TheDeadlineOfTheCallIsThatOfTheOpening) {
  trainer_.accept_openings = false;
  Start();
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(client_->Train("sessions/s1", Quick(), {.deadline = milliseconds(100)}).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(2));
}

TEST_F(TrainStreamTest, SurvivesAServerThatRestarts) {
  auto stream = Train();
  ASSERT_TRUE(stream->Append(At(0)).ok());
  ASSERT_TRUE(stream->Flush(seconds(10)).ok());
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  ASSERT_TRUE(stream->Append(At(1)).ok());
  EXPECT_EQ(stream->Flush(milliseconds(50)).code(), absl::StatusCode::kDeadlineExceeded);
  grpc::ServerBuilder builder;
  builder.AddListeningPort(absl::StrCat("127.0.0.1:", port_), grpc::InsecureServerCredentials());
  builder.RegisterService(&trainer_);
  server_ = builder.BuildAndStart();
  ASSERT_NE(server_, nullptr);
  EXPECT_TRUE(stream->Flush(seconds(20)).ok()) << stream->status();
  EXPECT_EQ(trainer_.states(), Range(2));
}

TEST_F(TrainStreamTest, GivesUpOnAServerThatIsGoneAfterRetryFor) {
  TrainOptions options = Quick();
  options.reconnect.retry_for = milliseconds(200);
  auto stream = Train(options);
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  ASSERT_TRUE(stream->Append(At(0)).ok());
  const auto begin = std::chrono::steady_clock::now();
  const absl::Status flushed = stream->Flush(seconds(10));
  EXPECT_EQ(flushed.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(flushed.message()), HasSubstr("no connection for 200 ms; the last attempt: "));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(3));
  EXPECT_EQ(stream->NotTaken().size(), 1);
}

TEST_F(TrainStreamTest, DrainsAndComesBack) {
  auto stream = Train();
  trainer_.drain = true;
  for (std::uint32_t n = 0; n < 100; ++n) ASSERT_TRUE(stream->Append(At(n)).ok());
  ASSERT_TRUE(stream->Finish(seconds(10)).ok());
  EXPECT_EQ(trainer_.states(), Range(100));
  EXPECT_EQ(stream->connections(), 2);
}

TEST_F(TrainStreamTest, CancelWakesWhoeverWaits) {
  trainer_.credit = 0;
  auto stream = Train();
  for (std::uint32_t n = 0; n < 500; ++n) ASSERT_TRUE(stream->Append(At(n)).ok());
  std::thread cancel([&] {
    std::this_thread::sleep_for(milliseconds(30));
    stream->Cancel();
  });
  EXPECT_EQ(stream->Append(At(500)).status().code(), absl::StatusCode::kCancelled);
  cancel.join();
  EXPECT_EQ(stream->Flush().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(trainer_.states().size(), 0);
}

TEST_F(TrainStreamTest, OptionsOutOfRangeAreRefused) {
  Start();
  TrainOptions options;
  options.buffer.batch_size = 9000;
  EXPECT_EQ(client_->Train("sessions/s1", options).status().code(), absl::StatusCode::kInvalidArgument);
  options = {};
  options.reconnect.max_delay = milliseconds(1);
  EXPECT_EQ(client_->Train("sessions/s1", options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Backoff, DoublesUpToTheMaximumWithinItsJitter) {
  Backoff backoff(milliseconds(100), seconds(1), 3);
  for (const double nominal : {0.1, 0.2, 0.4, 0.8, 1.0, 1.0}) {
    const double delay = backoff.Next().count();
    EXPECT_GE(delay, nominal / 2);
    EXPECT_LE(delay, nominal);
  }
  backoff.Reset();
  EXPECT_LE(backoff.Next().count(), 0.1);
}

TEST(TransitionBatch, HoldsTheColumnsThatTransitionsHave) {
  Transition one = At(3);
  Transition two = {.episode = 4, .state = 1, .action = 2, .next_state = 5, .kind = StepKind::kTerminated};
  v1::TransitionBatch batch = EncodeBatch(7, std::vector<Transition>{one, two});
  EXPECT_EQ(batch.first_sequence(), 7);
  EXPECT_EQ(batch.count(), 2);
  EXPECT_EQ(*ToVector(batch.episode_id()), (std::vector<double>{3, 4}));
  EXPECT_EQ(*ToVector(batch.step_kind()), (std::vector<double>{2, 1}));
  EXPECT_EQ(*ToVector(batch.next_state()), (std::vector<double>{0, 5}));
  EXPECT_FALSE(batch.has_context() || batch.has_leader_reward() || batch.has_behavior_log_probability() ||
               batch.has_parameters_version() || batch.has_features() || batch.has_next_features());
  for (Transition* transition : {&one, &two}) {
    transition->context = 1;
    transition->leader_reward = 0.5;
    transition->behavior_log_probability = -1;
    transition->parameters_version = 2;
    transition->features = {1, 2};
  }
  one.next_features = {3, 4};
  batch = EncodeBatch(1, std::vector<Transition>{one, two});
  EXPECT_EQ(*ToVector(batch.context()), (std::vector<double>{1, 1}));
  EXPECT_EQ(*ToVector(batch.leader_reward()), (std::vector<double>{0.5, 0.5}));
  EXPECT_EQ(*ToVector(batch.behavior_log_probability()), (std::vector<double>{-1, -1}));
  EXPECT_EQ(*ToVector(batch.parameters_version()), (std::vector<double>{2, 2}));
  EXPECT_EQ(*ToVector(batch.features()), (std::vector<double>{1, 2, 1, 2}));
  EXPECT_EQ(*ToVector(batch.next_features()), (std::vector<double>{3, 4, 0, 0}));
}

}  // namespace
}  // namespace bilevel::client
