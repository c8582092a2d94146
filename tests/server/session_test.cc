#include "server/sessions/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "absl/strings/str_cat.h"
#include "core/base/rng.h"
#include "server/jobs/refusal.h"
#include "server/reasons.h"
#include "server/sessions/session_registry.h"

namespace bilevel::server {
namespace {

using ::testing::HasSubstr;
using Route = SessionLearnerOptions::Route;

constexpr int kStates = 6, kActions = 2;

// A follower with one reward for each (s,a), whose leader wants action 0 everywhere.
BilevelProblem MakeProblem() {
  TabularMdpSpec spec{.num_states = kStates, .num_actions = kActions};
  spec.offsets.push_back(0);
  for (int row = 0; row < kStates * kActions; ++row) {
    spec.columns.push_back(static_cast<uint32_t>(row / kActions));
    spec.probabilities.push_back(1);
    spec.offsets.push_back(spec.columns.size());
  }
  ParametricRewardSpec reward;
  reward.features.resize(Eigen::Index{kStates} * kActions, 2);
  for (int row = 0; row < kStates * kActions; ++row) reward.features.insert(row, row % 2) = 1 + row;
  BilevelProblem problem{.num_parameters = 2,
                         .map = *ParameterMap::Create(2, {}),
                         .contexts = {},
                         .penalties = {},
                         .feasible_set = *FeasibleSet::Create(2, {}),
                         .sense = Sense::kMaximize};
  Context context{.mdp = std::make_shared<const TabularMdp>(*TabularMdp::Create(std::move(spec))),
                  .discount = 0.8,
                  .temperature = 0.5,
                  .reward = *ParametricReward::Create(Eigen::Index{kStates} * kActions, 2, std::move(reward))};
  problem.contexts.push_back(std::move(context));
  return problem;
}

TransitionBlock Block(std::span<const Transition> steps) { return {{steps.begin(), steps.end()}, {}}; }

SessionLearner MakeLearner(Route route, uint64_t interval, size_t trajectories = 0) {
  return *SessionLearner::Create(
      MakeProblem(), true, Vector{{0.1, -0.05}},
      {.route = route, .update_interval = interval, .trajectory_capacity = trajectories, .replay_draws = 1});
}

// What `writers` writers send together: rounds of 32 of one stream, dealt out in turn.
std::vector<std::vector<Transition>> Deal(size_t writers, int count) {
  Rng rng(1);
  std::vector<std::vector<Transition>> dealt(writers);
  for (int i = 0; i < count; ++i) {
    dealt[static_cast<size_t>(i) / 32 % writers].push_back({.episode = static_cast<uint64_t>(i),
                                                            .state = static_cast<int>(rng.Below(kStates)),
                                                            .action = static_cast<int>(rng.Below(kActions)),
                                                            .next_state = static_cast<int>(rng.Below(kStates)),
                                                            .kind = StepKind::kTruncated});
  }
  return dealt;
}

SessionOptions Options(size_t writers) {
  SessionOptions options{.writers = {}, .merge_round = 32, .queue = 1000};
  for (size_t w = 0; w < writers; ++w) options.writers.push_back(absl::StrCat("w", w));
  return options;
}

// Sends everything in random batches over streams that break off at random moments and are opened anew, some of them
// while the old one is still thought to be alive.
void Write(Session& session, size_t writer, const std::vector<Transition>& all, uint64_t seed) {
  Rng rng(seed, writer);
  const std::string name = absl::StrCat("w", writer);
  while (true) {
    const Session::Lease lease = *session.Open(name, [](StreamEnd) {});
    uint64_t next = session.Progress(lease)->accepted + 1;
    if (rng.Below(2) == 0 && next > 1) next -= std::min<uint64_t>(next - 1, rng.Below(50));  // unsure: sends again
    for (int i = 0; i < 20; ++i) {
      const auto progress = session.Progress(lease);
      if (progress->accepted == all.size()) {
        ASSERT_TRUE(session.Finish(lease, all.size()).ok());
        session.Close(lease);
        return;
      }
      const uint64_t room = std::min<uint64_t>(progress->credit, all.size()) + 1 - next;
      const uint64_t length = std::min<uint64_t>(rng.Below(room + 1), 200);
      ASSERT_TRUE(session.Offer(lease, next, Block(std::span(all).subspan(next - 1, length))).ok());
      next += length;
      if (length == 0) std::this_thread::yield();
    }
    if (rng.Below(2) == 0) session.Close(lease);
  }
}

TEST(Session, LearnsTheSameFromAnyThreadsBatchesAndBrokenStreams) {
  for (const Route route : {Route::kPlugIn, Route::kSoftQ}) {
    std::shared_ptr<const PublishedPolicy> first;
    for (size_t writers = 1; writers <= 4; ++writers) {
      const auto dealt = Deal(writers, 6007);
      const auto session = *Session::Start(MakeLearner(route, 500), Options(writers));
      std::atomic<bool> done = false;
      std::thread reader([&] {
        while (!done) {
          const auto policy = session->policy();
          EXPECT_EQ(policy == nullptr ? 0 : policy->merged % 500, 0);
          EXPECT_LE(session->Data(EstimatorOptions::Kind::kPlugIn, {})->merged, 6007);
          EXPECT_TRUE(session->Status().failure.ok());
        }
      });
      std::vector<std::thread> threads;
      for (size_t w = 0; w < writers; ++w) {
        threads.emplace_back([&, w] { Write(*session, w, dealt[w], writers); });
      }
      for (std::thread& thread : threads) thread.join();
      session->WaitUntilIdle();
      done = true;
      reader.join();
      EXPECT_EQ(session->Status().merged, 6007);
      EXPECT_EQ(session->Status().waiting_for, "");
      const auto policy = session->policy();
      ASSERT_NE(policy, nullptr);
      EXPECT_EQ(policy->version, 12);
      if (first == nullptr) first = policy;
      EXPECT_EQ(policy->contexts[0].pi, first->contexts[0].pi);
      EXPECT_EQ(policy->contexts[0].value, first->contexts[0].value);
    }
  }
}

TEST(Session, ANewerStreamFencesTheOlder) {
  const auto session = *Session::Start(MakeLearner(Route::kCount, 1), Options(1));
  int fenced = 0;
  const Session::Lease old = *session->Open("w0", [&](StreamEnd) { ++fenced; });
  const Session::Lease young = *session->Open("w0", [&](StreamEnd) { ++fenced; });
  EXPECT_EQ(fenced, 1);
  const auto batch = Deal(1, 10)[0];
  EXPECT_EQ(session->Offer(old, 1, Block(batch)).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(session->Finish(old, 0).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(session->Progress(old).status().code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(session->Offer(young, 1, Block(batch)).ok());
  EXPECT_EQ(session->Open("nobody", [](StreamEnd) {}).status().code(), absl::StatusCode::kNotFound);
  session->Stop();
  EXPECT_EQ(fenced, 2);
  EXPECT_EQ(session->Offer(young, 11, Block(batch)).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(session->Open("w0", [](StreamEnd) {}).status().code(), absl::StatusCode::kUnavailable);
}

TEST(Session, SaysForWhomItWaits) {
  const auto session = *Session::Start(MakeLearner(Route::kCount, 1), Options(2));
  const auto dealt = Deal(2, 200);
  const Session::Lease second = *session->Open("w1", [](StreamEnd) {});
  EXPECT_TRUE(session->Offer(second, 1, Block(dealt[1])).ok());
  session->WaitUntilIdle();
  EXPECT_EQ(session->Status().waiting_for, "w0");
  EXPECT_EQ(session->Status().merged, 0);
  const Session::Lease first = *session->Open("w0", [](StreamEnd) {});
  EXPECT_TRUE(session->Finish(first, 0).ok());
  session->WaitUntilIdle();
  EXPECT_EQ(session->Status().waiting_for, "");
  EXPECT_EQ(session->Status().merged, dealt[1].size());
}

// A writer that never stops meets its credit, not the end of memory.
TEST(Session, CreditBoundsWhatWaits) {
  const auto session = *Session::Start(MakeLearner(Route::kCount, 1), Options(2));
  const auto dealt = Deal(1, 2000);
  const Session::Lease lease = *session->Open("w1", [](StreamEnd) {});  // w0 never comes, so nothing is merged
  EXPECT_EQ(session->Progress(lease)->credit, 500);
  EXPECT_TRUE(session->Offer(lease, 1, Block(std::span(dealt[0]).first(500))).ok());
  EXPECT_EQ(session->Offer(lease, 501, Block(std::span(dealt[0]).subspan(500, 1))).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(session->Progress(lease)->accepted, 500);
}

TEST(Session, TellsThoseWhoWatch) {
  const auto session = *Session::Start(MakeLearner(Route::kPlugIn, 100), Options(1));
  std::atomic<int> told = 0;
  const uint64_t watch = session->Watch([&](const SessionNews&) { ++told; });
  const Session::Lease lease = *session->Open("w0", [](StreamEnd) {});
  EXPECT_TRUE(session->Offer(lease, 1, Block(Deal(1, 300)[0])).ok());
  session->WaitUntilIdle();
  EXPECT_GE(told, 1);
  EXPECT_EQ(session->policy()->version, 3);
  session->EndWatch(watch);
  const int before = told;
  EXPECT_TRUE(session->Offer(lease, 301, Block(Deal(1, 300)[0])).ok());
  session->WaitUntilIdle();
  EXPECT_EQ(told, before);
}

TEST(Session, StopsInTheMiddleOfItsWork) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    auto session = *Session::Start(MakeLearner(Route::kPlugIn, 10), Options(1));
    const Session::Lease lease = *session->Open("w0", [](StreamEnd) {});
    EXPECT_TRUE(session->Offer(lease, 1, Block(Deal(1, 1000)[0])).ok());
    std::this_thread::sleep_for(std::chrono::microseconds(100 * seed));
    std::thread other([&] { session->Stop(); });
    session->Stop();
    other.join();
    EXPECT_LE(session->Data(EstimatorOptions::Kind::kPlugIn, {})->merged, 1000);
  }
}

// Actors in threads of their own, x moved and preferences added by others meanwhile: actions and policy are those of
// one run after the other.
TEST(Session, ActsTheSameFromAnyThreads) {
  constexpr uint64_t kSteps = 400;
  std::vector<std::vector<int32_t>> first;
  std::string digest;
  for (const bool busy : {false, true}) {
    SessionOptions options = Options(2);
    options.follower = Follower::kSimulated;
    options.preference_capacity = 1000;
    const auto session = *Session::Start(MakeLearner(Route::kPlugIn, 50, /*trajectories=*/500), options);
    ASSERT_TRUE(session->SetParameters(300, Vector{{0.5, 0.5}}, {}).ok());
    std::atomic<bool> done = false;
    std::thread other([&] {
      for (uint64_t i = 1; busy && !done; ++i) {
        const PreferenceSource preference{{.range = {}, .context = 0, .states = {1}, .actions = {0}},
                                          {.range = {}, .context = 0, .states = {2}, .actions = {1}}};
        if (i <= 100) {
          EXPECT_TRUE(session->OfferPreferences(i, {&preference, 1}, {}).ok());
        }
        EXPECT_TRUE(session->Data(EstimatorOptions::Kind::kReturn, {}).ok());
        EXPECT_LE(session->Status().parameters_version, 2);
      }
    });
    std::vector<std::vector<int32_t>> actions(2);
    std::vector<std::thread> threads;
    for (size_t w = 0; w < 2; ++w) {
      threads.emplace_back([&, w] {
        const Session::Lease lease = *session->Open(absl::StrCat("w", w), [](StreamEnd) {});
        Rng rng(5, w);
        for (uint64_t sequence = 0; sequence <= kSteps; ++sequence) {
          const Observation observation{.sequence = sequence, .state = static_cast<int32_t>(rng.Below(kStates))};
          while (true) {
            const auto step = session->Act(lease, observation, {Exploration::Kind::kUniform, 0.2});
            ASSERT_TRUE(step.ok()) << step.status();
            if (!step->has_value()) {
              std::this_thread::yield();
              continue;
            }
            actions[w].push_back((*step)->action);
            break;
          }
        }
        ASSERT_TRUE(session->Finish(lease, kSteps).ok());
        EXPECT_EQ(session->Act(lease, {.episode = 1}, {}).status().code(), absl::StatusCode::kFailedPrecondition);
      });
    }
    for (std::thread& thread : threads) thread.join();
    session->WaitUntilIdle();
    done = true;
    other.join();
    EXPECT_EQ(session->Status().merged, 2 * kSteps);
    EXPECT_EQ(session->Status().parameters_version, 2);
    if (!busy) {
      first = actions;
      digest = session->policy()->digest;
    }
    EXPECT_EQ(actions, first);
    EXPECT_EQ(session->policy()->digest, digest);
  }
}

// Transitions far ahead of the round are learned from, round after round.
TEST(Session, LearnsRoundAfterRoundWhatASimulatedFollowersWriterSent) {
  SessionOptions options = Options(1);
  options.follower = Follower::kSimulated;
  const auto session = *Session::Start(MakeLearner(Route::kPlugIn, 100), options);
  const Session::Lease lease = *session->Open("w0", [](StreamEnd) {});
  ASSERT_TRUE(session->Offer(lease, 1, Block(Deal(1, 900)[0])).ok());
  session->WaitUntilIdle();
  EXPECT_EQ(session->Status().merged, 900);
  EXPECT_EQ(session->policy()->version, 9);
}

// x changes when so many transitions are learned from, whether or not more follow, and writers may name it from then
// on.
TEST(Session, XChangesWhereItWasSaidTo) {
  const auto session = *Session::Start(MakeLearner(Route::kPlugIn, 50), Options(1));
  const Session::Lease lease = *session->Open("w0", [](StreamEnd) {});
  const Vector x{{1, 2}};
  ASSERT_TRUE(session->SetParameters(100, x, {}).ok());
  EXPECT_EQ(session->Status().parameters_version, 1);
  auto steps = Deal(1, 200)[0];
  ASSERT_TRUE(session->Offer(lease, 1, Block(std::span(steps).first(100))).ok());
  session->WaitUntilIdle();
  EXPECT_EQ(session->Status().parameters_version, 2);
  EXPECT_EQ(session->Data(EstimatorOptions::Kind::kPlugIn, {})->parameters, x);
  EXPECT_EQ(session->policy()->parameters_version, 1);
  for (Transition& step : steps) step.parameters_version = 2;
  ASSERT_TRUE(session->Offer(lease, 101, Block(std::span(steps).subspan(100))).ok());
  session->WaitUntilIdle();
  EXPECT_EQ(session->policy()->parameters_version, 2);
  EXPECT_EQ(session->policy()->parameters, x);
  EXPECT_EQ(session->SetParameters(150, x, {}).code(), absl::StatusCode::kFailedPrecondition);
  for (uint64_t i = 0; i < ParameterSchedule::kMostToCome; ++i)
    EXPECT_TRUE(session->SetParameters(1000 + i, x, {}).ok());
  EXPECT_EQ(session->SetParameters(2000, x, {}).code(), absl::StatusCode::kResourceExhausted);
}

// However long learning from what waits would take.
TEST(Session, StopsAtOnce) {
  auto learner = *SessionLearner::Create(MakeProblem(), true, Vector{{0.1, -0.05}},
                                         {.route = Route::kSoftQ, .update_interval = 1'000'000, .replay_draws = 1000});
  const auto session = *Session::Start(std::move(learner), Options(1));
  const Session::Lease lease = *session->Open("w0", [](StreamEnd) {});
  ASSERT_TRUE(session->Offer(lease, 1, Block(Deal(1, 1000)[0])).ok());
  const auto begin = std::chrono::steady_clock::now();
  const std::atomic<bool> off = true;
  while (session->Data(EstimatorOptions::Kind::kPlugIn, Interrupt(&off, std::nullopt)).ok())
    std::this_thread::yield();  // until it is at work
  session->Stop();
  EXPECT_LT(session->Data(EstimatorOptions::Kind::kPlugIn, {})->merged, 1000);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

// Steps by themselves and on request, x set from outside, and readers of all of it, at the same time.
TEST(Session, TheOuterLoopGoesOnWhateverOthersDo) {
  for (const bool on_request : {false, true}) {
    BilevelProblem problem = MakeProblem();
    problem.contexts[0].objective.push_back({.weight = 1, .measure = FollowerValue{}});
    SessionLearnerOptions options{.route = Route::kPlugIn, .update_interval = 50};
    options.descent = SessionDescentOptions{.estimator = {.draws = 0}, .on_request = on_request};
    const auto session =
        *Session::Start(*SessionLearner::Create(std::move(problem), true, Vector{{0.1, -0.05}}, options), Options(2));
    const auto dealt = Deal(2, 5000);
    std::vector<std::thread> threads;
    for (size_t w = 0; w < 2; ++w) threads.emplace_back([&, w] { Write(*session, w, dealt[w], 3); });
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) session->Step(std::nullopt, {}).IgnoreError();
    });
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) EXPECT_TRUE(session->SetParameters(std::nullopt, Vector{{0.1 * i, 1}}, {}).ok());
    });
    threads.emplace_back([&] {
      uint64_t number = 0;
      for (int i = 0; i < 200; ++i) {
        if (const auto step = session->StepAfter(number); step != nullptr) {
          EXPECT_GT(step->number, number);
          number = step->number;
        }
        EXPECT_LE(session->Status().outer_loop->taken, 10'000u);
      }
    });
    for (std::thread& thread : threads) thread.join();
    session->WaitUntilIdle();
    // Steps may have been asked for before there was anything to estimate from.
    const auto step = session->Step(std::nullopt, {});
    ASSERT_TRUE(step.ok()) << step.status();
    EXPECT_EQ((*step)->merged, 5000u);
    const SessionStatus status = session->Status();
    EXPECT_EQ(status.outer_loop->taken, (*step)->number);
    EXPECT_EQ(status.parameters_version, session->Data(EstimatorOptions::Kind::kPlugIn, {})->parameters_version);
    EXPECT_EQ(status.parameters, session->Data(EstimatorOptions::Kind::kPlugIn, {})->parameters);
    EXPECT_EQ(session->policy()->parameters, status.parameters);
    EXPECT_GE(status.outer_loop->taken, on_request ? 1u : 5000u / 50);
  }
}

std::shared_ptr<Session> StartLoop(const SessionDescentOptions& loop) {
  BilevelProblem problem = MakeProblem();
  problem.contexts[0].objective.push_back({.weight = 1, .measure = FollowerValue{}});
  SessionLearnerOptions options{.route = Route::kPlugIn, .update_interval = 1'000'000};
  options.descent = loop;
  const auto session =
      *Session::Start(*SessionLearner::Create(std::move(problem), true, Vector{{0.1, -0.05}}, options), Options(1));
  const Session::Lease lease = *session->Open("w0", [](StreamEnd) {});
  EXPECT_TRUE(session->Offer(lease, 1, Block(Deal(1, 500)[0])).ok());
  session->WaitUntilIdle();
  return session;
}

// Many redraws: a step that takes minutes.
const SessionDescentOptions kLongStep{.estimator = {.draws = 10'000, .lower_level = {}}, .on_request = true};

// Meanwhile nobody is told that news will come soon; and whoever ends the session does not wait.
TEST(Session, ALongStepHoldsUpNobodyWhoEndsTheSession) {
  for (const StreamEnd why : {StreamEnd::kDeleted, StreamEnd::kServerStops}) {
    const auto session = StartLoop(kLongStep);
    const Session::Lease lease = *session->Open("w0", [](StreamEnd) {});
    absl::Status status;
    std::thread steps([&] {
      do {
        status = session->Step(std::nullopt, {}).status();
      } while (status.ok());
    });
    const auto more = Deal(1, 1000)[0];
    size_t sent = 500;
    bool soon = true;
    while (soon && sent < more.size()) {
      const auto offered = session->Offer(lease, sent + 1, Block(std::span(more).subspan(sent, 1)));
      ASSERT_TRUE(offered.ok());
      soon = *offered;
      ++sent;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_FALSE(soon);
    session->Stop(why);
    steps.join();
    EXPECT_EQ(status.code(), why == StreamEnd::kDeleted ? absl::StatusCode::kAborted : absl::StatusCode::kUnavailable);
  }
}

// x set to where it is lets a loop that has stopped begin anew; a change that was made stays made, whatever the loop
// did since.
TEST(Session, TheLoopBeginsAnewWhereXIsSetToWhatItIs) {
  const auto session = StartLoop({.descent = {.max_steps = 2}, .estimator = {.draws = 0}, .on_request = true});
  ASSERT_TRUE(session->Step(std::nullopt, {}).ok());
  ASSERT_TRUE(session->Step(std::nullopt, {}).ok());
  EXPECT_TRUE(session->Status().outer_loop->termination.has_value());
  const Vector x = session->Status().parameters;
  ASSERT_TRUE(session->SetParameters(std::nullopt, x, {}).ok());
  EXPECT_EQ(session->Status().parameters_version, 3u);
  EXPECT_FALSE(session->Status().outer_loop->termination.has_value());
  ASSERT_TRUE(session->Step(3, {}).ok());
  const Vector other{{1, 1}};
  ASSERT_TRUE(session->SetParameters(500, other, {}).ok());
  EXPECT_EQ(session->Status().parameters_version, 5u);
  EXPECT_EQ(session->Status().parameters, other);
  ASSERT_TRUE(session->Step(4, {}).ok());
  const Vector moved = session->Status().parameters;
  EXPECT_NE(moved, other);
  ASSERT_TRUE(session->SetParameters(500, other, {}).ok());  // again: it was made
  EXPECT_EQ(session->Status().parameters, moved);
  EXPECT_EQ(session->Status().parameters_version, 6u);
}

TEST(Session, WatchersWhoComeLateLearnThatItHasEnded) {
  const auto session = StartLoop({.on_request = true});
  session->Stop();
  bool ended = false;
  session->EndWatch(session->Watch([&](const SessionNews& news) { ended = news.ended; }));
  EXPECT_TRUE(ended);
}

TEST(Session, StreamsLearnWhyTheyEnd) {
  for (const StreamEnd why : {StreamEnd::kDeleted, StreamEnd::kServerStops}) {
    const auto session = *Session::Start(MakeLearner(Route::kCount, 1), Options(1));
    std::optional<StreamEnd> told;
    bool draining = false;
    const Session::Lease lease = *session->Open("w0", [&](StreamEnd end) { told = end; });
    const uint64_t watch = session->Watch([&](const SessionNews& news) { draining = draining || news.draining; });
    session->Drain();
    session->EndWatch(watch);
    EXPECT_TRUE(draining);
    session->Stop(why);
    EXPECT_EQ(told, why);
    EXPECT_EQ(session->Progress(lease).status().code(),
              why == StreamEnd::kServerStops ? absl::StatusCode::kUnavailable : absl::StatusCode::kAborted);
  }
}

TEST(Session, RefusesBadOptionsByName) {
  const auto message = [](const SessionOptions& options) {
    return std::string(Session::Start(MakeLearner(Route::kCount, 1), options).status().message());
  };
  EXPECT_THAT(message({.writers = {}}), HasSubstr("writers: is empty"));
  EXPECT_THAT(message({.writers = {"a", "a"}}), HasSubstr("writers: name somebody twice"));
  EXPECT_THAT(message({.merge_round = 0}), HasSubstr("merge_round: is 0"));
  EXPECT_THAT(message({.writers = {"a", "b"}, .queue = 1}), HasSubstr("queue: is 1"));
}

TEST(SessionRegistry, KeepsNamesWithinItsCapsOfNumberAndMemory) {
  MemoryBudget budget(1000);
  SessionRegistry registry(budget, 3);
  const auto create = [&](const std::string& id, double bytes) {
    return registry.Create(
        id, [] { return absl::StatusOr<SessionLearner>(MakeLearner(Route::kCount, 1)); }, Options(1), bytes);
  };
  EXPECT_EQ(create("", 100)->id, "s1");
  EXPECT_EQ(create("town", 100)->id, "town");
  EXPECT_EQ(create("town", 100).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(budget.used(), 200);
  EXPECT_EQ(GetRefusal(create("big", 5000).status())->reason, reasons::kMemoryBudgetExceeded);
  EXPECT_EQ(GetRefusal(create("now", 900).status())->reason, reasons::kMemoryBusy);
  EXPECT_EQ(create("", 100)->id, "s2");
  EXPECT_EQ(GetRefusal(create("one more", 1).status())->reason, reasons::kSessionLimit);
  EXPECT_EQ(registry.List().size(), 3);
  auto held = *registry.Find("town");
  EXPECT_TRUE(registry.Delete("town").ok());
  EXPECT_EQ(registry.Delete("town").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(registry.Find("town").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(held->Open("w0", [](StreamEnd) {}).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(budget.used(), 300);  // it is still held
  held = nullptr;
  EXPECT_EQ(budget.used(), 200);
  registry.StopAll();
  EXPECT_EQ(budget.used(), 0);
  EXPECT_EQ(create("late", 1).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace bilevel::server
