// Products with the Hessian, against central differences of the gradient.

#include "core/hypergradient/hessian.h"

#include "gtest/gtest.h"
#include "tests/support/random_problem.h"
#include "tests/support/sanitized.h"

namespace bilevel::testing {
namespace {

constexpr uint64_t kCount = kSanitized ? 20 : 200;
constexpr double kStep = 1e-4;

Vector GradientAt(const BilevelProblem& problem, const Vector& x) {
  return HypergradientEvaluator(problem, {}).Evaluate(x, Interrupt())->gradient;
}

// Fourth-order central differences.
template <typename Gradient>
Vector Slope(Gradient gradient) {
  return (8 * (gradient(kStep) - gradient(-kStep)) - (gradient(2 * kStep) - gradient(-2 * kStep))) / (12 * kStep);
}

std::unique_ptr<Hessian> HessianAt(const BilevelProblem& problem, const Vector& x) {
  return *Hessian::Create(problem, {}, x, {}, Interrupt());
}

TEST(Hessian, EqualsCentralDifferencesOfTheGradient) {
  for (uint64_t seed = 1; seed <= kCount; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    BilevelProblem problem = Build(DrawProblem(rng, {.max_discount = 0.95, .min_temperature = 0.3}));
    if (seed % 4 == 0) problem.aggregation = Aggregation::kWorstCase;
    const Vector x = DrawNormal(rng, problem.num_parameters), v = DrawNormal(rng, problem.num_parameters);
    const Vector product = HessianAt(problem, x)->Multiply(v, Interrupt());
    const Vector numeric = Slope([&](double h) { return GradientAt(problem, x + h * v); });
    EXPECT_LT((product - numeric).norm(), 1e-5 * (1e-3 + numeric.norm()));
  }
}

TEST(Hessian, IsSymmetric) {
  for (uint64_t seed = 1; seed <= kCount; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const BilevelProblem problem = Build(DrawProblem(rng, {.max_discount = 0.99, .min_temperature = 0.05}));
    const Vector x = DrawNormal(rng, problem.num_parameters);
    const Vector u = DrawNormal(rng, problem.num_parameters), v = DrawNormal(rng, problem.num_parameters);
    const auto hessian = HessianAt(problem, x);
    const double a = u.dot(hessian->Multiply(v, Interrupt())), b = v.dot(hessian->Multiply(u, Interrupt()));
    EXPECT_NEAR(a, b, 1e-7 * (1 + std::abs(a)));
  }
}

TEST(Hessian, GradientMovesWithDiscountAndTemperatureAsDifferencesSay) {
  for (uint64_t seed = 1; seed <= kCount; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const BilevelProblem problem = Build(DrawProblem(rng, {.max_discount = 0.9, .min_temperature = 0.3}));
    const Vector x = DrawNormal(rng, problem.num_parameters);
    const size_t c = problem.contexts.size() - 1;
    std::vector<double> unit(problem.contexts.size(), 0.0);
    unit[c] = 1;
    const auto hessian = HessianAt(problem, x);
    const Vector zero = Vector::Zero(x.size());
    const Vector discount = hessian->Differentiate({zero, {}, unit, {}}, Interrupt());
    const Vector temperature = hessian->Differentiate({zero, {}, {}, unit}, Interrupt());
    const Vector by_discount = Slope([&](double h) {
      BilevelProblem moved = problem;
      moved.contexts[c].discount += h;
      return GradientAt(moved, x);
    });
    const Vector by_temperature = Slope([&](double h) {
      BilevelProblem moved = problem;
      moved.contexts[c].temperature += h;
      return GradientAt(moved, x);
    });
    EXPECT_LT((discount - by_discount).norm(), 1e-5 * (1e-2 + by_discount.norm()));
    EXPECT_LT((temperature - by_temperature).norm(), 1e-5 * (1e-2 + by_temperature.norm()));
  }
}

}  // namespace
}  // namespace bilevel::testing
