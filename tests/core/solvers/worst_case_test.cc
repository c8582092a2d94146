// Descents under the worst case end where first-order conditions of a minimax hold, not where contexts first tie.

#include <cmath>
#include <numeric>

#include "core/hypergradient/hessian.h"
#include "core/solvers/optimize.h"
#include "core/solvers/worst_case_stages.h"
#include "gtest/gtest.h"
#include "tests/support/known_problems.h"
#include "tests/support/reference.h"
#include "tests/support/solver_trace.h"

namespace bilevel::testing {
namespace {

// Three followers with policies to match, weighted so that they are level at x = 0: optima where two or three tie.
ProblemNumbers DrawRivals(uint64_t seed, Sense sense) {
  ProblemNumbers numbers = DrawMatching(seed, sense);
  for (const uint64_t other : {seed + 100, seed + 200})
    numbers.contexts.push_back(DrawMatching(other, sense).contexts[0]);
  const auto at_zero = HypergradientEvaluator(Build(numbers), {}).Evaluate(Vector::Zero(6), {})->context_objectives;
  for (size_t c = 1; c < 3; ++c) numbers.contexts[c].weight = at_zero[0] / at_zero[c];
  return numbers;
}

BilevelProblem Rivals(uint64_t seed, Sense sense) {
  BilevelProblem problem = Build(DrawRivals(seed, sense));
  problem.aggregation = Aggregation::kWorstCase;
  return problem;
}

// The gradient of sum_c multiplier_c weight_c f_c + penalties by forward sensitivities in long double.
Vector LagrangianGradient(ProblemNumbers numbers, const std::vector<double>& multipliers, const Vector& x) {
  for (size_t c = 0; c < multipliers.size(); ++c) numbers.contexts[c].weight *= multipliers[c];
  return EvaluateReference(numbers, x).gradient.cast<double>();
}

const MethodOptions kDescents[] = {ProjectedGradientOptions{}, QuasiNewtonOptions{}, TruncatedNewtonOptions{}};

TEST(WorstCase, DescentsEndWhereTheMinimaxConditionsHold) {
  int ties = 0;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    const Sense sense = seed % 2 == 0 ? Sense::kMaximize : Sense::kMinimize;
    const ProblemNumbers numbers = DrawRivals(seed, sense);
    BilevelProblem problem = Rivals(seed, sense);
    if (seed > 5) problem.feasible_set = *FeasibleSet::Create(6, {{6, Ball{Vector::Zero(6), 0.5}}});
    for (const MethodOptions& method : kDescents) {
      SCOPED_TRACE(::testing::Message() << "seed " << seed << ", " << MethodName(method));
      const Trace t = Follow(problem, method, {.gradient_tolerance = 1e-6, .max_iterations = 5000}, Vector::Ones(6));
      const HypergradientPoint& best = t.result.best;
      EXPECT_EQ(t.result.termination.reason, StopReason::kConverged) << t.result.termination.detail;
      ASSERT_EQ(best.multipliers.size(), 3);
      double sum = 0, worst = -HUGE_VAL, mean = 0;
      int active = 0;
      for (size_t c = 0; c < 3; ++c) {
        const double v = problem.sign() * problem.contexts[c].weight * best.context_objectives[c];
        EXPECT_GE(best.multipliers[c], 0);
        sum += best.multipliers[c];
        mean += best.multipliers[c] * v;
        worst = std::max(worst, v);
        active += best.multipliers[c] > 0 ? 1 : 0;
      }
      EXPECT_NEAR(sum, 1, 1e-12);
      EXPECT_NEAR(mean, worst, 1.1e-9 * (1 + std::abs(worst)));
      const Vector gradient = LagrangianGradient(numbers, best.multipliers, best.x);
      EXPECT_LT((gradient - best.gradient).norm(), best.certificate.error_bound);
      EXPECT_LT(problem.ProjectedGradientNorm(best.x, gradient), 1.1e-6);
      EXPECT_EQ(best.objective, problem.Aggregate(best.context_objectives, best.x));
      if (active > 1) ++ties;
    }
  }
  EXPECT_GT(ties, 15);
}

// The worst of objectives that all vanish at the optimum, and one that nothing can make the worst, however large.
TEST(WorstCase, ConvergesWhereEveryRivalCanBeMatched) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    ProblemNumbers numbers = DrawRivals(seed, Sense::kMinimize);
    numbers.penalties.squared_l2 = 0;
    const Vector at = Vector::LinSpaced(6, -0.5, 0.5);
    const HypergradientPoint point = *HypergradientEvaluator(Build(numbers), {}).Evaluate(at, {});
    for (size_t c = 0; c < 3; ++c) numbers.contexts[c].target = point.contexts[c].solution.backup.pi;
    BilevelProblem problem = Build(numbers);
    problem.aggregation = Aggregation::kWorstCase;
    for (const MethodOptions& method : kDescents) {
      SCOPED_TRACE(::testing::Message() << "seed " << seed << ", " << MethodName(method));
      const Trace t = Follow(problem, method, {.gradient_tolerance = 1e-6, .max_iterations = 5000}, Vector::Zero(6));
      EXPECT_EQ(t.result.termination.reason, StopReason::kConverged) << t.result.termination.detail;
      EXPECT_LT(t.result.best.objective, 1e-8);
      // At the optimum every objective is 0, and so is the scale of the stages.
      const Trace again = Follow(problem, method, {.gradient_tolerance = 1e-6, .max_iterations = 5000}, at);
      EXPECT_EQ(again.result.termination.reason, StopReason::kConverged) << again.result.termination.detail;
    }
  }
}

