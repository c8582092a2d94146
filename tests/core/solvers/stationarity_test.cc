// The curvature on the face, in closed form and against central differences of the gradient.

#include "core/solvers/stationarity.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "core/problem/active_face.h"
#include "core/solvers/optimize.h"
#include "gtest/gtest.h"
#include "tests/support/dense_algebra.h"
#include "tests/support/known_problems.h"

namespace bilevel::testing {
namespace {

using Kind = Stationarity::Kind;

HypergradientPoint At(const BilevelProblem& problem, const Vector& x) {
  return *HypergradientEvaluator(problem, {}).Evaluate(x, Interrupt());
}

Stationarity Describe(const BilevelProblem& problem, const Vector& x, double gradient_tolerance = 1e-6,
                      const Interrupt& interrupt = {}) {
  return *DescribeStationarity(problem, At(problem, x), {.gradient_tolerance = gradient_tolerance}, {}, interrupt);
}

FeasibleSet Rectangle(const Vector& lower, const Vector& upper) {
  const Box box{.lower = lower, .upper = upper};
  return *FeasibleSet::Create(2, {{2, box}});
}

TEST(Stationarity, NamesASaddleAndTheWayOut) {
  for (const Sense sense : {Sense::kMinimize, Sense::kMaximize}) {
    for (const double temperature : {0.1, 1.0}) {
      ProblemNumbers numbers = SaddleAtZero(temperature);
      numbers.sense = sense;
      const Stationarity found = Describe(Build(numbers), Vector::Zero(2));
      EXPECT_EQ(found.kind, Kind::kSaddle);
      EXPECT_NEAR(found.smallest, -1 / (2 * temperature), 1e-12 / temperature);
      EXPECT_NEAR(found.largest, 1 / (2 * temperature), 1e-12 / temperature);
      const Vector out = sense == Sense::kMinimize ? Vector::Unit(2, 1) : Vector::Unit(2, 0);
      EXPECT_LT((found.direction - out).norm(), 1e-12);
      EXPECT_TRUE(found.exact);
      EXPECT_EQ(found.face_dimension, 2);
      EXPECT_EQ(found.products, 2);
    }
  }
}

// x_2 = 2 is held: d phi/dx_1 = 4 p^2 (1 - p) x_1 / tau, whose slope at x_1 = 0 is left.
TEST(Stationarity, SeesOnlyTheFace) {
  BilevelProblem problem = Build(SaddleAtZero(2));
  problem.feasible_set = Rectangle(Vector::Constant(2, -2), Vector::Constant(2, 2));
  const Stationarity found = Describe(problem, Vector{{0.0, 2.0}});
  const double p = 1 / (1 + std::exp(2.0));
  EXPECT_EQ(found.kind, Kind::kOptimum);
  EXPECT_EQ(found.face_dimension, 1);
  EXPECT_NEAR(found.smallest, 4 * p * p * (1 - p) / 2, 1e-12);
  EXPECT_EQ(found.smallest, found.largest);
  EXPECT_LT((found.direction - Vector::Unit(2, 0)).norm(), 1e-15);
}

TEST(Stationarity, AVertexIsAnOptimumWithoutProducts) {
  BilevelProblem problem = Build(SaddleAtZero(2));
  problem.feasible_set = Rectangle(Vector{{0.5, -1.0}}, Vector{{1.0, 2.0}});
  const Stationarity found = Describe(problem, Vector{{0.5, 2.0}});
  EXPECT_EQ(found.kind, Kind::kOptimum);
  EXPECT_EQ(found.face_dimension, 0);
  EXPECT_TRUE(found.exact);
  EXPECT_EQ(found.products, 0);
  EXPECT_EQ(found.direction.size(), 0);
}

TEST(Stationarity, ASlopeIsNotStationary) {
  const Stationarity found = Describe(Build(SaddleAtZero(1)), Vector{{0.5, 0.5}});
  EXPECT_EQ(found.kind, Kind::kNotStationary);
  EXPECT_GT(found.gradient_norm, 0.1);
  EXPECT_EQ(found.products, 0);
}

TEST(Stationarity, AParameterThatMovesNothingIsFlat) {
  ProblemNumbers numbers = SaddleAtZero(0.5);
  numbers.contexts[0].reward.matrix = Vector{{1.0, 0.0}}.asDiagonal();
  const Stationarity found = Describe(Build(numbers), Vector{{0.0, 0.7}});
  EXPECT_EQ(found.kind, Kind::kFlat);
  EXPECT_NEAR(found.smallest, 0, 1e-14);
  EXPECT_NEAR(found.largest, 1, 1e-12);
  EXPECT_LT((found.direction - Vector::Unit(2, 1)).norm(), 1e-12);
}

TEST(Stationarity, AKinkOfTheWorstCaseIsStationaryByItsMultipliers) {
  const BilevelProblem problem = KinkAtZero(0.5);
  ProgressReporter reporter;
  const OuterResult result = *Optimize(problem, Vector{{0.8, 0.0}}, TruncatedNewtonOptions{},
                                       {.max_iterations = 100, .describe_stationarity = true}, Interrupt(), reporter);
  EXPECT_NEAR(result.best.x[0], 0, 1e-9);
  EXPECT_EQ(result.stationarity->face_dimension, 1);  // x_0 would break the tie
  EXPECT_EQ(result.stationarity->kind, Kind::kFlat);  // x_1 moves nothing
  // Without them it is not.
  HypergradientPoint alone = At(problem, result.best.x);
  const Stationarity found = *DescribeStationarity(problem, alone, {}, {}, {});
  EXPECT_EQ(found.kind, Kind::kNotStationary);
}

// Policy matching through two softmax groups, of the policy at x itself: an optimum at x and at x with constants added.
BilevelProblem SoftmaxMatching(uint64_t seed, const Vector& x) {
  ProblemNumbers numbers = DrawMatching(seed);
  numbers.groups = {{4, MapKind::kSoftmax, 2}, {2, MapKind::kSoftmax, 1}};
  numbers.penalties.squared_l2 = 0;
  numbers.contexts[0].target = At(Build(numbers), x).contexts[0].solution.backup.pi;
  return Build(numbers);
}

TEST(Stationarity, ConstantsAddedToASoftmaxGroupAreTakenOutWhereTheyMoveNothing) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const Vector x = DrawNormal(rng, 6);
    const BilevelProblem problem = SoftmaxMatching(seed, x);
    const Stationarity found = Describe(problem, x);
    EXPECT_EQ(found.kind, Kind::kOptimum);
    EXPECT_EQ(found.face_dimension, 4);
    EXPECT_NEAR(found.direction.head(4).sum(), 0, 1e-12);
    EXPECT_NEAR(found.direction.tail(2).sum(), 0, 1e-12);
    // A bound holds one entry of the first group: the others no longer move together for nothing. The squared 2-norm
    // sees every x.
    BilevelProblem held = problem, seen = problem;
    const Box box{.lower = x.head(1), .upper = x.head(1)};
    held.feasible_set = *FeasibleSet::Create(6, {{1, box}, {5, Unconstrained{}}});
    EXPECT_EQ(Describe(held, x).face_dimension, 4);
    EXPECT_EQ(Describe(held, x).kind, Kind::kOptimum);
    seen.penalties.squared_l2 = 1e-3;
    EXPECT_EQ(Describe(seen, x, 1).face_dimension, 6);
  }
}

