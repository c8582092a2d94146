#include "core/solvers/quasi_newton.h"

#include <cmath>
#include <string>
#include <vector>

#include "core/solvers/optimize.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/random_problem.h"
#include "tests/support/solver_trace.h"

namespace bilevel::testing {
namespace {

using ::testing::HasSubstr;

TEST(QuasiNewton, NeedsFewerEvaluationsThanProjectedGradient) {
  int quasi_newton = 0, projected_gradient = 0, same = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    for (const BilevelProblem& problem : DrawConstrainedMatchings(seed)) {
      const OuterOptions options{.gradient_tolerance = 1e-7, .max_iterations = 1000};
      const Trace a = Follow(problem, QuasiNewtonOptions{}, options, Vector::Ones(6));
      const Trace b = Follow(problem, ProjectedGradientOptions{}, options, Vector::Ones(6));
      ASSERT_EQ(a.result.termination.reason, StopReason::kConverged) << seed << a.result.termination.detail;
      same += std::abs(a.result.best.objective - b.result.best.objective) < 1e-9;
      quasi_newton += a.result.evaluations;
      projected_gradient += b.result.evaluations;
    }
  }
  EXPECT_GT(same, 88);  // of 100; the problems have several optima
  EXPECT_LT(quasi_newton, 0.6 * projected_gradient);
  RecordProperty("evaluations", quasi_newton);
  RecordProperty("evaluations_of_projected_gradient", projected_gradient);
}

// The evaluations of both runs differ by rounding. Over a feasible set the minimiser of the model is found to a
// relative 1e-6, on a path that rounding may change.
TEST(QuasiNewton, ARunThatIsResumedEqualsOneThatWasNotInterrupted) {
  int different = 0;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    for (const BilevelProblem& problem : DrawConstrainedMatchings(seed)) {
      SCOPED_TRACE(seed);
      const auto run = [&](const QuasiNewtonState& state, int iterations, const Vector& start) {
        return Follow(problem, QuasiNewtonOptions{.memory = 4, .state = state},
                      {.gradient_tolerance = 0, .max_iterations = iterations}, start)
            .result;
      };
      const OuterResult whole = run({}, 20, Vector::Ones(6)), first = run({}, 10, Vector::Ones(6));
      const OuterResult second = run(*first.quasi_newton, 10, first.best.x);
      EXPECT_LT((second.best.x - whole.best.x).norm(), problem.feasible_set.unconstrained() ? 1e-9 : 1e-7);
      const OuterResult forgetful = run({}, 10, first.best.x);
      different += (forgetful.best.x - whole.best.x).norm() > 1e-6;
    }
  }
  EXPECT_GT(different, 10);  // without its state
}

TEST(QuasiNewton, MinimisingAndMaximisingTheNegativeGoThroughTheSamePointsDownhill) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    const OuterOptions options{.gradient_tolerance = 1e-8, .max_iterations = 500};
    const Trace a = Follow(Build(DrawMatching(seed, Sense::kMinimize)), QuasiNewtonOptions{}, options, Vector::Ones(6));
    const Trace b = Follow(Build(DrawMatching(seed, Sense::kMaximize)), QuasiNewtonOptions{}, options, Vector::Ones(6));
    EXPECT_EQ(a.result.iterations, b.result.iterations);
    EXPECT_EQ(a.result.best.x, b.result.best.x);
    for (size_t i = 1; i < a.seen.size(); ++i) EXPECT_LE(a.seen[i].objective, a.seen[i - 1].objective + 1e-12);
  }
}

TEST(QuasiNewton, GoesDownhillOnProblemsThatCurveAnyWay) {
  int with_notes = 0;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const ProblemNumbers numbers = DrawProblem(rng, {.max_contexts = 1, .max_discount = 0.9, .min_temperature = 0.05});
    const BilevelProblem problem = Build(numbers);
    const Trace t = Follow(problem, QuasiNewtonOptions{}, {.gradient_tolerance = 1e-6, .max_iterations = 60},
                           DrawNormal(rng, numbers.num_parameters));
    for (size_t i = 1; i < t.seen.size(); ++i)
      EXPECT_LE(problem.sign() * t.seen[i].objective,
                problem.sign() * t.seen[i - 1].objective + 1e-12 * (1 + std::abs(t.seen[i].objective)));
    with_notes += !t.result.notes.empty();
  }
  EXPECT_GT(with_notes, 10);
}

TEST(QuasiNewton, StopsWhereTheLastStepsGainTooLittleTogether) {
  constexpr size_t kWindow = OuterOptions::kStallWindow;
  constexpr double kStall = 1e-5;
  for (const Sense sense : {Sense::kMinimize, Sense::kMaximize}) {
    const BilevelProblem problem = Build(DrawMatching(3, sense));
    OuterOptions options{.gradient_tolerance = 1e-9, .max_iterations = 500};
    const Trace whole = Follow(problem, QuasiNewtonOptions{.memory = 1}, options, Vector::Ones(6));
    const auto value = [&](size_t k) { return problem.sign() * whole.seen[k].objective; };
    size_t expected = kWindow;
    while (expected < whole.seen.size() && value(expected - kWindow) - value(expected) >= kStall) ++expected;
    ASSERT_GT(expected, kWindow);
    ASSERT_LT(expected, whole.seen.size() - 1);
    options.stall_decrease = kStall;
    const OuterResult stalled = Follow(problem, QuasiNewtonOptions{.memory = 1}, options, Vector::Ones(6)).result;
    EXPECT_EQ(stalled.iterations, static_cast<int>(expected));
    EXPECT_EQ(stalled.termination.reason, StopReason::kIterationLimit);
    EXPECT_THAT(stalled.termination.detail, HasSubstr("the last 20 steps gained less than 1e-05"));
  }
}

TEST(QuasiNewton, RefusesBadOptionsByName) {
  const BilevelProblem problem = Build(DrawMatching(1));
  ProgressReporter reporter;
  auto message = [&](const QuasiNewtonOptions& method) {
    return std::string(Optimize(problem, Vector::Zero(6), method, {}, Interrupt(), reporter).status().message());
  };
  const Eigen::MatrixXd pairs = Eigen::MatrixXd::Ones(6, 2);
  EXPECT_THAT(message({.memory = 0}), HasSubstr("memory: is 0; must be in [1, 100]"));
  EXPECT_THAT(message({.memory = 101}), HasSubstr("memory: is 101"));
  EXPECT_THAT(message({.memory = 1, .state = {pairs, pairs}}),
              HasSubstr("state.steps: has 2 pairs; must have at most memory = 1"));
  EXPECT_THAT(message({.state = {pairs, -pairs}}),
              HasSubstr("state.gradient_changes: pair 0: its product with the step is -6"));
  EXPECT_THAT(message({.state = {pairs.topRows(5), pairs.topRows(5)}}),
              HasSubstr("state.steps: has pairs of 5 entries; must have num_parameters = 6"));
}

}  // namespace
}  // namespace bilevel::testing
