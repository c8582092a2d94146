// Numbering, batching, credit, resumption and rejection, without a network.

#include "client/transition_buffer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace bilevel::client {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using Clock = TransitionBuffer::Clock;
using Turn = TransitionBuffer::Turn;

Clock::time_point Soon(int ms = 5000) { return Clock::now() + milliseconds(ms); }

// The n-th transition is in state n.
Transition At(std::uint32_t n) { return {.episode = 1, .state = n, .action = 0, .next_state = n + 1}; }

void AppendUntil(TransitionBuffer& buffer, std::uint64_t from, std::uint64_t last) {
  for (std::uint64_t n = from; n <= last; ++n) {
    ASSERT_EQ(*buffer.Append(At(static_cast<std::uint32_t>(n)), Soon()), n);
  }
}

// An open buffer whose batches go at once.
class TransitionBufferTest : public ::testing::Test {
 protected:
  explicit TransitionBufferTest(const TransitionBufferOptions& options = {.capacity = 100,
                                                                          .batch_size = 10,
                                                                          .max_delay = milliseconds(0)})
      : buffer_(options) {
    Open(0, 0, 1000);
  }

  void Open(std::uint64_t accepted, std::uint64_t durable, std::uint64_t credit) {
    buffer_.Closed();
    buffer_.Opening();
    ASSERT_TRUE(buffer_.Opened(accepted, durable, credit).ok());
  }

  // "first+count" of the next batch; checks that it carries what was appended under these numbers.
  std::string Next() {
    TransitionBuffer::Batch batch;
    const Turn turn = buffer_.Next(batch);
    if (turn == Turn::kClosed) return "closed";
    if (turn == Turn::kFinish) return "finish " + std::to_string(batch.first);
    for (std::size_t i = 0; i < batch.transitions.size(); ++i) {
      EXPECT_EQ(batch.transitions[i].state, batch.first + i + shift_);
    }
    return std::to_string(batch.first) + "+" + std::to_string(batch.transitions.size());
  }

  TransitionBuffer buffer_;
  std::uint64_t shift_ = 0;  // of states over numbers, after some were dropped
};

TEST_F(TransitionBufferTest, BatchesByCountAndInOrder) {
  AppendUntil(buffer_, 1, 25);
  EXPECT_EQ(Next(), "1+10");
  EXPECT_EQ(Next(), "11+10");
  EXPECT_EQ(Next(), "21+5");
  EXPECT_EQ(buffer_.progress().sent, 25);
}

TEST(TransitionBuffer, WaitsForAFullBatchButNotLongerThanMaxDelay) {
  TransitionBuffer buffer({.capacity = 100, .batch_size = 10, .max_delay = milliseconds(60)});
  buffer.Opening();
  ASSERT_TRUE(buffer.Opened(0, 0, 1000).ok());
  AppendUntil(buffer, 1, 10);
  TransitionBuffer::Batch batch;
  const Clock::time_point begin = Clock::now();
  ASSERT_EQ(buffer.Next(batch), Turn::kBatch);
  EXPECT_LT(Clock::now() - begin, milliseconds(50));
  AppendUntil(buffer, 11, 13);
  ASSERT_EQ(buffer.Next(batch), Turn::kBatch);
  EXPECT_GE(Clock::now() - begin, milliseconds(60));
  EXPECT_EQ(batch.transitions.size(), 3);
}

TEST(TransitionBuffer, FlushDoesNotWaitForMaxDelay) {
  TransitionBuffer buffer({.capacity = 100, .batch_size = 10, .max_delay = std::chrono::minutes(5)});
  buffer.Opening();
  ASSERT_TRUE(buffer.Opened(0, 0, 1000).ok());
  AppendUntil(buffer, 1, 3);
  std::thread server([&] {
    TransitionBuffer::Batch batch;
    EXPECT_EQ(buffer.Next(batch), Turn::kBatch);
    buffer.Acknowledged(3, 3, 1000);
  });
  EXPECT_TRUE(buffer.Flush(Soon()).ok());
  server.join();
}

TEST_F(TransitionBufferTest, NeverSendsBeyondCredit) {
  Open(0, 0, 4);
  AppendUntil(buffer_, 1, 20);
  EXPECT_EQ(Next(), "1+4");
  buffer_.Acknowledged(4, 4, 6);
  EXPECT_EQ(Next(), "5+2");
  buffer_.Acknowledged(6, 6, 6);
  buffer_.Closing();
  EXPECT_EQ(Next(), "closed");
}

