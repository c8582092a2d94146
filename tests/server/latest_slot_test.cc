#include "server/jobs/latest_slot.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace bilevel::server {
namespace {

using Slot = LatestSlot<std::string>;
using Action = Slot::Action;

TEST(LatestSlot, ANewerReportReplacesAnOlderOneThatStillWaits) {
  Slot slot;
  EXPECT_EQ(slot.PutProgress("1"), Action::kWrite);
  EXPECT_EQ(slot.in_flight(), "1");
  EXPECT_EQ(slot.PutProgress("2"), Action::kNothing);
  EXPECT_EQ(slot.PutProgress("3"), Action::kNothing);
  EXPECT_EQ(slot.in_flight(), "1");
  EXPECT_EQ(slot.OnWritten(true), Action::kWrite);
  EXPECT_EQ(slot.in_flight(), "3");
  EXPECT_EQ(slot.OnWritten(true), Action::kNothing);
}

TEST(LatestSlot, TheEndWaitsForTheWriteInFlightAndDropsOlderProgress) {
  Slot slot;
  EXPECT_EQ(slot.PutProgress("1"), Action::kWrite);
  EXPECT_EQ(slot.PutProgress("2"), Action::kNothing);
  EXPECT_EQ(slot.PutEnd("end"), Action::kNothing);
  EXPECT_EQ(slot.in_flight(), "1");
  EXPECT_EQ(slot.OnWritten(true), Action::kWriteLast);
  EXPECT_EQ(slot.in_flight(), "end");
  EXPECT_EQ(slot.PutProgress("late"), Action::kNothing);
}

TEST(LatestSlot, ProgressThatIsDroppedIsHeldNoLonger) {
  using Event = std::shared_ptr<int>;
  LatestSlot<Event> slot;
  const auto written = std::make_shared<int>(1), waiting = std::make_shared<int>(2);
  EXPECT_EQ(slot.PutProgress(written), LatestSlot<Event>::Action::kWrite);
  EXPECT_EQ(slot.PutProgress(waiting), LatestSlot<Event>::Action::kNothing);
  EXPECT_EQ(slot.PutEnd(std::make_shared<int>(3)), LatestSlot<Event>::Action::kNothing);
  EXPECT_EQ(waiting.use_count(), 1);
  EXPECT_EQ(written.use_count(), 2);
}

TEST(LatestSlot, AnIdleStreamEndsAtOnce) {
  Slot with_event;
  EXPECT_EQ(with_event.PutEnd("end"), Action::kWriteLast);
  Slot without;
  EXPECT_EQ(without.PutEnd(std::nullopt), Action::kEnd);
}

TEST(LatestSlot, NothingIsWrittenAfterTheReaderIsGoneButTheStreamStillEnds) {
  Slot slot;
  EXPECT_EQ(slot.PutProgress("1"), Action::kWrite);
  EXPECT_EQ(slot.OnWritten(false), Action::kNothing);
  EXPECT_EQ(slot.PutProgress("2"), Action::kNothing);
  EXPECT_EQ(slot.PutEnd("end"), Action::kEnd);
}

TEST(LatestSlot, AFastSolverAndASlowWriterEndExactlyOnceAndInOrder) {
  Slot slot;
  std::atomic<int> to_write = 0;  // writes handed to the writer's thread
  std::atomic<int> ends = 0;
  std::vector<int> written;
  // What gRPC does: completes writes on a thread of its own.
  const auto act = [&](Action action) {
    if (action == Action::kWrite) ++to_write;
    if (action == Action::kWriteLast) {
      written.push_back(std::stoi(slot.in_flight()));
      ++ends;
    }
  };
  std::thread writer([&] {
    while (ends == 0) {
      if (to_write == 0) {
        std::this_thread::yield();
        continue;
      }
      --to_write;
      written.push_back(std::stoi(slot.in_flight()));
      act(slot.OnWritten(true));
    }
  });
  for (int i = 1; i <= 5000; ++i) act(slot.PutProgress(std::to_string(i)));
  // Let the writer fall idle or not: both ways must end.
  act(slot.PutEnd("5001"));
  writer.join();
  EXPECT_EQ(ends, 1);
  ASSERT_FALSE(written.empty());
  EXPECT_EQ(written.back(), 5001);
  for (size_t i = 1; i < written.size(); ++i) EXPECT_LT(written[i - 1], written[i]);
}

}  // namespace
}  // namespace bilevel::server
