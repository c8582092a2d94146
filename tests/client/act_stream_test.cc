// An environment's stream against a follower in the same process whose connections break.

#include "client/act_stream.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "bilevel/v1/session_service.grpc.pb.h"
#include "client/bilevel_client.h"

namespace bilevel::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

struct Learned {
  std::uint64_t episode;
  std::uint32_t state;
  std::uint32_t action;
  std::uint32_t next;
  std::uint32_t kind;
  friend bool operator==(const Learned&, const Learned&) = default;
};

// Draws actions at random; an observation that was seen before gets the same one. State 99 is rejected. Walks are asked
// for in state 7, and end after two steps.
class FakeActor : public v1::SessionService::Service {
 public:
  int cut_one_in = 0;
  std::atomic<bool> silent = false;
  std::atomic<bool> drain = false;
  std::atomic<int> openings = 0;
  v1::OpenActor opened;

  std::vector<Learned> learned() const {
    const std::lock_guard lock(mutex_);
    return learned_;
  }
  std::vector<std::string> walks() const {
    const std::lock_guard lock(mutex_);
    return walks_;
  }
  bool finished() const {
    const std::lock_guard lock(mutex_);
    return finished_;
  }

  grpc::Status Act(grpc::ServerContext*, grpc::ServerReaderWriter<v1::ActResponse, v1::ActRequest>* stream) override {
    v1::ActRequest request;
    if (!stream->Read(&request) || !request.has_open()) return {grpc::StatusCode::INVALID_ARGUMENT, "no open"};
    ++openings;
    if (request.open().session() == "sessions/solved") return {grpc::StatusCode::FAILED_PRECONDITION, "not SIMULATED"};
    v1::ActResponse response;
    {
      const std::lock_guard lock(mutex_);
      opened = request.open();
      response.mutable_opened()->set_accepted_sequence(learned_.size());
    }
    stream->Write(response);
    while (stream->Read(&request)) {
      response.Clear();
      {
        const std::lock_guard lock(mutex_);
        const bool cut = cut_one_in > 0 && random_() % static_cast<unsigned>(cut_one_in) == 0;
        const bool before = random_() % 2 == 0;
        if (cut && before) return {grpc::StatusCode::UNAVAILABLE, "cut"};
        if (request.has_finish()) {
          finished_ = request.finish().last_sequence() == learned_.size();
          response.mutable_opened()->set_accepted_sequence(learned_.size());
        } else {
          Take(request.observation(), response);
        }
        if (cut) return {grpc::StatusCode::UNAVAILABLE, "cut"};
      }
      if (drain.exchange(false)) {
        v1::ActResponse draining;
        draining.mutable_draining()->mutable_retry_delay()->set_nanos(20'000'000);
        stream->Write(draining);
      }
      if (!silent) stream->Write(response);
    }
    return grpc::Status::OK;
  }

 private:
  struct Standing {
    std::uint32_t state;
    std::uint32_t action;
  };