// Where r has x^T M x too, constants move it.
TEST(Stationarity, ConstantsAddedToASoftmaxGroupStayWhereTheyMoveTheReward) {
  ProblemNumbers numbers = DrawMatching(1);
  numbers.groups = {{4, MapKind::kSoftmax, 2}, {2, MapKind::kSoftmax, 1}};
  numbers.penalties.squared_l2 = 0;
  EXPECT_EQ(Describe(Build(numbers), Vector::Zero(6), 1e9).face_dimension, 4);
  numbers.contexts[0].reward.coefficient = Vector::LinSpaced(24, 0, 1);
  numbers.contexts[0].reward.matrix = Eigen::MatrixXd::Identity(6, 6);
  EXPECT_EQ(Describe(Build(numbers), Vector::Zero(6), 1e9).face_dimension, 6);
}

// Nor are they taken out where they follow a sphere: f does not curve along them, the sphere does.
TEST(Stationarity, ConstantsAddedToASoftmaxGroupCurveWithASphere) {
  ProblemNumbers numbers = DrawMatching(1);
  numbers.groups = {{6, MapKind::kSoftmax, 2}};
  numbers.penalties.squared_l2 = 0;
  BilevelProblem problem = Build(numbers);
  const Vector x = Vector::Zero(6), gradient = At(problem, x).gradient;
  constexpr double kRadius = 0.5;
  problem.feasible_set = *FeasibleSet::Create(6, {{6, Ball{kRadius / gradient.norm() * gradient, kRadius}}});
  const Stationarity found = Describe(problem, x);
  EXPECT_EQ(found.face_dimension, 5);
  EXPECT_LE(found.smallest, gradient.norm() / kRadius * (1 + 1e-9));
  EXPECT_GE(found.largest, gradient.norm() / kRadius * (1 - 1e-9));
}

