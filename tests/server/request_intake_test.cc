#include "server/jobs/request_intake.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "core/base/field_error.h"
#include "server/jobs/refusal.h"
#include "server/reasons.h"

namespace bilevel::server {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;

class RequestIntakeTest : public ::testing::Test {
 protected:
  using Clock = PaceOptions::Clock;

  void Pass(Clock::duration time) { now_ = now_.load() + time.count(); }

  static std::string Joined(const RequestIntake::Whole& whole) {
    std::string bytes;
    for (const std::string& block : whole.blocks) bytes += block;
    return bytes;
  }

  std::atomic<Clock::rep> now_ = 0;
  MemoryBudget budget_{10e6};
  RequestIntake intake_{budget_, {.idle = seconds(60), .bytes_per_second = 1000, .now = [this] {
                                    return Clock::time_point(Clock::duration(now_.load()));
                                  }}};
  std::atomic<int> late_ = 0;
  std::function<void()> on_late_ = [this] { ++late_; };
};

TEST_F(RequestIntakeTest, PutsTogetherWhatArrivesHoweverItIsCut) {
  std::string bytes(3 << 20, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7919 >> 5);
  for (const size_t piece : {size_t{1} << 20, size_t{999'983}, size_t{5'000'000}, size_t{4097}}) {
    const auto arrival = intake_.Open(bytes.size(), on_late_);
    EXPECT_EQ(budget_.used(), bytes.size()) << "before anything has come";
    for (size_t at = 0; at < bytes.size(); at += piece) {
      ASSERT_TRUE((*arrival)->Take(std::string_view(bytes).substr(at, piece)).ok());
    }
    const auto whole = (*arrival)->Finish();
    ASSERT_TRUE(whole.ok()) << whole.status();
    EXPECT_TRUE(Joined(*whole) == bytes);
    EXPECT_EQ(whole->reservation.bytes(), bytes.size());
    EXPECT_EQ(whole->blocks.size(), 3u) << "many small pieces are no many blocks";
  }
  EXPECT_EQ(budget_.used(), 0);
}

TEST_F(RequestIntakeTest, MoreAndFewerThanAnnouncedAreNamed) {
  const auto arrival = intake_.Open(5, on_late_);
  ASSERT_TRUE((*arrival)->Take("abc").ok());
  const absl::Status fewer = (*arrival)->Finish().status();
  EXPECT_EQ(GetFieldViolation(fewer)->field, "total_bytes");
  EXPECT_THAT(std::string(fewer.message()), HasSubstr("is 5 and 3 bytes came"));
  const absl::Status more = (*arrival)->Take("def");
  EXPECT_EQ(GetFieldViolation(more)->field, "data");
  EXPECT_THAT(std::string(more.message()), HasSubstr("brings 6 bytes and total_bytes is 5"));
  EXPECT_TRUE((*arrival)->Take("de").ok());
  EXPECT_EQ(Joined((*arrival)->Finish().value()), "abcde");
  EXPECT_TRUE(absl::IsAborted((*arrival)->Finish().status())) << "once";
}

TEST_F(RequestIntakeTest, NothingIsARequestToo) {
  const auto arrival = intake_.Open(0, on_late_);
  EXPECT_TRUE((*arrival)->Finish()->blocks.empty());
}

TEST_F(RequestIntakeTest, LargerThanTheBudgetIsRefused) {
  EXPECT_EQ(GetRefusal(intake_.Open(10'000'001, on_late_).status())->reason, reasons::kMemoryBudgetExceeded);
  const auto first = intake_.Open(6'000'000, on_late_);
  EXPECT_EQ(GetRefusal(intake_.Open(6'000'000, on_late_).status())->reason, reasons::kMemoryBusy);
  EXPECT_EQ(budget_.used(), 6e6);
}

TEST_F(RequestIntakeTest, WhoAnnouncesAndSendsNothingHoldsItUntilSomebodyNeedsIt) {
  budget_.OnShortage([this] { intake_.ForgetLate(); });
  const auto liar = intake_.Open(9'000'000, on_late_);
  Pass(seconds(59));
  EXPECT_FALSE(budget_.Reserve(2e6).ok());
  Pass(seconds(2));
  EXPECT_TRUE(budget_.Reserve(2e6).ok());
  EXPECT_EQ(late_, 1);
  EXPECT_EQ(budget_.used(), 0);
  EXPECT_TRUE(absl::IsAborted((*liar)->Take("x")));
  EXPECT_TRUE(absl::IsAborted((*liar)->Finish().status()));
  Pass(seconds(100));
  intake_.ForgetLate();
  EXPECT_EQ(late_, 1) << "once";
}

TEST_F(RequestIntakeTest, WhoSendsAByteNowAndThenIsLateToo) {
  const auto trickle = intake_.Open(9'000'000, on_late_), steady = intake_.Open(1'000'000, on_late_);
  for (int second = 0; second < 100; second += 10) {
    ASSERT_TRUE((*steady)->Take(std::string(10'000, 'x')).ok());
    if (second < 60) {
      ASSERT_TRUE((*trickle)->Take("x").ok());
    }
    Pass(seconds(10));
    intake_.ForgetLate();
  }
  EXPECT_EQ(late_, 1);
  EXPECT_TRUE(absl::IsAborted((*trickle)->Take("x")));
  EXPECT_TRUE((*steady)->Take("x").ok());
  Pass(seconds(61));
  intake_.ForgetLate();
  EXPECT_EQ(late_, 2) << "100 s were earned, but nothing has come for a minute";
}

TEST_F(RequestIntakeTest, WhatHasComeIsNotLate) {
  const auto arrival = intake_.Open(3, on_late_);
  ASSERT_TRUE((*arrival)->Take("abc").ok());
  const auto whole = (*arrival)->Finish();
  Pass(seconds(1000));
  intake_.ForgetLate();
  EXPECT_EQ(late_, 0);
  EXPECT_EQ(Joined(*whole), "abc");
  EXPECT_EQ(budget_.used(), 3);
}

TEST_F(RequestIntakeTest, ThreadsComeAndGoWhileOthersForget) {
  std::atomic<bool> stop = false;
  std::thread forgets([&] {
    while (!stop) {
      Pass(seconds(30));
      intake_.ForgetLate();
    }
  });
  std::atomic<int> forgotten = 0, whole = 0;
  std::vector<std::thread> senders;
  for (int sender = 0; sender < 3; ++sender) {
    senders.emplace_back([&] {
      for (int call = 0; call < 200; ++call) {
        const auto arrival = intake_.Open(3000, on_late_);
        if (!arrival.ok()) continue;
        for (int piece = 0; piece < 3; ++piece) static_cast<void>((*arrival)->Take(std::string(1000, 'x')));
        (*arrival)->Finish().ok() ? ++whole : ++forgotten;
      }
    });
  }
  for (std::thread& sender : senders) sender.join();
  stop = true;
  forgets.join();
  EXPECT_EQ(whole + forgotten, 600);
  EXPECT_EQ(late_, forgotten);
  EXPECT_EQ(budget_.used(), 0);
}

}  // namespace
}  // namespace bilevel::server
