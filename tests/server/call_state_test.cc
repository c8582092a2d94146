#include "server/jobs/call_state.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace bilevel::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = CallState::Clock;

TEST(CallState, NothingInterruptsACallWithoutLimits) {
  const CallState call(std::nullopt);
  EXPECT_FALSE(call.MakeInterrupt(Clock::now(), std::nullopt).Check().has_value());
}

TEST(CallState, CancelIsSeenByTheSolver) {
  CallState call(std::nullopt);
  const Interrupt interrupt = call.MakeInterrupt(Clock::now(), std::nullopt);
  std::thread client([&call] { call.Cancel(); });
  while (!interrupt.Check().has_value()) std::this_thread::yield();
  client.join();
  EXPECT_EQ(interrupt.Check(), StopReason::kCancelled);
  EXPECT_TRUE(call.abandoned());
  EXPECT_FALSE(call.stopped_early());
}

TEST(CallState, TheReactionToBeingAbandonedRunsOnceWhicheverComesFirst) {
  int reactions = 0;
  CallState later(std::nullopt);
  later.OnAbandon([&reactions] { ++reactions; });
  later.StopEarly();
  EXPECT_EQ(reactions, 0);
  later.Cancel();
  later.Cancel();
  EXPECT_EQ(reactions, 1);
  CallState earlier(std::nullopt);
  earlier.Cancel();
  earlier.OnAbandon([&reactions] { ++reactions; });
  EXPECT_EQ(reactions, 2);
  CallState twice(std::nullopt);
  for (int i = 0; i < 2; ++i) twice.OnAbandon([&reactions] { ++reactions; });
  twice.Cancel();
  EXPECT_EQ(reactions, 4) << "one for each step of a call";
}

TEST(CallState, TheEarlierOfTimeLimitAndDeadlineMinusMarginCounts) {
  const Clock::time_point now = Clock::now();
  const CallState soon(now + milliseconds(150));
  EXPECT_EQ(soon.MakeInterrupt(now, std::nullopt).Check(), StopReason::kTimeLimit) << "the margin is 200 ms";
  const CallState later(now + seconds(3600));
  EXPECT_FALSE(later.MakeInterrupt(now, std::nullopt).Check().has_value());
  EXPECT_FALSE(later.MakeInterrupt(now, seconds(1800)).Check().has_value());
  EXPECT_EQ(later.MakeInterrupt(now - seconds(10), seconds(5)).Check(), StopReason::kTimeLimit);
}

TEST(CallState, AHugeTimeLimitDoesNotOverflow) {
  const CallState call(std::nullopt);
  EXPECT_FALSE(call.MakeInterrupt(Clock::now(), Clock::duration::max()).Check().has_value());
}

TEST(CallRegistry, StopAllReachesEveryCallInProgressAndKeepsItWanted) {
  CallRegistry registry;
  const auto first = registry.Open(std::nullopt);
  const auto second = registry.Open(std::nullopt);
  registry.Open(std::nullopt).reset();
  EXPECT_EQ(registry.size(), 2u);
  registry.StopAll();
  EXPECT_EQ(first->MakeInterrupt(Clock::now(), std::nullopt).Check(), StopReason::kCancelled);
  EXPECT_TRUE(second->stopped_early());
  EXPECT_FALSE(second->abandoned());
}

TEST(CallRegistry, WaitsUntilTheLastCallIsGone) {
  CallRegistry registry;
  auto call = registry.Open(std::nullopt);
  EXPECT_FALSE(registry.WaitUntilIdle(milliseconds(10)));
  std::thread worker([moved = std::move(call)]() mutable {
    std::this_thread::sleep_for(milliseconds(20));
    moved.reset();
  });
  EXPECT_TRUE(registry.WaitUntilIdle(seconds(10)));
  worker.join();
}

TEST(CallRegistry, CallsMayComeAndGoWhileAllAreStopped) {
  CallRegistry registry;
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&registry] {
      for (int i = 0; i < 500; ++i) registry.Open(std::nullopt)->Cancel();
    });
  }
  for (int i = 0; i < 100; ++i) registry.StopAll();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(registry.size(), 0u);
}

}  // namespace
}  // namespace bilevel::server