// Started away from its target a softmax share tends to 0 and its logit to -infinity.
TEST(Stationarity, ASaturatedSoftmaxIsFlat) {
  ProblemNumbers numbers = DrawMatching(1);
  numbers.groups = {{6, MapKind::kSoftmax, 2}};
  numbers.penalties.squared_l2 = 0;
  ProgressReporter reporter;
  const OuterResult result =
      *Optimize(Build(numbers), Vector::LinSpaced(6, -0.1, 0.1), TruncatedNewtonOptions{},
                {.gradient_tolerance = 1e-10, .describe_stationarity = true}, Interrupt(), reporter);
  EXPECT_EQ(result.termination.reason, StopReason::kConverged);
  EXPECT_GT(result.best.x.norm(), 10);
  EXPECT_EQ(result.stationarity->kind, Kind::kFlat);
}

// Z of the face by projecting the unit vectors, H by central differences.
Eigen::VectorXd CurvaturesByDifferences(const BilevelProblem& problem, const Vector& x) {
  constexpr double kShift = 1e-4;
  const Eigen::Index n = x.size();
  Eigen::MatrixXd hessian(n, n), projector(n, n);
  const ActiveFace face(problem.feasible_set, x, problem.sign() * At(problem, x).gradient, problem.penalties.l1);
  for (Eigen::Index i = 0; i < n; ++i) {
    const auto gradient = [&](double h) { return At(problem, x + h * Vector::Unit(n, i)).gradient; };
    hessian.col(i) = problem.sign() *
                     (8 * (gradient(kShift) - gradient(-kShift)) - (gradient(2 * kShift) - gradient(-2 * kShift))) /
                     (12 * kShift);
    projector.col(i) = face.Project(Vector::Unit(n, i));
  }
  hessian.diagonal() += face.curvature();
  // What lies beside the face goes to the end.
  const Eigen::MatrixXd within = projector * hessian * projector + 1e6 * (Eigen::MatrixXd::Identity(n, n) - projector);
  const Vector all = SymmetricEigenvalues((within + within.transpose()) / 2);
  return all.head(face.dimension());
}

// Not at stationary points: the curvature on the face is what it is anywhere.
TEST(Stationarity, EqualsTheEigenvaluesOfDifferencesOfTheGradient) {
  int faces = 0, saddles = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    BilevelProblem problem = Build(DrawMatching(seed, seed % 2 == 0 ? Sense::kMinimize : Sense::kMaximize));
    if (seed % 3 == 1) {
      problem.feasible_set = *FeasibleSet::Create(
          6, {DrawBlock(rng, 2, SetKind::kBox), DrawBlock(rng, 2, SetKind::kSimplex), {2, Ball{Vector::Zero(2), 0.3}}});
    }
    if (seed % 3 == 2) problem.penalties.l1 = 0.01;
    const Vector x = problem.feasible_set.Prox(DrawNormal(rng, 6), 0.3 * problem.penalties.l1);
    const Stationarity found = Describe(problem, x, 1e9);
    const Vector expected = CurvaturesByDifferences(problem, x);
    ASSERT_EQ(found.face_dimension, expected.size());
    if (expected.size() == 0) continue;
    const double scale = std::max(1.0, expected.cwiseAbs().maxCoeff());
    EXPECT_NEAR(found.smallest, expected.minCoeff(), 1e-6 * scale);
    EXPECT_NEAR(found.largest, expected.maxCoeff(), 1e-6 * scale);
    faces += expected.size() < 6;
    saddles += found.kind == Kind::kSaddle;
  }
  EXPECT_GT(faces, 10);
  EXPECT_GT(saddles, 5);
}

