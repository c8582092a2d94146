#include "core/solvers/truncated_newton.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/solvers/optimize.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/known_problems.h"
#include "tests/support/solver_trace.h"

namespace bilevel::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

TEST(TruncatedNewton, AgreesWithQuasiNewtonInFewerEvaluations) {
  int newton = 0, products = 0, quasi_newton = 0, same = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    for (const BilevelProblem& problem : DrawConstrainedMatchings(seed)) {
      const OuterOptions options{.gradient_tolerance = 1e-7, .max_iterations = 1000};
      const Trace a = Follow(problem, TruncatedNewtonOptions{}, options, Vector::Ones(6));
      const Trace b = Follow(problem, QuasiNewtonOptions{}, options, Vector::Ones(6));
      ASSERT_EQ(a.result.termination.reason, StopReason::kConverged) << seed << a.result.termination.detail;
      same += std::abs(a.result.best.objective - b.result.best.objective) < 1e-9;
      newton += a.result.evaluations;
      products += a.result.hessian_products;
      quasi_newton += b.result.evaluations;
    }
  }
  EXPECT_GT(same, 85);  // of 100; the problems have several optima
  EXPECT_LT(newton, 0.7 * quasi_newton);
  EXPECT_GT(products, newton);
  std::printf("evaluations %d, products %d; quasi_newton %d; same optimum %d of 100\n", newton, products, quasi_newton,
              same);
}

// |g_{k+1}| <= C |g_k|^1.5 near the optimum, on whatever face it lies: from 1e-3 the tolerance is a few steps away.
TEST(TruncatedNewton, GradientNormsFallWithPowerOneAndAHalf) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    size_t kind = 0;
    for (BilevelProblem& problem : DrawConstrainedMatchings(seed)) {
      SCOPED_TRACE(::testing::Message() << "seed " << seed << ", kind " << kind++);
      const double size = seed % 2 == 0 ? 1 : 100;  // so large are the multipliers
      problem.contexts[0].weight *= size;
      problem.penalties.squared_l2 *= size;
      problem.penalties.l1 *= size;
      const Trace t = Follow(problem, TruncatedNewtonOptions{},
                             {.gradient_tolerance = 1e-11 * size, .max_iterations = 300}, Vector::Ones(6));
      EXPECT_EQ(t.result.termination.reason, StopReason::kConverged) << t.result.termination.detail;
      const size_t last = t.seen.size() - 1;
      ASSERT_GE(last, 2u);
      const double after = t.seen[last].gradient_norm / size, before = t.seen[last - 1].gradient_norm / size;
      EXPECT_LE(after, std::max(100 * std::pow(before, 1.5), 1e-12)) << before;
    }
  }
}

TEST(TruncatedNewton, MinimisingAndMaximisingTheNegativeGoThroughTheSamePointsDownhill) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    const OuterOptions options{.gradient_tolerance = 1e-8, .max_iterations = 500};
    const Trace a =
        Follow(Build(DrawMatching(seed, Sense::kMinimize)), TruncatedNewtonOptions{}, options, Vector::Ones(6));
    const Trace b =
        Follow(Build(DrawMatching(seed, Sense::kMaximize)), TruncatedNewtonOptions{}, options, Vector::Ones(6));
    EXPECT_EQ(a.result.iterations, b.result.iterations);
    EXPECT_EQ(a.result.best.x, b.result.best.x);
    for (size_t i = 1; i < a.seen.size(); ++i) EXPECT_LE(a.seen[i].objective, a.seen[i - 1].objective + 1e-12);
  }
}

TEST(TruncatedNewton, GoesDownhillOnProblemsThatCurveAnyWay) {
  int curved = 0;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const ProblemNumbers numbers = DrawProblem(rng, {.max_contexts = 1, .max_discount = 0.9, .min_temperature = 0.05});
    const BilevelProblem problem = Build(numbers);
    const Trace t = Follow(problem, TruncatedNewtonOptions{}, {.gradient_tolerance = 1e-6, .max_iterations = 60},
                           DrawNormal(rng, numbers.num_parameters));
    for (size_t i = 1; i < t.seen.size(); ++i)
      EXPECT_LE(problem.sign() * t.seen[i].objective,
                problem.sign() * t.seen[i - 1].objective + 1e-12 * (1 + std::abs(t.seen[i].objective)));
    curved += !t.result.notes.empty() && t.result.notes[0].find("curves the wrong way") != std::string::npos;
  }
  EXPECT_GT(curved, 20);
}

// Newton's step from here leads back to the saddle, as far as x_2 allows; x_2^2 = 4 is best.
TEST(TruncatedNewton, LeavesASaddleAlongNegativeCurvature) {
  BilevelProblem problem = Build(SaddleAtZero(0.5));
  problem.feasible_set = *FeasibleSet::Create(2, {{2, Box{Vector::Constant(2, -2), Vector::Constant(2, 2)}}});
  const Trace t = Follow(problem, TruncatedNewtonOptions{}, {.max_iterations = 50}, Vector{{0.5, 1e-4}});
  EXPECT_EQ(t.result.termination.reason, StopReason::kConverged);
  EXPECT_NEAR(t.result.best.x[0], 0, 1e-3);
  EXPECT_EQ(std::abs(t.result.best.x[1]), 2);
  EXPECT_THAT(t.result.notes, Contains(HasSubstr("curves the wrong way")));
}

TEST(TruncatedNewton, FewProductsStillConverge) {
  for (const int max_products : {1, 2, 5}) {
    const Trace t = Follow(Build(DrawMatching(3)), TruncatedNewtonOptions{.max_products = max_products},
                           {.gradient_tolerance = 1e-6, .max_iterations = 2000}, Vector::Ones(6));
    EXPECT_EQ(t.result.termination.reason, StopReason::kConverged);
    EXPECT_LE(t.result.hessian_products, max_products * t.result.iterations);
  }
}

// Values grow along the run, and with them what double precision can reach.
TEST(TruncatedNewton, AToleranceThatOnlyTheStartCanReachDoesNotEndTheRun) {
  const BilevelProblem problem = Build(DrawMatching(1));
  const HypergradientPoint start = *HypergradientEvaluator(problem, {}).Evaluate(Vector::Zero(6), Interrupt());
  const double largest = start.contexts[0].solution.value.lpNorm<Eigen::Infinity>();
  OuterOptions options{.max_iterations = 100};
  options.lower_level.residual_tolerance = 1.05 * 4 * std::numeric_limits<double>::epsilon() * largest;
  ProgressReporter reporter;
  const auto result = Optimize(problem, Vector::Zero(6), TruncatedNewtonOptions{}, options, Interrupt(), reporter);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GT(result->best.contexts[0].solution.value.lpNorm<Eigen::Infinity>(), 1.2 * largest);
}

TEST(TruncatedNewton, RefusesBadOptionsByName) {
  const BilevelProblem problem = Build(DrawMatching(1));
  ProgressReporter reporter;
  for (const int max_products : {0, 1001}) {
    EXPECT_THAT(std::string(Optimize(problem, Vector::Zero(6), TruncatedNewtonOptions{.max_products = max_products}, {},
                                     Interrupt(), reporter)
                                .status()
                                .message()),
                HasSubstr("max_products: is " + std::to_string(max_products) + "; must be in [1, 1000]"));
  }
}

}  // namespace
}  // namespace bilevel::testing