TEST_F(TransitionBufferTest, ColumnsThatComeAndGoCutBatches) {
  AppendUntil(buffer_, 1, 2);
  Transition paid = At(3);
  paid.leader_reward = 0.5;
  ASSERT_TRUE(buffer_.Append(paid, Soon()).ok());
  AppendUntil(buffer_, 4, 4);
  EXPECT_EQ(Next(), "1+2");
  EXPECT_EQ(Next(), "3+1");
  EXPECT_EQ(Next(), "4+1");
}

TEST(TransitionBuffer, LargeFeaturesCutBatches) {
  TransitionBuffer buffer(
      {.capacity = 100, .batch_size = 10, .max_delay = milliseconds(0), .batch_bytes = std::size_t{5000}});
  buffer.Opening();
  ASSERT_TRUE(buffer.Opened(0, 0, 1000).ok());
  for (std::uint32_t n = 1; n <= 5; ++n) {
    Transition transition = At(n);
    transition.features.assign(100, 1.0);
    ASSERT_TRUE(buffer.Append(transition, Soon()).ok());
  }
  TransitionBuffer::Batch batch;
  ASSERT_EQ(buffer.Next(batch), Turn::kBatch);
  EXPECT_EQ(batch.transitions.size(), 3);
}

TEST_F(TransitionBufferTest, HoldsNoMoreThanItsCapacity) {
  AppendUntil(buffer_, 1, 100);
  EXPECT_EQ(buffer_.Append(At(101), Soon(20)).status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(Next(), "1+10");
  // Accepted is not durable.
  buffer_.Acknowledged(10, 0, 1000);
  EXPECT_EQ(buffer_.Append(At(101), Soon(20)).status().code(), absl::StatusCode::kDeadlineExceeded);
  buffer_.Acknowledged(10, 10, 1000);
  AppendUntil(buffer_, 101, 110);
  EXPECT_EQ(buffer_.NotTaken().size(), 100);
}

TEST_F(TransitionBufferTest, ANewStreamGoesOnWhereTheServerStands) {
  AppendUntil(buffer_, 1, 40);
  EXPECT_EQ(Next(), "1+10");
  EXPECT_EQ(Next(), "11+10");
  EXPECT_EQ(Next(), "21+10");
  buffer_.Acknowledged(20, 8, 1000);
  buffer_.Closed();
  EXPECT_EQ(Next(), "closed");
  // The last batch had arrived, though nobody heard.
  Open(30, 8, 1000);
  EXPECT_EQ(Next(), "31+10");
  // The server crashed: back to what was durable.
  Open(8, 8, 1000);
  EXPECT_EQ(buffer_.progress().accepted, 8);
  EXPECT_EQ(Next(), "9+10");
}

TEST(TransitionBuffer, ANewProcessIsNumberedBehindWhatTheServerHas) {
  TransitionBuffer buffer({});
  buffer.Opening();
  ASSERT_TRUE(buffer.Opened(5000, 4000, 9000).ok());
  EXPECT_EQ(*buffer.Append(At(1), Soon()), 5001);
}

TEST_F(TransitionBufferTest, AServerThatLostWhatWasDurableIsAnError) {
  AppendUntil(buffer_, 1, 10);
  EXPECT_EQ(Next(), "1+10");
  buffer_.Acknowledged(10, 10, 1000);
  buffer_.Closed();
  buffer_.Opening();
  EXPECT_EQ(buffer_.Opened(3, 3, 1000).code(), absl::StatusCode::kDataLoss);
}

TEST_F(TransitionBufferTest, SomebodyElsesTransitionsAreAnError) {
  AppendUntil(buffer_, 1, 20);
  EXPECT_EQ(Next(), "1+10");
  buffer_.Closed();
  buffer_.Opening();
  EXPECT_EQ(buffer_.Opened(11, 11, 1000).code(), absl::StatusCode::kAborted);
}

TEST_F(TransitionBufferTest, ARejectionIsOfTheOffendingTransitionAlone) {
  AppendUntil(buffer_, 1, 30);
  EXPECT_EQ(Next(), "1+10");
  EXPECT_EQ(Next(), "11+10");
  EXPECT_EQ(Next(), "21+10");
  const absl::Status bad = absl::InvalidArgumentError("transition 14: state is 14");
  // The 4th of the second batch; the third is a gap.
  ASSERT_TRUE(buffer_.Rejected(11, 3, "state", bad).ok());
  EXPECT_FALSE(buffer_.rejection());
  ASSERT_TRUE(buffer_.Rejected(21, std::nullopt, "", absl::FailedPreconditionError("a gap")).ok());
  EXPECT_EQ(Next(), "11+3");
  EXPECT_EQ(Next(), "14+1");
  ASSERT_TRUE(buffer_.Rejected(14, 0, "state", bad).ok());
  ASSERT_TRUE(buffer_.rejection());
  EXPECT_EQ(buffer_.rejection()->first, 14);
  EXPECT_EQ(buffer_.rejection()->count, 1);
  EXPECT_EQ(buffer_.rejection()->column, "state");
  EXPECT_THAT(std::string(buffer_.Append(At(31), Soon()).status().message()), HasSubstr("transition 14"));
  EXPECT_EQ(buffer_.Flush(Soon()), bad);
  EXPECT_EQ(buffer_.NotTaken().size(), 17);
  EXPECT_EQ(buffer_.NotTaken().front(), At(14));

  ASSERT_TRUE(buffer_.ReplaceRejected({}).ok());
  shift_ = 1;
  EXPECT_EQ(Next(), "14+10");
  EXPECT_EQ(Next(), "24+6");
  buffer_.Acknowledged(29, 29, 1000);
  EXPECT_TRUE(buffer_.Flush(Soon()).ok());
  EXPECT_FALSE(buffer_.ReplaceRejected({}).ok());
}

TEST_F(TransitionBufferTest, NothingIsResentBeforeAllThatFollowedARejectionIsAnswered) {
  AppendUntil(buffer_, 1, 30);
  for (int i = 0; i < 3; ++i) Next();
  ASSERT_TRUE(buffer_.Rejected(1, 0, "state", absl::InvalidArgumentError("bad")).ok());
  ASSERT_TRUE(buffer_.ReplaceRejected({At(1)}).ok());
  std::atomic<int> answered = 0;
  std::thread sender([&] {
    EXPECT_EQ(Next(), "1+10");
    EXPECT_EQ(answered, 2);
  });
  for (const std::uint64_t first : {11, 21}) {
    std::this_thread::sleep_for(milliseconds(10));
    ++answered;
    ASSERT_TRUE(buffer_.Rejected(first, std::nullopt, "", absl::FailedPreconditionError("a gap")).ok());
  }
  sender.join();
}

TEST_F(TransitionBufferTest, ABatchThatIsRejectedAsAWholeIsDroppedOrReplacedAsAWhole) {
  AppendUntil(buffer_, 1, 15);
  Next();
  Next();
  ASSERT_TRUE(buffer_.Rejected(1, std::nullopt, "features", absl::InvalidArgumentError("absent")).ok());
  ASSERT_TRUE(buffer_.Rejected(11, std::nullopt, "", absl::FailedPreconditionError("a gap")).ok());
  EXPECT_EQ(buffer_.rejection()->count, 10);
  EXPECT_EQ(buffer_.NotTaken().size(), 15);
  ASSERT_TRUE(buffer_.ReplaceRejected({At(10)}).ok());
  shift_ = 9;
  EXPECT_EQ(Next(), "1+6");
}

TEST_F(TransitionBufferTest, ARejectionOutlivesTheStream) {
  AppendUntil(buffer_, 1, 20);
  Next();
  Next();
  ASSERT_TRUE(buffer_.Rejected(11, 0, "action", absl::InvalidArgumentError("bad")).ok());
  // Back to what was durable: what precedes the rejected one is sent again, and that not.
  Open(0, 0, 1000);
  EXPECT_EQ(Next(), "1+10");
  buffer_.Closing();
  EXPECT_EQ(Next(), "closed");
  EXPECT_TRUE(buffer_.rejection());
}

TEST_F(TransitionBufferTest, ARejectionOfWhatWasNotSentBreaksTheStream) {
  EXPECT_EQ(buffer_.Rejected(7, 0, "", absl::InvalidArgumentError("bad")).code(), absl::StatusCode::kInternal);
}

TEST_F(TransitionBufferTest, FinishComesLastAndOnce) {
  AppendUntil(buffer_, 1, 3);
  std::thread server([&] {
    EXPECT_EQ(Next(), "1+3");
    buffer_.Acknowledged(3, 3, 1000);
    EXPECT_EQ(Next(), "finish 3");
    buffer_.Closing();
    EXPECT_EQ(Next(), "closed");
    // The connection broke before anybody heard.
    Open(3, 3, 1000);
    EXPECT_EQ(Next(), "finish 3");
    buffer_.Finished();
  });
  EXPECT_TRUE(buffer_.Finish(Soon()).ok());
  server.join();
  EXPECT_EQ(buffer_.Append(At(4), Soon()).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(buffer_.Finish(Soon()).ok());
}

TEST_F(TransitionBufferTest, ARejectedFinishIsFinal) {
  std::thread server([&] {
    EXPECT_EQ(Next(), "finish 0");
    ASSERT_TRUE(buffer_.Rejected(0, std::nullopt, "", absl::InvalidArgumentError("last_sequence is 0")).ok());
  });
  EXPECT_EQ(buffer_.Finish(Soon()).code(), absl::StatusCode::kInvalidArgument);
  server.join();
  EXPECT_FALSE(buffer_.status().ok());
}

TEST_F(TransitionBufferTest, TheFirstFailureStands) {
  AppendUntil(buffer_, 1, 3);
  buffer_.Fail(absl::AbortedError("fenced"));
  buffer_.Fail(absl::CancelledError(""));
  EXPECT_EQ(buffer_.Flush(Soon()).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(buffer_.Append(At(4), Soon()).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(Next(), "closed");
  EXPECT_EQ(buffer_.NotTaken().size(), 3);
}

TEST(TransitionBuffer, OptionsOutOfRangeAreRefused) {
  EXPECT_FALSE((TransitionBufferOptions{.capacity = 0}).Validate().ok());
  EXPECT_FALSE((TransitionBufferOptions{.batch_size = 0}).Validate().ok());
  EXPECT_FALSE((TransitionBufferOptions{.batch_size = 8193}).Validate().ok());
  EXPECT_FALSE((TransitionBufferOptions{.max_delay = milliseconds(-1)}).Validate().ok());
  EXPECT_TRUE(TransitionBufferOptions().Validate().ok());
}

// Many writers, a sender and a server that cuts and falls back: all arrive once, in order, and memory stays bounded.
TEST(TransitionBuffer, DeliversOnceAndInOrderFromManyThreads) {
  constexpr std::uint64_t kEach = 3000;
  constexpr int kThreads = 3;
  TransitionBuffer buffer({.capacity = 200, .batch_size = 16, .max_delay = milliseconds(0)});
  std::vector<std::uint64_t> taken;  // state * kThreads + thread, as the server has them
  std::thread server([&] {
    std::uint64_t durable = 0;
    std::uint64_t credit = 0;
    for (int round = 0; taken.size() < kThreads * kEach; ++round) {
      buffer.Opening();
      if (round % 3 == 2) taken.resize(durable);
      credit = taken.size() + 50;
      ASSERT_TRUE(buffer.Opened(taken.size(), durable, credit).ok());
      for (int batches = 0; batches < 7 + round % 5 && taken.size() < kThreads * kEach; ++batches) {
        TransitionBuffer::Batch batch;
        ASSERT_EQ(buffer.Next(batch), Turn::kBatch);
        ASSERT_EQ(batch.first, taken.size() + 1);
        ASSERT_LE(batch.first + batch.transitions.size() - 1, credit);
        for (const Transition& transition : batch.transitions) {
          taken.push_back(transition.state * kThreads + transition.episode);
        }
        if (batches % 3 == 0) durable = taken.size();
        credit = taken.size() + 50;
        buffer.Acknowledged(taken.size(), durable, credit);
        ASSERT_LE(buffer.progress().appended - buffer.progress().durable, 200);
      }
      buffer.Closed();
    }
    buffer.Opening();
    ASSERT_TRUE(buffer.Opened(taken.size(), taken.size(), credit).ok());
  });
  std::vector<std::thread> writers;
  for (std::uint64_t thread = 0; thread < kThreads; ++thread) {
    writers.emplace_back([&, thread] {
      for (std::uint32_t n = 0; n < kEach; ++n) {
        Transition transition = At(n);
        transition.episode = thread;
        ASSERT_TRUE(buffer.Append(transition, Soon(60'000)).ok());
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_TRUE(buffer.Flush(Soon(60'000)).ok());
  server.join();
  std::vector<std::uint64_t> next(kThreads, 0);
  for (const std::uint64_t entry : taken) EXPECT_EQ(entry / kThreads, next[entry % kThreads]++);
  EXPECT_EQ(next, std::vector<std::uint64_t>(kThreads, kEach));
}

}  // namespace
}  // namespace bilevel::client
