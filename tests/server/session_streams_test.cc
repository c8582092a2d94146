// Train and Act over loopback: exactly once, whatever breaks; features; a follower that acts.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <deque>

#include "server/convert/array.h"
#include "tests/server/server_process.h"
#include "tests/server/session_fixture.h"
#include "tests/support/sanitized.h"

namespace bilevel::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

using SessionStreamsTest = SessionFixture;

// 50 cuts in each case, dealt out among the writers.
TEST_F(SessionStreamsTest, LearnTheSamePolicyFromAnyBatchesOfAnyWritersOverBrokenStreams) {
  const std::vector<Step> steps = Explore(10'000);
  for (const bool soft_q : {false, true}) {
    std::string first;
    for (int writers = 1; writers <= 4; ++writers) {
      for (const uint64_t batch : {0, 1, 7, 256, 8192}) {
        v1::CreateSessionRequest request = Request(writers);
        if (soft_q) request.mutable_soft_q();
        const std::string name = MustCreate(request);
        const auto dealt = Deal(steps, static_cast<size_t>(writers));
        std::vector<std::thread> threads;
        for (size_t w = 0; w < dealt.size(); ++w) {
          const int cuts = 50 / writers + (static_cast<int>(w) < 50 % writers ? 1 : 0);
          threads.emplace_back([&, w, cuts] { Write(name, absl::StrCat("w", w), dealt[w], 7 + w, cuts, batch); });
        }
        for (std::thread& thread : threads) thread.join();
        WaitUntilMerged(name, 10'000);
        const v1::GetPolicyResponse policy = Policy(name);
        EXPECT_EQ(policy.version(), 10);
        if (first.empty()) first = policy.SerializeAsString();
        EXPECT_EQ(policy.SerializeAsString(), first);
        EXPECT_EQ(Policy(name, 10).version(), 0);
        EXPECT_EQ(Policy(name, 9).version(), 10);
        Delete(name);
      }
    }
  }
}

TEST_F(SessionStreamsTest, AcknowledgeWhatCameBeforeTheyEnd) {
  const std::vector<Step> steps = Explore(100);
  for (int round = 0; round < 50; ++round) {
    const std::string name = MustCreate(Request());
    grpc::ClientContext context;
    auto stream = Open(context, name, "w0");
    ASSERT_TRUE(stream->Write(Batch(steps, 1, 100)));
    stream->WritesDone();
    v1::TrainResponse response;
    uint64_t accepted = 0;
    while (stream->Read(&response)) accepted = std::max(accepted, response.ack().accepted_sequence());
    EXPECT_TRUE(stream->Finish().ok());
    EXPECT_EQ(accepted, 100);
    Delete(name);
  }
}

// Every state has one feature of its own: learning is the table's.
TEST_F(SessionStreamsTest, OneHotFeaturesEqualTheTable) {
  const std::vector<Step> steps = Explore(3000);
  const auto learn = [&](bool features) {
    v1::CreateSessionRequest request = Request();
    request.mutable_soft_q()->set_learn_gradient(true);
    if (features) request.mutable_soft_q()->set_num_features(kStates);
    const std::string name = MustCreate(request);
    grpc::ClientContext context;
    auto stream = Open(context, name, "w0");
    for (uint64_t first = 1; first <= steps.size(); first += 100) {
      v1::TrainRequest batch = Batch(steps, first, 100);
      if (features) {
        std::vector<double> here(100 * kStates), next(100 * kStates);
        for (size_t i = 0; i < 100; ++i) {
          const Step& step = steps[first - 1 + i];
          here[i * kStates + static_cast<size_t>(step.state)] = 1;
          if (step.kind != 1) next[i * kStates + static_cast<size_t>(step.next)] = 1;
        }
        SetReals(here, batch.mutable_batch()->mutable_features());
        SetReals(next, batch.mutable_batch()->mutable_next_features());
      }
      EXPECT_TRUE(stream->Write(batch));
    }
    stream->WritesDone();
    v1::TrainResponse response;
    while (stream->Read(&response)) EXPECT_FALSE(response.has_rejected()) << response.rejected().status().message();
    EXPECT_TRUE(stream->Finish().ok());
    WaitUntilMerged(name, 3000);
    return *DecodeReals(Policy(name).contexts(0).policy(), {kStates, kActions});
  };
  EXPECT_LT((learn(true) - learn(false)).lpNorm<Eigen::Infinity>(), 1e-12);
}

TEST_F(SessionStreamsTest, RejectOptionalColumnsByEntry) {
  v1::CreateSessionRequest request = Request();
  request.mutable_soft_q()->set_num_features(2);
  const std::string name = MustCreate(request);
  const std::vector<Step> steps = Explore(10);
  grpc::ClientContext context;
  auto stream = Open(context, name, "w0");
  const auto rejected = [&](auto change) {
    v1::TrainRequest batch = Batch(steps, 1, 10);
    SetReals(std::vector<double>(20, 0.5), batch.mutable_batch()->mutable_features());
    SetReals(std::vector<double>(20, 0.5), batch.mutable_batch()->mutable_next_features());
    change(*batch.mutable_batch());
    EXPECT_TRUE(stream->Write(batch));
    v1::TrainResponse response;
    while (stream->Read(&response) && !response.has_rejected()) {
    }
    return response.rejected().status().message();
  };
  using B = v1::TransitionBatch;
  const auto filled = [](double value) {
    std::vector<double> column(10, -0.5);
    column[4] = value;
    return column;
  };
  EXPECT_THAT(rejected([](B& b) { b.clear_features(); }), HasSubstr("batch.features: is absent; required"));
  EXPECT_THAT(rejected([](B& b) { b.mutable_features()->mutable_values()->add_list(1); }),
              HasSubstr("batch.features: has 21 entries; must have count * num_features = 10 * 2"));
  EXPECT_THAT(rejected([](B& b) { b.mutable_next_features()->mutable_values()->set_list(0, NAN); }),
              HasSubstr("batch.next_features[0]: is nan; must be finite"));
  EXPECT_THAT(rejected([&](B& b) { SetReals(filled(NAN), b.mutable_leader_reward()); }),
              HasSubstr("batch.leader_reward[4]: is nan; must be finite"));
  EXPECT_THAT(rejected([&](B& b) {
                SetReals({1, 2}, b.mutable_leader_reward());
              }),
              HasSubstr("batch.leader_reward: has 2 entries; must have count = 10"));
  EXPECT_THAT(rejected([&](B& b) { SetReals(filled(0.5), b.mutable_behavior_log_probability()); }),
              HasSubstr("batch.behavior_log_probability[4]: is 0.5; must be finite and <= 0"));
  EXPECT_THAT(rejected([&](B& b) { SetReals(filled(NAN), b.mutable_behavior_log_probability()); }),
              HasSubstr("batch.behavior_log_probability[4]: is nan"));
  EXPECT_THAT(rejected([](B& b) {
                for (int i = 0; i < 10; ++i)
                  b.mutable_parameters_version()->mutable_indices()->add_list(i == 2 ? 5 : 1);
              }),
              HasSubstr("batch.parameters_version[2]: is 5; the newest version of x is 1"));
  EXPECT_THAT(rejected([](B& b) {
                for (int i = 0; i < 10; ++i) b.mutable_parameters_version()->mutable_indices()->add_list(0);
              }),
              HasSubstr("batch.parameters_version[0]: is 0"));
  EXPECT_EQ(Get(name).accepted(), 0);
}

// An environment that plays the world, over streams that are cut at random moments, asking again whatever it is unsure
// of.
class Environment {
 public:
  // walks: it can be set to any state, and does what it is asked for at once.
  Environment(uint64_t seed, uint64_t episodes, bool walks = false)
      : world_(*DecodeProblem(World(true), Purpose::kGradient, Limits())),
        simulator_(*world_.contexts[0].mdp),
        seed_(seed),
        episodes_(episodes),
        walks_(walks) {}

  // One stream; true when all episodes are over. budget: observations until it is cut.
  bool Play(grpc::ClientReaderWriter<v1::ActRequest, v1::ActResponse>& stream, int budget) {
    v1::ActResponse response;
    while (episode_ < episodes_) {
      if (budget-- == 0) return false;
      v1::ActRequest request;
      v1::Observation& observation = *request.mutable_observation();
      observation.set_sequence(sequence_);
      observation.set_episode_id(walk_.kind() == v1::Walk::KIND_UNSPECIFIED ? episode_ : kWalkNumber);
      if (sequence_ == 0) {
        observation.set_walk_kind(walk_.kind());
        observation.set_walk_of(walk_.of_episode());
      }
      observation.set_state(static_cast<uint32_t>(state_));
      observation.set_step_kind(static_cast<uint32_t>(kind_));
      if (!stream.Write(request) || !stream.Read(&response)) return false;
      EXPECT_TRUE(response.has_action()) << response.rejected().status().message();
      if (budget % 7 == 0) continue;  // as if the answer had been lost
      actions.push_back({response.action().action(), response.action().log_probability()});
      EXPECT_TRUE(kind_ == 0 || response.action().ended());
      if (!response.action().ended()) {
        // The world's own chance, the same however often a stream broke.
        Rng rng(seed_, ++drawn_);
        const int next = simulator_.DrawNext(state_ * kActions + static_cast<int>(response.action().action()), rng);
        const bool cut = walk_.kind() == v1::Walk::KIND_UNSPECIFIED && rng.Below(20) == 0;
        kind_ = next == Simulator::kEnded ? 1 : cut ? 2 : 0;
        state_ = next == Simulator::kEnded ? 0 : next;
        sequence_ = ++steps_;
      } else {
        EXPECT_EQ(response.action().walks_size(), walks_ && walk_.kind() == v1::Walk::KIND_UNSPECIFIED ? 2 : 0);
        to_come_.insert(to_come_.end(), response.action().walks().begin(), response.action().walks().end());
        if (to_come_.empty()) {
          walk_.Clear();
          ++episode_;
        } else {
          walk_ = to_come_.front();
          to_come_.pop_front();
        }
        state_ = static_cast<int>(walk_.state());
        kind_ = 0;
        sequence_ = 0;
      }
    }
    return true;
  }

  std::vector<std::pair<uint32_t, double>> actions;
  uint64_t steps() const { return steps_; }

 private:
  BilevelProblem world_;
  Simulator simulator_;
  uint64_t seed_, episodes_, episode_ = 0, steps_ = 0, sequence_ = 0, drawn_ = 0;
  int state_ = 0, kind_ = 0;
  bool walks_;
  std::deque<v1::Walk> to_come_;
  v1::Walk walk_;  // under way
  static constexpr uint64_t kWalkNumber = 1'000'000;
};

class SimulatedFollowerTest : public SessionFixture {
 protected:
  v1::CreateSessionRequest Request() {
    v1::CreateSessionRequest request = SessionFixture::Request(2);
    request.set_follower(v1::FOLLOWER_SIMULATED);
    request.set_update_interval(128);
    request.set_seed(3);
    return request;
  }

  // Two environments play over streams of which so many are cut.
  void Play(const std::string& name, int cuts, bool walks, std::vector<Environment>& players) {
    std::vector<std::thread> threads;
    for (size_t w = 0; w < 2; ++w) {
      threads.emplace_back([&, w] {
        Rng rng(w + 1);
        for (int cut = 0;; ++cut) {
          grpc::ClientContext context;
          auto stream = stub_->Act(&context);
          v1::ActRequest open;
          open.mutable_open()->set_session(name);
          open.mutable_open()->set_writer_id(absl::StrCat("w", w));
          open.mutable_open()->mutable_exploration()->set_kind(v1::Exploration::KIND_UNIFORM);
          open.mutable_open()->set_walks(walks);
          v1::ActResponse response;
          ASSERT_TRUE(stream->Write(open) && stream->Read(&response)) << stream->Finish().error_message();
          if (players[w].Play(*stream, cut < cuts / 2 ? static_cast<int>(rng.Below(100)) : -1)) {
            v1::ActRequest finish;
            finish.mutable_finish()->set_last_sequence(players[w].steps());
            ASSERT_TRUE(stream->Write(finish) && stream->Read(&response));
            EXPECT_FALSE(response.has_rejected()) << response.rejected().status().message();
            stream->WritesDone();
            EXPECT_TRUE(stream->Finish().ok());
            return;
          }
          context.TryCancel();
          stream->Finish();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    WaitUntilMerged(name, static_cast<double>(players[0].steps() + players[1].steps()));
  }

  grpc::Status Estimate(const std::string& name, const v1::EstimatorOptions& options,
                        v1::HypergradientEstimate* estimate) {
    grpc::ClientContext context;
    v1::EstimateHypergradientRequest request;
    request.set_name(name);
    *request.mutable_options() = options;
    v1::EstimateHypergradientResponse response;
    const grpc::Status status = stub_->EstimateHypergradient(&context, request, &response);
    *estimate = response.estimate();
    return status;
  }
};

TEST_F(SimulatedFollowerTest, ActsTheSameHoweverStreamsBreak) {
  std::vector<std::pair<uint32_t, double>> first;
  std::string policy;
  for (const int cuts : {0, 50}) {
    const std::string name = MustCreate(Request());
    std::vector<Environment> players{{5, 150}, {6, 150}};
    Play(name, cuts, false, players);
    const std::string found = Policy(name).SerializeAsString();
    if (cuts == 0) {
      first = players[0].actions;
      policy = found;
      EXPECT_GT(first.size(), 1000);
      EXPECT_GT(Get(name).trajectories(), 100);
    }
    EXPECT_EQ(players[0].actions, first);
    EXPECT_EQ(found, policy);
  }
}

TEST_F(SimulatedFollowerTest, WalksTheSameHoweverStreamsBreak) {
  std::vector<std::pair<uint32_t, double>> first;
  std::string policy, estimate;
  v1::EstimatorOptions options;
  options.set_estimator(v1::ESTIMATOR_REWARD_TO_GO);
  options.set_critic(v1::CRITIC_CONTINUATIONS);
  for (const int cuts : {0, 50}) {
    const std::string name = MustCreate(Request());
    std::vector<Environment> players{{5, 150, true}, {6, 150, true}};
    Play(name, cuts, true, players);
    v1::HypergradientEstimate found;
    const grpc::Status status = Estimate(name, options, &found);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(found.trajectories(), 300);
    EXPECT_EQ(found.trajectories_left_out(), 0);
    EXPECT_EQ(found.transitions(), Get(name).merged());
    EXPECT_EQ(Get(name).trajectories(), 300);
    if (cuts == 0) {
      first = players[0].actions;
      policy = Policy(name).SerializeAsString();
      estimate = found.SerializeAsString();
    }
    EXPECT_EQ(players[0].actions, first);
    EXPECT_EQ(Policy(name).SerializeAsString(), policy);
    EXPECT_EQ(found.SerializeAsString(), estimate);
  }
}

TEST_F(SimulatedFollowerTest, NeedsWalksForContinuations) {
  const std::string name = MustCreate(Request());
  std::vector<Environment> players{{5, 10}, {6, 10}};
  Play(name, 0, false, players);
  v1::EstimatorOptions options;
  options.set_estimator(v1::ESTIMATOR_RETURN);
  options.set_critic(v1::CRITIC_CONTINUATIONS);
  v1::HypergradientEstimate found;
  const grpc::Status status = Estimate(name, options, &found);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("without both walks complete"));
  options.set_estimator(v1::ESTIMATOR_ONE_STEP);
  EXPECT_THAT(Estimate(name, options, &found).error_message(), HasSubstr("options.critic: is CRITIC_CONTINUATIONS"));
}

TEST_F(SessionStreamsTest, ActRefusesInTheStream) {
  v1::CreateSessionRequest request = Request();
  const std::string solved = MustCreate(request);
  request.set_follower(v1::FOLLOWER_SIMULATED);
  const std::string name = MustCreate(request);
  v1::ActRequest open;
  open.mutable_open()->set_session(solved);
  open.mutable_open()->set_writer_id("w0");
  v1::ActResponse response;
  const auto ends = [&] {
    grpc::ClientContext context;
    auto stream = stub_->Act(&context);
    stream->Write(open);
    EXPECT_FALSE(stream->Read(&response));
    return stream->Finish();
  };
  EXPECT_EQ(ends().error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  open.mutable_open()->set_session(name);
  open.mutable_open()->mutable_exploration()->set_share(0.5);
  EXPECT_THAT(ends().error_message(), HasSubstr("open.exploration.share: is given without a kind"));
  open.mutable_open()->mutable_exploration()->set_kind(v1::Exploration::KIND_LEAST_TRIED);
  open.mutable_open()->mutable_exploration()->set_share(1.5);
  EXPECT_THAT(ends().error_message(), HasSubstr("open.exploration.share: is 1.5; must be in [0, 1]"));
  open.mutable_open()->mutable_exploration()->set_share(1);
  open.mutable_open()->set_walks(true);

  grpc::ClientContext context;
  auto stream = stub_->Act(&context);
  ASSERT_TRUE(stream->Write(open) && stream->Read(&response));
  const auto rejected = [&](auto change) {
    v1::ActRequest sent;
    change(*sent.mutable_observation());
    EXPECT_TRUE(stream->Write(sent) && stream->Read(&response));
    EXPECT_TRUE(response.has_rejected());
    return response.rejected().status().message();
  };
  using O = v1::Observation;
  EXPECT_THAT(rejected([](O& o) { o.set_state(9); }), HasSubstr("observation.state: is 9"));
  EXPECT_THAT(rejected([](O& o) { o.set_sequence(4); }), HasSubstr("a gap; send 1 first"));
  EXPECT_THAT(rejected([](O& o) { o.set_sequence(1); }),
              HasSubstr("observation.episode_id: is 0, which has not begun"));
  EXPECT_THAT(rejected([](O& o) { o.set_step_kind(5); }), HasSubstr("observation.step_kind: is 5"));
  EXPECT_THAT(rejected([](O& o) { o.set_leader_reward(NAN); }), HasSubstr("observation.leader_reward: is nan"));
  EXPECT_THAT(rejected([](O& o) { o.add_features(1); }), HasSubstr("observation.features: has 1 entries"));
  EXPECT_THAT(rejected([](O& o) { o.set_walk_kind(static_cast<v1::Walk::Kind>(3)); }),
              HasSubstr("observation.walk_kind: is 3; must be KIND_FROM_CHOICE or KIND_FROM_STATE"));
  EXPECT_THAT(rejected([](O& o) { o.set_walk_of(3); }), HasSubstr("observation.walk_of: is 3 without walk_kind"));
  EXPECT_THAT(rejected([](O& o) {
                o.set_walk_kind(v1::Walk::KIND_FROM_STATE);
                o.set_walk_of(3);
              }),
              HasSubstr("observation.walk_of: is 3, an episode of which no walks are asked for"));
  v1::ActRequest start;
  start.mutable_observation()->set_state(1);
  ASSERT_TRUE(stream->Write(start) && stream->Read(&response));
  EXPECT_TRUE(response.has_action());
  EXPECT_NEAR(response.action().log_probability(), 0, 1e-12);  // least tried, always
  start.mutable_observation()->set_sequence(1);
  start.mutable_observation()->set_step_kind(2);
  ASSERT_TRUE(stream->Write(start) && stream->Read(&response));
  ASSERT_EQ(response.action().walks_size(), 2);
  const v1::Walk walk = response.action().walks(1);
  EXPECT_EQ(walk.kind(), v1::Walk::KIND_FROM_STATE);
  EXPECT_EQ(walk.state(), 1);
  const auto begin = [&](O& o) {
    o.set_episode_id(7);
    o.set_state(walk.state());
    o.set_walk_kind(walk.kind());
    o.set_walk_of(walk.of_episode());
  };
  EXPECT_THAT(rejected([&](O& o) {
                begin(o);
                o.set_state(2);
              }),
              HasSubstr("observation.state: is 2; FROM_STATE of episode 0 begins in 1"));
  v1::ActRequest first;
  begin(*first.mutable_observation());
  ASSERT_TRUE(stream->Write(first) && stream->Read(&response));
  EXPECT_TRUE(response.has_action());
  EXPECT_THAT(rejected([&](O& o) {
                begin(o);
                o.set_episode_id(8);
              }),
              HasSubstr("observation.walk_kind: is FROM_STATE of episode 0, which has begun already"));
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

// Writes without end, `batch` after `batch` of the same transition, until the server takes no more for `patience`, or
// `most` megabytes are through.
class WriterWithoutEnd {
 public:
  WriterWithoutEnd(v1::SessionService::Stub& stub, const std::string& session, const std::string& writer, bool reads)
      : stream_(stub.Train(&context_)) {
    v1::TrainRequest open;
    open.mutable_open()->set_session(session);
    open.mutable_open()->set_writer_id(writer);
    stream_->Write(open);
    if (reads) {
      reader_ = std::thread([this] {
        v1::TrainResponse response;
        while (stream_->Read(&response)) ++responses_;
      });
    }
  }

  double Write(int count, std::chrono::milliseconds patience, double most) {
    std::atomic<double> through = 0;
    std::atomic<bool> done = false;
    std::thread writer([&] {
      v1::TrainRequest request;
      for (uint64_t first = 1; through < most; first += static_cast<uint64_t>(count)) {
        v1::TransitionBatch& batch = *request.mutable_batch();
        batch.set_first_sequence(first);
        batch.set_count(count);
        for (v1::Array* column : {batch.mutable_state(), batch.mutable_action(), batch.mutable_next_state()}) {
          column->set_dtype(v1::DTYPE_U32);
          column->mutable_raw()->assign(static_cast<size_t>(count) * 4, '\0');
        }
        if (!stream_->Write(request)) break;
        through = through + static_cast<double>(request.ByteSizeLong()) / 1e6;
      }
      done = true;
    });
    for (double before = -1; !done && through > before;) {
      before = through;
      std::this_thread::sleep_for(patience);
    }
    context_.TryCancel();
    writer.join();
    if (reader_.joinable()) reader_.join();
    stream_->Finish();
    return through;
  }
  int responses() const { return responses_; }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::TrainRequest, v1::TrainResponse>> stream_;
  std::thread reader_;
  std::atomic<int> responses_ = 0;
};

// Thousands of megabytes are offered; what the server holds is what queues, windows and the allocator make of it: 130
// to 210 MB after any number of rounds.
TEST_F(SessionStreamsTest, HoldLittleOfAWriterThatNeverStopsOrNeverReads) {
  using bilevel::testing::kSanitized;
  constexpr int kCount = 8192;
  constexpr double kMost = kSanitized ? 30 : 150;
  const ServerProcess server;
  stub_ = v1::SessionService::NewStub(grpc::CreateChannel(server.address(), grpc::InsecureChannelCredentials()));
  v1::CreateSessionRequest create = Request(2);
  create.clear_queue();
  create.mutable_count();
  const std::string waiting = MustCreate(create);
  for (int round = 0; round < 3; ++round) {
    // Nothing is merged, since w0 never comes: all but the first batches are beyond credit, and each is told so.
    WriterWithoutEnd heedless(*stub_, waiting, "w1", /*reads=*/true);
    EXPECT_GE(heedless.Write(kCount, std::chrono::seconds(2), kMost), kMost);
    EXPECT_GT(heedless.responses(), kMost / 2);
    EXPECT_EQ(Get(waiting).accepted(), 32768);

    // It does not listen either: the server stops reading when what it has to say is not taken.
    WriterWithoutEnd deaf(*stub_, waiting, "w1", /*reads=*/false);
    deaf.Write(kCount, std::chrono::milliseconds(500), 10 * kMost);

    // Everything is merged: what is learned is all that stays.
    v1::CreateSessionRequest alone = Request();
    alone.clear_queue();
    alone.mutable_count();
    const std::string merging = MustCreate(alone);
    WriterWithoutEnd endless(*stub_, merging, "w0", /*reads=*/true);
    endless.Write(kCount / 8, std::chrono::seconds(2), kMost);
    EXPECT_GE(Get(merging).accepted(), 65536);
    Delete(merging);
    EXPECT_LT(server.resident_megabytes(), kSanitized ? 1000 : 400);
    RecordProperty(absl::StrCat("megabytes", round), absl::StrCat(server.resident_megabytes()));
  }
}

TEST_F(SessionStreamsTest, AreToldWhenTheServerWillStop) {
  const std::string name = MustCreate(Request());
  grpc::ClientContext one, two;
  auto before = Open(one, name, "w0");
  loopback_.server().AnnounceStop();
  v1::TrainResponse response;
  ASSERT_TRUE(before->Read(&response));
  EXPECT_TRUE(response.has_draining());
  EXPECT_EQ(response.draining().retry_delay().seconds(), 1);
  auto after = Open(two, name, "w0");
  ASSERT_TRUE(after->Read(&response));
  EXPECT_TRUE(response.has_draining());
}

}  // namespace
}  // namespace bilevel::server