// A minimum of the worst case beats its neighbours.
TEST(WorstCase, NoNeighbourIsBetterThanAnOptimum) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const BilevelProblem problem = Rivals(seed, Sense::kMinimize);
    const Trace t =
        Follow(problem, QuasiNewtonOptions{},
               {.gradient_tolerance = 1e-8, .max_iterations = 5000, .describe_stationarity = true}, Vector::Ones(6));
    ASSERT_EQ(t.result.stationarity->kind, Stationarity::Kind::kOptimum);
    HypergradientEvaluator evaluator(problem, {});
    Rng rng(seed);
    for (int i = 0; i < 300; ++i) {
      const Vector x = t.result.best.x + DrawNormal(rng, 6, std::pow(10.0, -1 - i % 4));
      EXPECT_GT(evaluator.EvaluateObjective(x, {})->value, t.result.best.objective - 1e-10);
    }
  }
}

TEST(WorstCase, ProgressShowsTheWorstCaseAndItsBestNeverGetsWorse) {
  const BilevelProblem problem = Rivals(1, Sense::kMinimize);
  const Trace t = Follow(problem, QuasiNewtonOptions{}, {.max_iterations = 5000}, Vector::Ones(6));
  HypergradientEvaluator evaluator(problem, {});
  double last = HUGE_VAL;
  for (const Progress& progress : t.seen) {
    EXPECT_LE(progress.best_objective, last);
    last = progress.best_objective;
    EXPECT_NEAR(evaluator.EvaluateObjective(progress.best_parameters, {})->value, last, 1e-9);
  }
  EXPECT_LE(t.result.best.objective, last + 1e-9);
}

TEST(WorstCase, TheBlendIsSmoothWithItsOwnGradientAndHessian) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    BilevelProblem problem = Rivals(seed, seed % 2 == 0 ? Sense::kMaximize : Sense::kMinimize);
    const double worst = HypergradientEvaluator(problem, {}).EvaluateObjective(Vector::Ones(6), {})->value;
    problem.blend = WorstCaseBlend{{0.5, 0.2, 0.3}, 0.05 * std::abs(worst)};
    HypergradientEvaluator evaluator(problem, {});
    const auto at = [&](const Vector& x) { return *evaluator.Evaluate(x, {}); };
    Rng rng(seed);
    const Vector x = Vector::Ones(6), v = DrawNormal(rng, 6);
    EXPECT_LE(problem.sign() * at(x).objective, problem.sign() * worst);
    const double h = 1e-4;
    const HypergradientPoint plus = at(x + h * v), minus = at(x - h * v);
    const double slope = at(x).gradient.dot(v);
    EXPECT_NEAR((plus.objective - minus.objective) / (2 * h), slope, 1e-6 * (1 + std::abs(slope)));
    auto hessian = Hessian::Create(problem, {}, x, {}, {});
    ASSERT_TRUE(hessian.ok());
    const Vector product = (*hessian)->Multiply(v, {});
    const Vector difference = (plus.gradient - minus.gradient) / (2 * h);
    EXPECT_LT((product - difference).norm(), 1e-5 * (1 + product.norm()));
  }
}

// By doing it again with the weight moved.
TEST(WorstCase, SensitivitiesToWeightsAreThoseOfTheMultipliers) {
  const auto best = [](const ProblemNumbers& numbers, bool report) {
    BilevelProblem problem = Build(numbers);
    problem.aggregation = Aggregation::kWorstCase;
    return Follow(problem, QuasiNewtonOptions{},
                  {.gradient_tolerance = 1e-8, .max_iterations = 5000, .report_sensitivities = report}, Vector::Ones(6))
        .result;
  };
  const ProblemNumbers numbers = DrawRivals(3, Sense::kMinimize);
  const OuterResult at = best(numbers, true);
  const double h = 1e-4;
  for (size_t c = 0; c < 3; ++c) {
    ProblemNumbers plus = numbers, minus = numbers;
    plus.contexts[c].weight += h;
    minus.contexts[c].weight -= h;
    const double difference = (best(plus, false).best.objective - best(minus, false).best.objective) / (2 * h);
    EXPECT_NEAR(at.sensitivities->contexts[c].weight.objective, difference, 1e-5);
  }
}

// The limit that counts evaluations holds between stages, too.
TEST(WorstCase, HonoursEvaluationLimits) {
  const BilevelProblem problem = Rivals(1, Sense::kMinimize);
  for (const MethodOptions& method : kDescents) {
    for (int limit = 1; limit <= 60; ++limit) {
      OuterOptions options{.gradient_tolerance = 0, .max_iterations = 1000};
      options.max_evaluations = limit;
      const Trace t = Follow(problem, method, options, Vector::Ones(6));
      EXPECT_LE(t.result.evaluations, limit);
      EXPECT_TRUE(t.result.best.certified);
    }
  }
}

}  // namespace
}  // namespace bilevel::testing
