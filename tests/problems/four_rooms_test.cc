// Four-Rooms incentive design (Thoma et al. 2024): values, gradients and bounds of the published instance.

#include "client/problems/four_rooms.h"

#include <algorithm>
#include <cstdio>

#include "core/base/rng.h"
#include "core/hypergradient/finite_difference.h"
#include "core/solvers/optimize.h"
#include "gtest/gtest.h"
#include "tests/problems/decoded.h"
#include "tests/support/sanitized.h"

namespace bilevel::testing {
namespace {

constexpr int kDraws = kSanitized ? 1 : 20;

BilevelProblem FourRooms(double temperature, double beta, bool two_goals = true) {
  return Decoded(client::FourRooms({.temperature = temperature, .beta = beta, .two_goals = two_goals}));
}

HypergradientPoint AtZero(const BilevelProblem& problem) {
  HypergradientEvaluator evaluator(problem, {});
  return *evaluator.EvaluateCertified(Vector::Zero(105), Interrupt());
}

Vector Draw(Rng& rng) {
  Vector x(105);
  for (double& entry : x) entry = rng.Normal();
  return x;
}

TEST(FourRooms, HasItsPublishedSpecificationsValueAtZero) {
  const HypergradientPoint one = AtZero(FourRooms(0.001, 1));
  EXPECT_NEAR(one.objective, 0.288158, 1e-6);
  EXPECT_NEAR(one.context_objectives[0], -0.147461, 1e-6);
  EXPECT_NEAR(one.context_objectives[1], 0.723777, 1e-6);
  EXPECT_NEAR(AtZero(FourRooms(0.001, 3)).objective, 0.013268, 1e-6);
  EXPECT_NEAR(AtZero(FourRooms(0.001, 5)).objective, -0.261623, 1e-6);
  EXPECT_NEAR(AtZero(FourRooms(0.001, 1, false)).objective, one.context_objectives[0], 1e-12);
}

TEST(FourRooms, GoalPaysItsRewardAndEntropyAndEndsTheEpisode) {
  const HypergradientPoint point = AtZero(FourRooms(0.003, 1));
  const double goal = 1 + 0.003 * std::log(4.0);
  EXPECT_NEAR(point.contexts[0].solution.value[client::FourRoomsState(client::kFourRoomsGoals[0])], goal, 1e-14);
  EXPECT_NEAR(point.contexts[1].solution.value[client::FourRoomsState(client::kFourRoomsGoals[1])], goal, 1e-14);
}

TEST(FourRooms, HypergradientEqualsCentralDifferencesAtEveryTemperature) {
  Rng rng(20);
  for (const double temperature : {0.001, 0.003, 0.005}) {
    const BilevelProblem problem = FourRooms(temperature, 1);
    double worst = 0;
    for (int draw = 0; draw < kDraws; ++draw) {
      const auto check = CheckGradient(problem, Draw(rng), {}, {.step = 1e-4}, Interrupt());
      ASSERT_TRUE(check.ok()) << check.status();
      EXPECT_LT(check->relative_error_l2, 1e-6) << "draw " << draw;
      worst = std::max(worst, check->relative_error_l2);
    }
    std::printf("temperature %g: largest relative 2-norm error of %d draws %.2g\n", temperature, kDraws, worst);
  }
}

TEST(FourRooms, BoundIsSmallBesideTheGradientAtEveryTemperature) {
  Rng rng(21);
  for (const double temperature : {0.001, 0.003, 0.005}) {
    for (const double beta : {1.0, 3.0, 5.0}) {
      const BilevelProblem problem = FourRooms(temperature, beta);
      HypergradientEvaluator evaluator(problem, {});
      double worst = 0;
      for (int draw = 0; draw < 10; ++draw) {
        const auto point = evaluator.EvaluateCertified(Draw(rng), Interrupt());
        ASSERT_TRUE(point.ok());
        worst = std::max(worst, point->certificate.error_bound / point->gradient.norm());
      }
      EXPECT_LE(worst, 1e-3);
      std::printf("temperature %g beta %g: largest bound/|gradient| %.2g\n", temperature, beta, worst);
    }
  }
}

TEST(FourRooms, KrylovAndDirectSolversAgree) {
  const BilevelProblem problem = FourRooms(0.003, 1);
  Rng rng(22);
  const Vector x = Draw(rng);
  const auto direct = HypergradientEvaluator(problem, {}).EvaluateCertified(x, Interrupt());
  const auto krylov =
      HypergradientEvaluator(problem, {.method = LowerLevelMethod::kNewtonKrylov}).EvaluateCertified(x, Interrupt());
  ASSERT_TRUE(krylov.ok());
  EXPECT_LE((direct->gradient - krylov->gradient).norm(),
            direct->certificate.error_bound + krylov->certificate.error_bound);
  EXPECT_LT((direct->gradient - krylov->gradient).norm(), 1e-7 * direct->gradient.norm());
}

TEST(FourRooms, ProjectedGradientDoesNotEndOnASaturatedPlateau) {
  const BilevelProblem problem = FourRooms(0.001, 1);
  for (uint64_t seed = 0; seed < 4; ++seed) {
    Rng rng(seed);
    ProgressReporter reporter;
    const auto result =
        Optimize(problem, 0.01 * Draw(rng), ProjectedGradientOptions{}, {.max_iterations = 500}, Interrupt(), reporter);
    ASSERT_TRUE(result.ok()) << result.status();
    std::printf("seed %d: %.4f after %d iterations, |gradient| %.2g\n", static_cast<int>(seed), result->best.objective,
                result->iterations, result->best.gradient_norm);
    EXPECT_GT(result->best.objective, 0.9);  // the best published number is 0.91
  }
}

TEST(FourRooms, QuasiNewtonConvergesWhereProjectedGradientDoesNot) {
  const BilevelProblem problem = FourRooms(0.003, 1);
  for (uint64_t seed = 0; seed < 4; ++seed) {
    Rng rng(seed);
    ProgressReporter reporter;
    const auto result =
        Optimize(problem, 0.01 * Draw(rng), QuasiNewtonOptions{}, {.max_iterations = 500}, Interrupt(), reporter);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->termination.reason, StopReason::kConverged);
    std::printf("seed %d: %.6f after %d evaluations\n", static_cast<int>(seed), result->best.objective,
                result->evaluations);
    EXPECT_GT(result->best.objective, 1.01);  // projected gradient: 0.95 to 1.0176 after 3700
  }
}

// Where phi curves both ways: steps through saddles and along plateaus.
TEST(FourRooms, TruncatedNewtonConverges) {
  const BilevelProblem problem = FourRooms(0.003, 1);
  for (uint64_t seed = 0; seed < 4; ++seed) {
    Rng rng(seed);
    ProgressReporter reporter;
    const auto result =
        Optimize(problem, 0.01 * Draw(rng), TruncatedNewtonOptions{}, {.max_iterations = 300}, Interrupt(), reporter);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->termination.reason, StopReason::kConverged);
    std::printf("seed %d: %.6f after %d evaluations and %d products\n", static_cast<int>(seed), result->best.objective,
                result->evaluations, result->hessian_products);
    EXPECT_GT(result->best.objective, 0.9);
  }
}

}  // namespace
}  // namespace bilevel::testing
