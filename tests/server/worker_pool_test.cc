#include "server/jobs/worker_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <new>
#include <set>
#include <thread>
#include <vector>

#include "server/jobs/refusal.h"
#include "server/reasons.h"

namespace bilevel::server {
namespace {

using std::chrono::milliseconds;

// A task that runs until it is let go. Outlives the pool: declare it first.
class Gate {
 public:
  WorkerPool::Task Task() {
    return [this](WorkerPool::Clock::duration) {
      started_.set_value();
      open_.get_future().wait();
    };
  }
  void WaitUntilStarted() { started_.get_future().wait(); }
  void Open() { open_.set_value(); }

 private:
  std::promise<void> started_;
  std::promise<void> open_;
};

TEST(WorkerPool, TasksOfOneLaneStartInTheOrderTheyCame) {
  std::vector<int> order;
  {
    WorkerPool pool({.long_threads = 1, .short_threads = 1, .queue_length = 100});
    for (int i = 0; i < 50; ++i) {
      ASSERT_TRUE(pool.TrySubmit(Lane::kLong, [&order, i](auto) { order.push_back(i); }).ok());
    }
  }
  ASSERT_EQ(order.size(), 50u);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(order[i], i);
}

TEST(WorkerPool, ShortTasksDoNotWaitForLongOnes) {
  Gate gates[2];
  WorkerPool pool({.long_threads = 2, .short_threads = 1, .queue_length = 10});
  for (Gate& gate : gates) ASSERT_TRUE(pool.TrySubmit(Lane::kLong, gate.Task()).ok());
  for (Gate& gate : gates) gate.WaitUntilStarted();
  ASSERT_TRUE(pool.TrySubmit(Lane::kLong, [](auto) {}).ok());
  std::promise<void> done;
  ASSERT_TRUE(pool.TrySubmit(Lane::kShort, [&done](auto) { done.set_value(); }).ok());
  EXPECT_EQ(done.get_future().wait_for(std::chrono::seconds(5)), std::future_status::ready);
  for (Gate& gate : gates) gate.Open();
}

TEST(WorkerPool, IdleLongWorkersHelpWithShortTasks) {
  Gate first, second;
  WorkerPool pool({.long_threads = 1, .short_threads = 1, .queue_length = 10});
  ASSERT_TRUE(pool.TrySubmit(Lane::kShort, first.Task()).ok());
  ASSERT_TRUE(pool.TrySubmit(Lane::kShort, second.Task()).ok());
  first.WaitUntilStarted();
  second.WaitUntilStarted();
  first.Open();
  second.Open();
}

TEST(WorkerPool, AFullQueueRefusesAndSaysWhenToRetry) {
  Gate gate;
  WorkerPool pool({.long_threads = 1, .short_threads = 1, .queue_length = 2});
  ASSERT_TRUE(pool.TrySubmit(Lane::kLong, gate.Task()).ok());
  gate.WaitUntilStarted();
  ASSERT_TRUE(pool.TrySubmit(Lane::kLong, [](auto) {}).ok());
  ASSERT_TRUE(pool.TrySubmit(Lane::kLong, [](auto) {}).ok());
  const absl::Status status = pool.TrySubmit(Lane::kLong, [](auto) { FAIL() << "was refused"; }).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  const auto refusal = GetRefusal(status);
  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->reason, reasons::kQueueFull);
  EXPECT_TRUE(refusal->retry_delay.has_value());
  EXPECT_TRUE(pool.TrySubmit(Lane::kShort, [](auto) {}).ok()) << "the short lane has a queue of its own";
  gate.Open();
}

TEST(WorkerPool, WithoutAQueueOnlyIdleThreadsTakeTasks) {
  Gate gate;
  WorkerPool pool({.long_threads = 1, .short_threads = 1, .queue_length = 0});
  // The thread needs a moment before it is idle.
  while (!pool.TrySubmit(Lane::kLong, gate.Task()).ok()) std::this_thread::sleep_for(milliseconds(1));
  gate.WaitUntilStarted();
  EXPECT_FALSE(pool.TrySubmit(Lane::kLong, [](auto) {}).ok());
  gate.Open();
}

TEST(WorkerPool, TasksLearnHowLongTheyWaited) {
  std::promise<WorkerPool::Clock::duration> waited;
  Gate gate;
  WorkerPool pool({.long_threads = 1, .short_threads = 1, .queue_length = 10});
  ASSERT_TRUE(pool.TrySubmit(Lane::kLong, gate.Task()).ok());
  gate.WaitUntilStarted();
  ASSERT_TRUE(pool.TrySubmit(Lane::kLong, [&waited](auto queued) { waited.set_value(queued); }).ok());
  std::this_thread::sleep_for(milliseconds(20));
  gate.Open();
  EXPECT_GE(waited.get_future().get(), milliseconds(20));
}

TEST(WorkerPool, ATaskThatWaitsMayBeRunAtOnceWhichFreesItsPlace) {
  Gate gate;
  WorkerPool pool({.long_threads = 1, .short_threads = 1, .queue_length = 1});
  const auto running = pool.TrySubmit(Lane::kLong, gate.Task());
  ASSERT_TRUE(running.ok());
  gate.WaitUntilStarted();
  std::thread::id ran_in;
  const auto waiting = pool.TrySubmit(Lane::kLong, [&ran_in](auto) { ran_in = std::this_thread::get_id(); });
  ASSERT_TRUE(waiting.ok());
  EXPECT_FALSE(pool.TrySubmit(Lane::kLong, [](auto) {}).ok());
  pool.RunNow(*waiting);
  EXPECT_EQ(ran_in, std::this_thread::get_id());
  ran_in = {};
  pool.RunNow(*waiting);
  pool.RunNow(*running);
  EXPECT_EQ(ran_in, std::thread::id()) << "a task runs once";
  EXPECT_TRUE(pool.TrySubmit(Lane::kLong, [](auto) {}).ok());
  gate.Open();
}

TEST(WorkerPool, WhatWasTakenRunsBeforeStopReturnsAndNothingIsTakenAfter) {
  std::atomic<int> ran = 0;
  WorkerPool pool({.long_threads = 2, .short_threads = 1, .queue_length = 1000});
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(pool.TrySubmit(i % 2 == 0 ? Lane::kLong : Lane::kShort, [&ran](auto) { ++ran; }).ok());
  }
  pool.Stop();
  EXPECT_EQ(ran, 200);
  const absl::Status status = pool.TrySubmit(Lane::kShort, [](auto) {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(GetRefusal(status)->reason, reasons::kServerStopping);
}

TEST(WorkerPool, ARunningTaskGoesOnInAnotherLaneAfterClose) {
  Gate gate;
  std::atomic<bool> went_on = false;
  WorkerPool pool({.long_threads = 1, .short_threads = 1, .queue_length = 1});
  ASSERT_TRUE(pool.TrySubmit(Lane::kLong, gate.Task()).ok());
  gate.WaitUntilStarted();
  std::promise<void> started, closed;
  ASSERT_TRUE(pool.TrySubmit(Lane::kShort,
                             [&](WorkerPool::Clock::duration) {
                               started.set_value();
                               closed.get_future().wait();
                               EXPECT_FALSE(pool.TrySubmit(Lane::kLong, [](WorkerPool::Clock::duration) {}).ok());
                               EXPECT_TRUE(pool.TrySubmit(
                                                   Lane::kLong, [&](WorkerPool::Clock::duration) { went_on = true; },
                                                   /*continues=*/true)
                                               .ok());
                             })
                  .ok());
  started.get_future().wait();
  pool.Close();
  gate.Open();
  // The long worker has nothing left to do, and waits for what may come.
  std::this_thread::sleep_for(milliseconds(20));
  closed.set_value();
  pool.Stop();
  EXPECT_TRUE(went_on);
}

TEST(WorkerPool, ManyThreadsMaySubmitAtOnce) {
  std::atomic<int> ran = 0;
  std::atomic<int> taken = 0;
  {
    WorkerPool pool({.long_threads = 3, .short_threads = 2, .queue_length = 8});
    std::vector<std::thread> submitters;
    for (int t = 0; t < 4; ++t) {
      submitters.emplace_back([&, t] {
        for (int i = 0; i < 500; ++i) {
          const Lane lane = (i + t) % 2 == 0 ? Lane::kLong : Lane::kShort;
          if (pool.TrySubmit(lane, [&ran](auto) { ++ran; }).ok()) ++taken;
        }
      });
    }
    for (std::thread& submitter : submitters) submitter.join();
  }
  EXPECT_EQ(ran, taken);
  EXPECT_GT(taken, 0);
}

TEST(WorkerPool, PartsOfATaskRunOnceEachInIdleWorkersToo) {
  WorkerPool pool({.long_threads = 3, .short_threads = 1, .queue_length = 8});
  std::vector<int> runs(1000, 0);
  std::mutex mutex;
  std::set<std::thread::id> threads;
  std::promise<void> done;
  ASSERT_TRUE(pool.TrySubmit(Lane::kLong,
                             [&](auto) {
                               pool.Share(1000, [&](int i) {
                                 ++runs[static_cast<size_t>(i)];
                                 if (i < 100) std::this_thread::sleep_for(milliseconds(1));
                                 const std::lock_guard lock(mutex);
                                 threads.insert(std::this_thread::get_id());
                               });
                               done.set_value();
                             })
                  .ok());
  done.get_future().get();
  EXPECT_EQ(runs, std::vector<int>(1000, 1));
  EXPECT_GT(threads.size(), 1);
  EXPECT_LE(threads.size(), 3);
}

TEST(WorkerPool, TasksComeBeforePartsAndPartsNeedNoHelp) {
  Gate gate;
  WorkerPool pool({.long_threads = 1, .short_threads = 1, .queue_length = 8});
  ASSERT_TRUE(pool.TrySubmit(Lane::kLong, gate.Task()).ok());
  gate.WaitUntilStarted();
  // The only worker is busy: all parts run here.
  std::set<std::thread::id> threads;
  pool.Share(10, [&](int) { threads.insert(std::this_thread::get_id()); });
  EXPECT_EQ(threads, std::set<std::thread::id>{std::this_thread::get_id()});
  // Between two parts a worker takes the task that waits.
  std::atomic<bool> task_ran = false;
  std::atomic<int> parts_before_task = 0;
  ASSERT_TRUE(pool.TrySubmit(Lane::kLong, [&](auto) { task_ran = true; }).ok());
  gate.Open();
  pool.Share(200, [&](int) {
    if (!task_ran) ++parts_before_task;
    std::this_thread::sleep_for(milliseconds(1));
  });
  EXPECT_TRUE(task_ran);
  EXPECT_LT(parts_before_task, 150);
}

TEST(WorkerPool, WhatAPartThrowsReachesTheTaskThatShared) {
  WorkerPool pool({.long_threads = 2, .short_threads = 1, .queue_length = 8});
  for (int repeat = 0; repeat < 50; ++repeat) {
    EXPECT_THROW(pool.Share(20,
                            [](int i) {
                              if (i == 7) throw std::bad_alloc();
                            }),
                 std::bad_alloc);
  }
}

}  // namespace
}  // namespace bilevel::server
