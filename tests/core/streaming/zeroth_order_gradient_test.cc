#include "core/streaming/zeroth_order_gradient.h"

#include <atomic>
#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/streaming/draw_return.h"
#include "tests/support/tally.h"

namespace bilevel::testing {
namespace {

using ::testing::HasSubstr;

struct Objective {
  explicit Objective(const ProblemNumbers& numbers, double l1 = 0) : problem(Build(numbers)) {
    problem.penalties.l1 = l1;
    Rng rng(51);
    x = DrawNormal(rng, problem.num_parameters);
    point = *HypergradientEvaluator(problem, {}).Evaluate(x, {});
  }
  ZerothOrderGradient Estimate(const ZerothOrderOptions& options, const Interrupt& interrupt = {}) const {
    return *EstimateZerothOrder(problem, x, options, interrupt);
  }

  BilevelProblem problem;
  Vector x;
  HypergradientPoint point;
};

// Entries of g_j are products of two: 200 directions for normal intervals.
TEST(ZerothOrderGradient, HasTheExactMeanAndHonestErrorBars) {
  const Objective exact(DrawReturn(52, 0.9));
  Tally tally(exact.point.gradient);
  for (uint64_t seed = 1; seed <= kManySeeds; ++seed) {
    const auto found = exact.Estimate({.radius = 1e-3, .directions = 200, .seed = seed});
    tally.Add(found.gradient - found.bias, found.standard_error);
    EXPECT_EQ(found.directions, 200);
    EXPECT_NEAR(found.objective, exact.point.objective, 1e-8);
  }
  tally.ExpectHonest(3.3);  // Bonferroni over 5 components: 0.5 %
  // The sphere's law, (n - 1) |grad phi|^2 / k.
  const double law = 4 * exact.point.gradient.squaredNorm() / 200;
  EXPECT_NEAR(tally.deviation().squaredNorm() / law, 1, kSanitized ? 0.6 : 0.15);
}

TEST(ZerothOrderGradient, LeavesOutThePenaltyThatHasNoDerivative) {
  const Objective rough(DrawReturn(57, 0.9), 0.3), smooth(DrawReturn(57, 0.9));
  EXPECT_LT((rough.Estimate({}).gradient - smooth.Estimate({}).gradient).norm(), 1e-9);
  EXPECT_NEAR(rough.Estimate({}).objective, rough.point.objective, 1e-9);
  EXPECT_GT(std::abs(rough.point.objective - smooth.point.objective), 0.1);
}

// Unit directions of one dimension are +-1, and the estimate has no spread.
TEST(ZerothOrderGradient, IsTheCentralDifferenceInOneDimension) {
  ProblemNumbers numbers = DrawReturn(56, 0.9);
  numbers.num_parameters = 1;
  numbers.groups = {};
  for (auto* reward : {&numbers.contexts[0].reward, &numbers.contexts[0].leader_reward}) {
    reward->features = SparseRows(reward->features.leftCols(1));
  }
  const Objective exact(numbers);
  const auto found = exact.Estimate({.radius = 1e-3, .directions = 2});
  EXPECT_NEAR(found.gradient[0], exact.point.gradient[0], 1e-5 * std::abs(exact.point.gradient[0]));
  EXPECT_NEAR(found.gradient[0] - found.bias[0], exact.point.gradient[0], 1e-8 * std::abs(exact.point.gradient[0]));
  EXPECT_LT(found.standard_error[0], 1e-8);
}

// Directions that were drawn once serve at every radius: what changes with h is the bias alone.
TEST(ZerothOrderGradient, BiasFallsLikeTheSquareOfTheRadiusAndIsEstimated) {
  const Objective exact(DrawReturn(53, 0.9));
  const auto at = [&](double radius) { return exact.Estimate({.radius = radius, .directions = 100, .seed = 3}); };
  const Vector limit = at(1e-3).gradient;
  const auto coarse = at(0.2), fine = at(0.1);
  const double coarse_error = (coarse.gradient - limit).norm(), fine_error = (fine.gradient - limit).norm();
  EXPECT_NEAR(std::log2(coarse_error / fine_error), 2, 0.1);
  EXPECT_LT((coarse.gradient - coarse.bias - limit).norm(), 0.1 * coarse_error);
  EXPECT_LT((fine.gradient - fine.bias - limit).norm(), 0.03 * fine_error);
}

TEST(ZerothOrderGradient, UsesWhatWasDoneBeforeALimit) {
  const Objective exact(DrawReturn(54, 0.9));
  std::atomic<bool> cancelled = true;
  const auto none = exact.Estimate({}, Interrupt(&cancelled, std::nullopt));
  EXPECT_EQ(none.directions, 0);
  EXPECT_EQ(none.gradient, Vector::Zero(5));
  EXPECT_EQ(none.standard_error.size(), 0);
  EXPECT_EQ(none.termination.reason, StopReason::kCancelled);

  cancelled = false;
  Pulse pulse([&, beats = 0]() mutable { cancelled = ++beats > 2000; }, std::chrono::nanoseconds(1));
  const auto some = exact.Estimate({.directions = 10'000}, Interrupt(&cancelled, std::nullopt).WithPulse(pulse));
  EXPECT_EQ(some.termination.reason, StopReason::kCancelled);
  ASSERT_GT(some.directions, 2);
  ASSERT_LT(some.directions, 10'000);
  const auto same = exact.Estimate({.directions = some.directions});
  EXPECT_EQ(some.gradient, same.gradient);
  EXPECT_EQ(some.standard_error, same.standard_error);
  EXPECT_EQ(same.termination.reason, StopReason::kConverged);
}

TEST(ZerothOrderGradient, SameSeedSameAnswer) {
  const Objective exact(DrawReturn(55, 0.9));
  EXPECT_EQ(exact.Estimate({.seed = 1}).gradient, exact.Estimate({.seed = 1}).gradient);
  EXPECT_NE(exact.Estimate({.seed = 1}).gradient, exact.Estimate({.seed = 2}).gradient);
}

TEST(ZerothOrderOptions, RefusesNumbersOutOfRangeByName) {
  EXPECT_TRUE(ZerothOrderOptions().Validate().ok());
  EXPECT_THAT((ZerothOrderOptions{.radius = 0}).Validate().message(), HasSubstr("radius: is 0"));
  EXPECT_THAT((ZerothOrderOptions{.directions = 1}).Validate().message(), HasSubstr("directions: is 1"));
  EXPECT_THAT((ZerothOrderOptions{.directions = 10'001}).Validate().message(), HasSubstr("directions: is 10001"));
}

}  // namespace
}  // namespace bilevel::testing