  void Take(const v1::Observation& seen, v1::ActResponse& response) {
    if (seen.state() == 99) {
      response.mutable_rejected()->set_first_sequence(seen.sequence());
      response.mutable_rejected()->mutable_status()->set_code(grpc::StatusCode::INVALID_ARGUMENT);
      response.mutable_rejected()->mutable_status()->set_message("observation.state: is 99");
      return;
    }
    const bool begins = seen.sequence() == 0;
    const bool known = begins ? standing_.contains(seen.episode_id()) : seen.sequence() <= learned_.size();
    Standing& standing = standing_[seen.episode_id()];
    if (!known && !begins) {
      EXPECT_EQ(seen.sequence(), learned_.size() + 1);
      learned_.push_back({seen.episode_id(), standing.state, standing.action, seen.state(), seen.step_kind()});
    }
    if (!known) standing = {seen.state(), static_cast<std::uint32_t>(random_() % 5)};
    if (!known && begins && seen.walk_kind() != v1::Walk::KIND_UNSPECIFIED) {
      walks_.push_back(
          absl::StrCat(v1::Walk::Kind_Name(seen.walk_kind()), " of ", seen.walk_of(), " in ", seen.state()));
      walk_ends_[seen.episode_id()] = learned_.size() + 2;
    }
    const auto walk = walk_ends_.find(seen.episode_id());
    v1::Action& action = *response.mutable_action();
    action.set_episode_id(seen.episode_id());
    action.set_ended(seen.step_kind() != 0 || (walk != walk_ends_.end() && seen.sequence() == walk->second));
    if (opened.walks() && action.ended() && walk == walk_ends_.end()) {
      for (const auto kind : {v1::Walk::KIND_FROM_CHOICE, v1::Walk::KIND_FROM_STATE}) {
        v1::Walk& asked = *action.add_walks();
        asked.set_kind(kind);
        asked.set_of_episode(seen.episode_id());
        asked.set_state(7);
      }
    }
    if (!action.ended()) action.set_action(standing.action);
    action.set_accepted_sequence(learned_.size());
  }

  mutable std::mutex mutex_;
  std::mt19937 random_{5};
  std::vector<Learned> learned_;
  std::map<std::uint64_t, Standing> standing_;
  std::vector<std::string> walks_;                    // that began
  std::map<std::uint64_t, std::uint64_t> walk_ends_;  // by number: the sequence that ends it
  bool finished_ = false;
};

class ActStreamTest : public ::testing::Test {
 protected:
  ActStreamTest() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&actor_);
    server_ = builder.BuildAndStart();
    client_ = BilevelClient::Connect(absl::StrCat("127.0.0.1:", port)).value();
  }
  ~ActStreamTest() override { server_->Shutdown(std::chrono::system_clock::now()); }

  absl::StatusOr<ActStream> Act(const std::string& session = "sessions/s1", bool walks = false) {
    ActOptions options;
    options.walks = walks;
    options.writer = "w0";
    options.exploration.set_kind(v1::Exploration::KIND_UNIFORM);
    options.reconnect = {.initial_delay = milliseconds(1), .max_delay = milliseconds(4), .retry_for = seconds(10)};
    return client_->Act(session, options, {.deadline = seconds(5)});
  }

  FakeActor actor_;
  std::unique_ptr<grpc::Server> server_;
  std::optional<BilevelClient> client_;
};

// Episodes of 10 steps; where an action leads depends on it.
TEST_F(ActStreamTest, LearnsEachStepOnceWithTheActionThatWasTakenOverCutStreams) {
  actor_.cut_one_in = 6;
  auto stream = Act();
  ASSERT_TRUE(stream.ok()) << stream.status();
  std::vector<Learned> taken;
  for (std::uint64_t episode = 1; episode <= 40; ++episode) {
    std::uint32_t state = 0;
    absl::StatusOr<v1::Action> action = stream->Start(episode, state);
    for (std::uint32_t step = 1; step <= 10; ++step) {
      ASSERT_TRUE(action.ok()) << action.status();
      const std::uint32_t next = (3 * state + action->action() + step) % 50;
      const StepKind kind = step == 10 ? StepKind::kTerminated : StepKind::kRunning;
      taken.push_back({episode, state, action->action(), next, static_cast<std::uint32_t>(kind)});
      action = stream->Step(episode, next, kind, {.leader_reward = 0.5});
      state = next;
    }
    ASSERT_TRUE(action.ok() && action->ended());
    EXPECT_EQ(stream->accepted_sequence(), 10 * episode);
  }
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_TRUE(actor_.finished());
  EXPECT_EQ(actor_.learned(), taken);
  EXPECT_GT(actor_.openings, 40);
  EXPECT_EQ(actor_.opened.writer_id(), "w0");
  EXPECT_EQ(actor_.opened.exploration().kind(), v1::Exploration::KIND_UNIFORM);
  EXPECT_FALSE(stream->Start(99, 0).ok());
}

