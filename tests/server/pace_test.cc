#include "server/jobs/pace.h"

#include <gtest/gtest.h>

namespace bilevel::server {
namespace {

using std::chrono::seconds;

class PaceTest : public ::testing::Test {
 protected:
  PaceOptions::Clock::time_point now_;
  PaceOptions options_{.idle = seconds(60), .bytes_per_second = 1000, .now = [this] { return now_; }};
};

TEST_F(PaceTest, NothingForAWhileIsLate) {
  Pace pace(options_);
  now_ += seconds(60);
  EXPECT_FALSE(pace.IsLate());
  pace.Move(1'000'000);
  now_ += seconds(60);
  EXPECT_FALSE(pace.IsLate());
  now_ += seconds(1);
  EXPECT_TRUE(pace.IsLate());
}

TEST_F(PaceTest, AByteNowAndThenIsLateOnceTheFirstWhileHasPassed) {
  Pace trickle(options_), steady(options_);
  for (int second = 0; second < 600; second += 10) {
    EXPECT_EQ(trickle.IsLate(), second > 60) << second;
    EXPECT_FALSE(steady.IsLate()) << second;
    trickle.Move(1);
    steady.Move(10'000);
    now_ += seconds(10);
  }
}

TEST_F(PaceTest, WhoeverIsLateIsToldOnceWhileHeIsWatched) {
  PaceWatch watch(options_);
  int first = 0, second = 0, third = 0;
  const auto late = watch.Watch([&] { ++first; }), moving = watch.Watch([&] { ++second; });
  watch.Watch([&] { ++third; });
  now_ += seconds(40);
  moving->Move(100'000);
  now_ += seconds(40);
  watch.TellLate();
  watch.TellLate();
  EXPECT_EQ(first, 1);
  EXPECT_EQ(second, 0);
  EXPECT_EQ(third, 0);
}

}  // namespace
}  // namespace bilevel::server
