// Where estimates lead: on quadratics, whose gradients are at hand, with and without noise.
#include "core/solvers/stochastic_descent.h"

#include <cmath>

#include "core/base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bilevel {
namespace {

using ::testing::HasSubstr;

// 1/2 scale sum_i i (x_i - 1)^2, i from 1.
struct Quadratic {
  double scale = 1;

  Vector Gradient(const Vector& x) const {
    Vector gradient = x;
    for (Eigen::Index i = 0; i < x.size(); ++i) gradient[i] = scale * static_cast<double>(i + 1) * (x[i] - 1);
    return gradient;
  }
  double Value(const Vector& x) const { return 0.5 * (x.array() - 1).matrix().dot(Gradient(x)); }
};

BilevelProblem Leader(int n, Sense sense = Sense::kMinimize) {
  return {.num_parameters = n,
          .map = *ParameterMap::Create(n, {}),
          .feasible_set = *FeasibleSet::Create(n, {}),
          .sense = sense};
}

GradientSample Exact(const Quadratic& f, const Vector& x) {
  GradientSample sample;
  sample.objective = f.Value(x);
  sample.gradient = f.Gradient(x);
  sample.standard_error = Vector::Zero(x.size());
  return sample;
}

Vector Noise(Eigen::Index n, double size, Rng& rng) {
  Vector noise(n);
  for (double& entry : noise) entry = size * rng.Normal();
  return noise;
}

TEST(StochasticDescent, WithoutNoiseReachesTheMinimumAtAnyScale) {
  for (const bool momentum : {false, true}) {
    Vector path;
    for (const double scale : {1e-6, 1.0, 1e6}) {
      const BilevelProblem problem = Leader(4);
      const Quadratic f{scale};
      StochasticDescent descent(problem, Vector::Zero(4),
                                {.momentum = momentum, .gradient_tolerance = 1e-6 * scale, .max_steps = 2000});
      while (!descent.stopped()) {
        GradientSample sample = Exact(f, descent.x());
        sample.previous = f.Gradient(descent.previous_x());
        sample.innovation_standard_error = Vector::Zero(4);
        const Vector before = descent.x();
        descent.Take(sample);
        EXPECT_LE((descent.x() - before).norm(), 0.5 * (1 + 1e-12));
        EXPECT_TRUE(descent.steps() != 1 || std::abs((descent.x() - before).norm() - 0.5) < 1e-12);
      }
      EXPECT_EQ(descent.termination()->reason, StopReason::kConverged);
      EXPECT_LE((descent.x().array() - 1).matrix().lpNorm<Eigen::Infinity>(), 1e-6);
      if (path.size() == 0) path = descent.x();
      EXPECT_LE((descent.x() - path).lpNorm<Eigen::Infinity>(), 1e-9) << scale;
    }
  }
}

// Pure noise of one length: S_k = k.
TEST(StochasticDescent, StepsFallAtThePublishedPowersWhereNoiseDominates) {
  for (const bool momentum : {false, true}) {
    const BilevelProblem problem = Leader(1);
    StochasticDescent descent(problem, Vector::Zero(1), {.momentum = momentum, .first_step = 0.25});
    for (int k = 1; k <= 1000; ++k) {
      GradientSample sample;
      sample.gradient = Vector::Constant(1, k % 2 == 0 ? 3 : -3);
      // So that h_k is the gradient again.
      if (momentum && k > 1) sample.previous = descent.last()->direction;
      const DescentStep& step = descent.Take(sample);
      EXPECT_NEAR(step.step_size, 0.25 / 3 * std::pow(k, momentum ? -1.0 / 3 : -0.5), 1e-12);
      EXPECT_NEAR(step.averaging, momentum && k > 1 ? std::pow(k - 1, -2.0 / 3) : 1, 1e-12);
    }
  }
}

// One estimate in a hundred is thirty times as large: S_k still grows like k, and no step is too long.
TEST(StochasticDescent, RareLargeEstimatesDoNotHoldAveragingUp) {
  const BilevelProblem problem = Leader(1);
  StochasticDescent descent(problem, Vector::Zero(1), {.momentum = true, .first_step = 0.25});
  for (int k = 1; k <= 10'000; ++k) {
    GradientSample sample;
    sample.gradient = Vector::Constant(1, (k % 2 == 0 ? 1 : -1) * (k % 100 == 0 ? 30 : 1));
    if (k > 1) sample.previous = descent.last()->direction;
    const Vector before = descent.x();
    descent.Take(sample);
    EXPECT_LE((descent.x() - before).norm(), 0.25 * (1 + 1e-12));
  }
  // S of the 9999 before: 99 large ones; mean squares are at most 9.99, at every hundredth step.
  EXPECT_NEAR(descent.last()->averaging, std::pow((99 * 900 + 9900) / 9.99, -2.0 / 3), 1e-12);
}

TEST(StochasticDescent, MomentumIsTheRecursion) {
  const BilevelProblem problem = Leader(2);
  StochasticDescent descent(problem, Vector::Zero(2),
                            {.momentum = true,
                             .steps = StepSchedule{.first = 2, .power = 1.0 / 3, .scale = 4},
                             .averaging = StepSchedule{.first = 0.5, .power = 2.0 / 3}});
  Rng rng(3);
  Vector h, x = Vector::Zero(2), variance;
  for (int k = 1; k <= 20; ++k) {
    GradientSample sample;
    sample.gradient = Noise(2, 1, rng);
    sample.standard_error = Vector::Constant(2, 0.5);
    sample.previous = Noise(2, 1, rng);
    sample.innovation_standard_error = Vector::Constant(2, 0.25);
    const double eta = k == 1 ? 1 : 0.5 * std::pow(k, -2.0 / 3), beta = 2 * std::pow(1 + (k - 1) / 4.0, -1.0 / 3);
    EXPECT_NEAR(descent.kept_share(), 1 - eta, 1e-15);
    h = k == 1 ? sample.gradient : Vector(sample.gradient + (1 - eta) * (h - sample.previous));
    variance =
        k == 1 ? Vector::Constant(2, 0.25) : Vector((1 - eta) * (1 - eta) * variance + Vector::Constant(2, 0.0625));
    x -= beta * h;
    const DescentStep& step = descent.Take(sample);
    EXPECT_LE((step.direction - h).norm(), 1e-14);
    EXPECT_NEAR(step.step_size, beta, 1e-14);
    EXPECT_NEAR(step.gradient_norm_error, std::sqrt(variance.sum()), 1e-14);
    EXPECT_LE((descent.x() - x).norm(), 1e-12);
  }
}

// The same noise in both estimates of a pair: what momentum is for.
TEST(StochasticDescent, MomentumAveragesNoiseAwayAndItsErrorBarsSaySo) {
  const BilevelProblem problem = Leader(3);
  const Quadratic f;
  StochasticDescent descent(problem, Vector::Zero(3), {.momentum = true, .gradient_tolerance = 0, .max_steps = 4000});
  Rng rng(5);
  double squares = 0, told = 0;
  int counted = 0;
  while (!descent.stopped()) {
    const Vector noise = Noise(3, 1, rng), x = descent.x();
    GradientSample sample{.gradient = f.Gradient(x) + noise, .standard_error = Vector::Ones(3)};
    sample.previous = f.Gradient(descent.previous_x()) + noise;
    sample.innovation_standard_error = Vector::Constant(3, 1 - descent.kept_share());
    const DescentStep& step = descent.Take(sample);
    if (step.number <= 1000) continue;
    squares += (step.direction - f.Gradient(x)).squaredNorm();
    told += step.gradient_norm_error * step.gradient_norm_error;
    ++counted;
  }
  EXPECT_LT(squares / counted, 3.0 / 50);
  EXPECT_NEAR(squares / told, 1, 0.25);
  EXPECT_LE(f.Gradient(descent.x()).norm(), 0.5);
}

TEST(StochasticDescent, StaysInTheFeasibleSetAndClimbsWhereAsked) {
  BilevelProblem problem = Leader(3, Sense::kMaximize);
  problem.feasible_set = *FeasibleSet::Create(3, {{3, Simplex{1}}});
  StochasticDescent descent(problem, Vector::Constant(3, 1.0 / 3), {.gradient_tolerance = 1e-9, .max_steps = 5000});
  // A large constant along (1, 1, 1), which the simplex does not feel; the maximum is the second corner.
  Vector slope(3);
  slope << 1000.1, 1000.3, 1000.2;
  while (!descent.stopped()) {
    GradientSample sample{.objective = slope.dot(descent.x()), .gradient = slope, .standard_error = Vector::Zero(3)};
    descent.Take(sample);
    EXPECT_NEAR(descent.x().sum(), 1, 1e-12);
    EXPECT_GE(descent.x().minCoeff(), 0);
  }
  EXPECT_EQ(descent.termination()->reason, StopReason::kConverged);
  EXPECT_LT(descent.steps(), 100);
  EXPECT_NEAR(descent.x()[1], 1, 1e-12);
}

// 1/2 |x - 1|^2 + 3/4 |x|_1: at 1/4.
TEST(StochasticDescent, TakesTheL1PenaltyByItsProximalMap) {
  BilevelProblem problem = Leader(2);
  problem.penalties.l1 = 0.75;
  StochasticDescent descent(problem, Vector::Zero(2), {.gradient_tolerance = 1e-9});
  while (!descent.stopped()) {
    descent.Take({.gradient = (descent.x().array() - 1).matrix(), .standard_error = Vector::Zero(2)});
  }
  EXPECT_LE((descent.x().array() - 0.25).matrix().norm(), 1e-8);
}

TEST(StochasticDescent, StopsByTheIntervalAndNotByTheEstimate) {
  const BilevelProblem problem = Leader(1);
  const StochasticDescentOptions options{.gradient_tolerance = 0.1, .confidence = 2};
  const auto take = [&](double gradient, std::optional<double> error) {
    StochasticDescent descent(problem, Vector::Zero(1), options);
    GradientSample sample{.gradient = Vector::Constant(1, gradient)};
    if (error.has_value()) sample.standard_error = Vector::Constant(1, *error);
    descent.Take(sample);
    return descent.stopped() && descent.termination()->reason == StopReason::kConverged;
  };
  EXPECT_TRUE(take(0.04, 0.029));
  EXPECT_FALSE(take(0.04, 0.031));
  EXPECT_FALSE(take(0.0, std::nullopt));
}

TEST(StochasticDescent, KeepsTheBestThatItIsSureOf) {
  for (const Sense sense : {Sense::kMinimize, Sense::kMaximize}) {
    const BilevelProblem problem = Leader(1, sense);
    StochasticDescent descent(problem, Vector::Zero(1), {.confidence = 2});
    const double sign = problem.sign();
    // The third is lower, and less sure.
    for (const auto& [objective, error] : {std::pair(1.0, 0.1), {0.5, 0.1}, {0.3, 0.3}, {0.8, 0.0}}) {
      descent.Take({.objective = sign * objective, .objective_standard_error = error, .gradient = Vector::Ones(1)});
    }
    EXPECT_EQ(descent.best()->number, 2);
  }
}

// What was estimated long ago counts no more, however good it looked.
TEST(StochasticDescent, TakesTheBestFromTheLaterSteps) {
  const BilevelProblem problem = Leader(1);
  StochasticDescent descent(problem, Vector::Zero(1), {.confidence = 2});
  Rng rng(4);
  std::vector<double> worst_cases;
  for (int k = 1; k <= 200; ++k) {
    const double objective = rng.Normal(), error = rng.Uniform();
    descent.Take({.objective = objective, .objective_standard_error = error, .gradient = Vector::Ones(1)});
    worst_cases.push_back(objective + 2 * error);
    const DescentStep& best = *descent.best();
    EXPECT_EQ(best.objective + 2 * best.objective_standard_error, worst_cases[static_cast<size_t>(best.number - 1)]);
    int64_t first = 1;
    while (4 * first <= k) first *= 2;
    EXPECT_GE(best.number, first);
    EXPECT_EQ(worst_cases[static_cast<size_t>(best.number - 1)],
              *std::min_element(worst_cases.begin() + first - 1, worst_cases.end()));
  }
}

TEST(StochasticDescent, BeginsAnewWhereItIsPut) {
  const BilevelProblem problem = Leader(1);
  StochasticDescent descent(problem, Vector::Zero(1), {.momentum = true, .max_steps = 2});
  descent.Take({.gradient = Vector::Ones(1)});
  descent.Take({.gradient = Vector::Ones(1), .previous = Vector::Ones(1)});
  EXPECT_EQ(descent.termination()->reason, StopReason::kIterationLimit);
  descent.Restart(Vector::Constant(1, 7));
  EXPECT_FALSE(descent.stopped());
  EXPECT_FALSE(descent.best().has_value());
  EXPECT_EQ(descent.kept_share(), 0);
  EXPECT_EQ(descent.x()[0], 7);
}

TEST(StochasticDescent, StaysWhereNumbersAreFinite) {
  BilevelProblem problem = Leader(1, Sense::kMaximize);
  problem.map = *ParameterMap::Create(1, {{1, MapKind::kExp, 1}});
  StochasticDescent descent(problem, Vector::Zero(1), {.steps = StepSchedule{.first = 500, .power = 0}});
  descent.Take({.gradient = Vector::Ones(1)});
  EXPECT_EQ(descent.x()[0], 500);
  EXPECT_FALSE(descent.stopped());
  descent.Take({.gradient = Vector::Ones(1)});
  EXPECT_EQ(descent.termination()->reason, StopReason::kDiverged);
  EXPECT_EQ(descent.x()[0], 500);
}

TEST(StochasticDescent, RefusesOptionsOutOfRange) {
  const auto refused = [](StochasticDescentOptions options, const char* field) {
    EXPECT_THAT(std::string(options.Validate().message()), HasSubstr(field));
  };
  EXPECT_TRUE(StochasticDescentOptions().Validate().ok());
  refused({.first_step = 0}, "first_step");
  refused({.first_step = HUGE_VAL}, "first_step");
  refused({.gradient_tolerance = -1}, "gradient_tolerance");
  refused({.confidence = 0}, "confidence");
  refused({.max_steps = 0}, "max_steps");
  refused({.steps = StepSchedule{.first = -1}}, "steps.first");
  refused({.averaging = StepSchedule()}, "averaging");
  refused({.momentum = true, .averaging = StepSchedule{.first = 2}}, "averaging.first");
}

}  // namespace
}  // namespace bilevel