TEST_F(ActStreamTest, ANewProcessIsNumberedBehindWhatTheServerHas) {
  {
    auto first = Act();
    ASSERT_TRUE(first->Start(1, 0).ok());
    ASSERT_TRUE(first->Step(1, 3).ok());
  }
  auto second = Act();
  EXPECT_EQ(second->accepted_sequence(), 1);
  ASSERT_TRUE(second->Start(2, 4).ok());
  ASSERT_TRUE(second->Step(2, 5, StepKind::kTruncated).ok());
  EXPECT_EQ(actor_.learned().size(), 2);
}

TEST_F(ActStreamTest, RunsTheWalksThatItIsAskedForOverCutStreams) {
  actor_.cut_one_in = 3;
  auto stream = Act("sessions/s1", true);
  ASSERT_TRUE(stream->Start(1, 0).ok());
  const auto end = stream->Step(1, 3, StepKind::kTruncated);
  ASSERT_TRUE(end.ok()) << end.status();
  ASSERT_EQ(end->walks_size(), 2);
  for (int i = 0; i < 2; ++i) {
    const auto number = static_cast<std::uint64_t>(10 + i);
    auto action = stream->StartWalk(number, end->walks(i));
    ASSERT_TRUE(action.ok() && !action->ended());
    action = stream->Step(number, 4);
    ASSERT_TRUE(action.ok() && !action->ended());
    action = stream->Step(number, 5);
    ASSERT_TRUE(action.ok() && action->ended());
    EXPECT_EQ(action->walks_size(), 0);
  }
  EXPECT_THAT(actor_.walks(), ::testing::ElementsAre("KIND_FROM_CHOICE of 1 in 7", "KIND_FROM_STATE of 1 in 7"));
  EXPECT_EQ(actor_.learned().size(), 5);
}

TEST_F(ActStreamTest, ARejectedObservationHasNotCounted) {
  auto stream = Act();
  EXPECT_THAT(std::string(stream->Start(1, 99).status().message()), HasSubstr("observation.state: is 99"));
  ASSERT_TRUE(stream->Start(1, 1).ok());
  EXPECT_EQ(stream->Step(1, 99).status().code(), absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(stream->Step(1, 2).ok());
  EXPECT_EQ(actor_.learned().size(), 1);
  EXPECT_EQ(actor_.openings, 1);
}

TEST_F(ActStreamTest, AnUnansweredObservationIsRepeatedAndNoOther) {
  auto stream = Act();
  ASSERT_TRUE(stream->Start(1, 0).ok());
  actor_.silent = true;
  EXPECT_EQ(stream->Step(1, 2, StepKind::kRunning, {}, milliseconds(50)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  actor_.silent = false;
  EXPECT_EQ(stream->Step(1, 3).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(stream->Step(1, 2).ok());
  EXPECT_TRUE(stream->Step(1, 3).ok());
  EXPECT_EQ(actor_.learned().size(), 2);
}

TEST_F(ActStreamTest, DrainsAndComesBack) {
  auto stream = Act();
  actor_.drain = true;
  ASSERT_TRUE(stream->Start(1, 0).ok());
  ASSERT_TRUE(stream->Step(1, 1).ok());
  EXPECT_EQ(actor_.openings, 2);
  EXPECT_EQ(actor_.learned().size(), 1);
}

TEST_F(ActStreamTest, AFollowerThatDoesNotActIsFinal) {
  EXPECT_EQ(Act("sessions/solved").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(actor_.openings, 1);
}

TEST_F(ActStreamTest, CancelWakesWhoeverWaits) {
  auto stream = Act();
  actor_.silent = true;
  std::thread cancel([&] {
    std::this_thread::sleep_for(milliseconds(30));
    stream->Cancel();
  });
  EXPECT_EQ(stream->Start(1, 0).status().code(), absl::StatusCode::kCancelled);
  cancel.join();
  EXPECT_EQ(stream->Start(1, 0).status().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace bilevel::client
