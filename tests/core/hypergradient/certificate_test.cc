// The three certificates against a reference in long double by forward sensitivities.

#include <algorithm>
#include <cstdio>
#include <vector>

#include "core/hypergradient/hypergradient.h"
#include "core/problem/world.h"
#include "gtest/gtest.h"
#include "tests/support/random_problem.h"
#include "tests/support/reference.h"
#include "tests/support/sanitized.h"

namespace bilevel::testing {
namespace {

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

struct Errors {
  double gradient, gradient_bound, gradient_estimate, objective, objective_bound, value, value_bound, log_pi,
      log_pi_bound;
};

// Entry by entry.
FollowerError ErrorOf(const ProblemNumbers& numbers, size_t c, const HypergradientPoint& point,
                      const LowerLevelSolution& solution) {
  const BilevelProblem problem = Build(numbers);
  World world(problem, c, SystemKind({}, *problem.contexts[c].mdp));
  const RegularizedMdp follower = world.At(point.x, problem.map.Apply(point.x));
  world.system().SetPolicy(solution.backup.pi);
  return BoundFollowerError(follower, solution, world.system(), Interrupt());
}

Errors Compare(const ProblemNumbers& numbers, const HypergradientPoint& point, const ReferencePoint& reference) {
  Errors e{};
  e.gradient = static_cast<double>((point.gradient.cast<long double>() - reference.gradient).norm());
  e.gradient_bound = point.certificate.error_bound;
  e.gradient_estimate = point.certificate.error_estimate;
  e.objective = static_cast<double>(std::abs(static_cast<long double>(point.objective) - reference.objective));
  e.objective_bound = point.certificate.objective_error_bound;
  for (size_t c = 0; c < numbers.contexts.size(); ++c) {
    const ContextPoint& mine = point.contexts[c];
    const ReferenceSolution& exact = reference.solutions[c];
    const Vector value_error = (mine.solution.value.cast<long double>() - exact.value).cwiseAbs().cast<double>();
    const Vector log_error = (mine.solution.backup.log_pi.cast<long double>() - exact.log_pi).cwiseAbs().cast<double>();
    const Vector pi_error = (mine.solution.backup.pi.cast<long double>() - exact.pi).cwiseAbs().cast<double>();
    e.value = std::max(e.value, value_error.maxCoeff());
    e.value_bound = std::max(e.value_bound, mine.error.value);
    e.log_pi = std::max(e.log_pi, log_error.maxCoeff());
    e.log_pi_bound = std::max(e.log_pi_bound, mine.error.log_policy);
    EXPECT_LE(value_error.maxCoeff(), mine.error.value);
    EXPECT_LE(log_error.maxCoeff(), mine.error.log_policy);
    const FollowerError error = ErrorOf(numbers, c, point, mine.solution);
    EXPECT_TRUE((value_error.array() <= error.ValueBound().array()).all());
    EXPECT_TRUE((log_error.array() <= error.log_pi_radius.array()).all());
    EXPECT_TRUE((pi_error.array() <= error.pi_radius.array()).all());
  }
  return e;
}

void CheckBounds(const LowerLevelOptions& options, int problems, const char* name) {
  std::vector<double> ratios, relative;
  for (int seed = 1; seed <= problems; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Rng rng(static_cast<uint64_t>(seed));
    const ProblemNumbers numbers = DrawProblem(rng);
    const BilevelProblem problem = Build(numbers);
    const Vector x = DrawNormal(rng, numbers.num_parameters);
    HypergradientEvaluator evaluator(problem, options);
    const auto point = evaluator.EvaluateCertified(x, Interrupt());
    ASSERT_TRUE(point.ok()) << point.status();
    const ReferencePoint reference = EvaluateReference(numbers, x);
    const Errors e = Compare(numbers, *point, reference);
    EXPECT_LE(e.gradient, e.gradient_bound);
    EXPECT_LE(e.objective, e.objective_bound);
    EXPECT_TRUE(std::isfinite(e.gradient_bound));
    if (e.gradient > 0) ratios.push_back(e.gradient_bound / e.gradient);
    relative.push_back(e.gradient_bound / static_cast<double>(reference.gradient.norm()));
    if (::testing::Test::HasFailure()) return;
  }
  std::printf("%s: %d problems, median bound/error %.3g, median bound/|gradient| %.3g, largest %.3g\n", name, problems,
              Median(ratios), Median(relative), *std::max_element(relative.begin(), relative.end()));
}

TEST(Certificate, BoundIsNeverBelowTheTrueErrorAtDefaultTolerances) {
  CheckBounds({}, kSanitized ? 100 : 1000, "default");
}

TEST(Certificate, BoundIsNeverBelowTheTrueErrorWhenSolvedLoosely) {
  for (const double tolerance : {1e-2, 1e-4, 1e-6, 1e-9}) {
    LowerLevelOptions options;
    options.method = LowerLevelMethod::kSweeps;
    options.residual_tolerance = tolerance;
    options.adjoint_tolerance = std::min(0.1, tolerance);
    CheckBounds(options, kSanitized ? 20 : 200, "sweeps");
  }
}

TEST(Certificate, BoundIsNeverBelowTheTrueErrorWithKrylovSolves) {
  LowerLevelOptions options;
  options.method = LowerLevelMethod::kNewtonKrylov;
  CheckBounds(options, kSanitized ? 20 : 200, "krylov");
  // Norms suffice for tolerances like these, mostly.
  options.residual_tolerance = 1e-9;
  options.adjoint_tolerance = 1e-8;
  CheckBounds(options, kSanitized ? 20 : 200, "krylov, norms");
}

}  // namespace
}  // namespace bilevel::testing
