#include "server/jobs/memory_budget.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "server/jobs/refusal.h"
#include "server/reasons.h"

namespace bilevel::server {
namespace {

TEST(MemoryBudget, ReservationsAddUpAndComeBack) {
  MemoryBudget budget(100);
  {
    auto first = budget.Reserve(60);
    ASSERT_TRUE(first.ok());
    auto second = budget.Reserve(40);
    ASSERT_TRUE(second.ok());
    EXPECT_EQ(budget.used(), 100);
    MemoryBudget::Reservation moved = *std::move(first);
    EXPECT_EQ(budget.used(), 100);
  }
  EXPECT_EQ(budget.used(), 0);
}

TEST(MemoryBudget, ABusyBudgetRefusesForNow) {
  MemoryBudget budget(100);
  const auto held = budget.Reserve(60);
  const auto refused = budget.Reserve(50);
  ASSERT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  const auto refusal = GetRefusal(refused.status());
  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->reason, reasons::kMemoryBusy);
  EXPECT_EQ(refusal->subject, "memory_budget");
  EXPECT_TRUE(refusal->retry_delay.has_value());
}

TEST(MemoryBudget, ARequestAboveTheWholeBudgetIsRefusedForGoodWithEstimateLimitAndAdvice) {
  MemoryBudget budget(1 << 20);
  const auto refused = budget.Reserve(4 << 20);
  const auto refusal = GetRefusal(refused.status());
  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->reason, reasons::kMemoryBudgetExceeded);
  EXPECT_FALSE(refusal->retry_delay.has_value());
  EXPECT_NE(refusal->description.find("4 MiB"), std::string::npos) << refusal->description;
  EXPECT_NE(refusal->description.find("1 MiB"), std::string::npos) << refusal->description;
  EXPECT_NE(refusal->description.find("--memory_budget"), std::string::npos) << refusal->description;
  EXPECT_EQ(budget.CheckFits(4 << 20), refused.status());
}

TEST(MemoryBudget, IsNeverOverdrawnByThreadsThatReserveAtOnce) {
  MemoryBudget budget(10);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&budget] {
      for (int i = 0; i < 1000; ++i) {
        const auto reservation = budget.Reserve(4);
        EXPECT_LE(budget.used(), 10);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(budget.used(), 0);
}

}  // namespace
}  // namespace bilevel::server