// Policy matching with `size` parameters: phi curves along at most 24 directions, and by the squared 2-norm.
BilevelProblem LargeMatching(int size) {
  Rng rng(7);
  ProblemNumbers numbers = DrawMatching(7);
  numbers.num_parameters = size;
  numbers.penalties.squared_l2 = 0.5;
  numbers.contexts[0].reward.features =
      Eigen::MatrixXd::NullaryExpr(24, size, [&] { return rng.Normal() / std::sqrt(size); }).sparseView();
  return Build(numbers);
}

TEST(Stationarity, LargeFacesAreSeenThroughAKrylovSpace) {
  const BilevelProblem problem = LargeMatching(250);
  ProgressReporter reporter;
  const OuterResult result = *Optimize(problem, Vector::Zero(250), TruncatedNewtonOptions{},
                                       {.describe_stationarity = true}, Interrupt(), reporter);
  ASSERT_EQ(result.termination.reason, StopReason::kConverged);
  const Stationarity& found = *result.stationarity;
  EXPECT_EQ(found.kind, Kind::kOptimum);
  EXPECT_FALSE(found.exact);
  EXPECT_EQ(found.products, Stationarity::kMaxProducts);
  const Vector expected = CurvaturesByDifferences(problem, result.best.x);
  EXPECT_NEAR(found.smallest, expected.minCoeff(), 1e-6);
  EXPECT_NEAR(found.largest, expected.maxCoeff(), 1e-6);
}

TEST(Stationarity, AnInterruptionLeavesWhatWasFound) {
  const BilevelProblem problem = LargeMatching(150);
  const HypergradientPoint point = At(problem, Vector::Zero(150));
  int partial = 0, unknown = 0;
  for (int beats = 1; beats <= 4096; beats *= 2) {
    std::atomic<bool> cancelled = false;
    int left = beats;
    Pulse pulse([&] { cancelled = --left <= 0; }, std::chrono::nanoseconds(0));
    const Interrupt interrupt = Interrupt(&cancelled, std::nullopt).WithPulse(pulse);
    const Stationarity found = *DescribeStationarity(problem, point, {.gradient_tolerance = 1e9}, {}, interrupt);
    if (found.exact) continue;
    EXPECT_LT(found.products, 150);
    if (found.products == 0) continue;
    ++partial;
    unknown += found.kind == Kind::kUnknown;  // else enough was seen to tell
    EXPECT_TRUE(std::isfinite(found.smallest) && found.smallest <= found.largest);
    EXPECT_NEAR(found.direction.norm(), 1, 1e-12);
  }
  EXPECT_GT(partial, 3);
  EXPECT_GT(unknown, 0);
}

TEST(Stationarity, SameSeedSameBytes) {
  const BilevelProblem problem = LargeMatching(210);
  const Stationarity a = Describe(problem, Vector::Zero(210), 1e9), b = Describe(problem, Vector::Zero(210), 1e9);
  EXPECT_EQ(a.smallest, b.smallest);
  EXPECT_EQ(a.direction, b.direction);
}

TEST(Stationarity, NothingIsKnownWhileAFollowerIsNotSolved) {
  const BilevelProblem problem = Build(DrawMatching(7));
  const LowerLevelOptions once{.max_sweeps = 1, .method = LowerLevelMethod::kSweeps};
  const HypergradientPoint point = *HypergradientEvaluator(problem, once).Evaluate(Vector::Zero(6), Interrupt());
  EXPECT_EQ(
      DescribeStationarity(problem, point, {.gradient_tolerance = 1e9, .lower_level = once}, {}, Interrupt())->kind,
      Kind::kUnknown);
}

TEST(Stationarity, NothingIsKnownOfAnObjectiveThatIsNotFinite) {
  ProblemNumbers numbers = DrawMatching(7);
  numbers.groups = {{6, MapKind::kExp, 1}};
  const Stationarity found = Describe(Build(numbers), Vector::Constant(6, 1e3));
  EXPECT_EQ(found.kind, Kind::kUnknown);
  EXPECT_EQ(found.products, 0);
}

}  // namespace
}  // namespace bilevel::testing
