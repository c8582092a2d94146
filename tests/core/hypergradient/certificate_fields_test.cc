// What certificates count: every context, every weight, penalties, and the rounding of rewards and maps.

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/hypergradient/finite_difference.h"
#include "core/hypergradient/hypergradient.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/known_problems.h"
#include "tests/support/random_problem.h"
#include "tests/support/reference.h"

namespace bilevel::testing {
namespace {

ProblemNumbers TwoContexts(uint64_t seed) {
  for (Rng rng(seed);;) {
    ProblemNumbers n = DrawProblem(rng, {.max_discount = 0.95, .min_temperature = 0.2, .dynamics = false});
    if (n.contexts.size() == 2) return n;
  }
}

TEST(Certificate, WorstCaseAndPenalisedObjectivesStayWithinTheirBound) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    BilevelProblem problem = Build(TwoContexts(seed));
    problem.aggregation = Aggregation::kWorstCase;
    Rng rng(seed);
    const Vector x = DrawNormal(rng, problem.num_parameters);
    const auto exact = *HypergradientEvaluator(problem, {}).EvaluateCertified(x, Interrupt());
    LowerLevelOptions loose{.residual_tolerance = 1e-2, .method = LowerLevelMethod::kSweeps, .adjoint_tolerance = 1e-2};
    const auto point = *HypergradientEvaluator(problem, loose).EvaluateCertified(x, Interrupt());
    EXPECT_LE(std::abs(exact.objective - point.objective),
              point.certificate.objective_error_bound + exact.certificate.objective_error_bound);
    double backward = 0;
    for (const ContextPoint& c : point.contexts) backward = std::max(backward, c.solution.residual);
    EXPECT_EQ(point.certificate.backward_error, backward);
    EXPECT_GT(backward, 0);
    if (HasFailure()) return;
  }
}

TEST(Hypergradient, ReportsTheAdjointResidual) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Rng rng(seed);
    const BilevelProblem problem = Build(DrawProblem(
        rng, {.min_states = 8, .max_actions = 3, .max_contexts = 1, .max_discount = 0.95, .min_temperature = 0.2}));
    const Vector x = DrawNormal(rng, problem.num_parameters);
    const Context& c = problem.contexts[0];
    if (c.mdp->num_actions() == 1) continue;
    LowerLevelOptions loose{.method = LowerLevelMethod::kNewtonKrylov, .adjoint_tolerance = 0.05};
    const auto point = *HypergradientEvaluator(problem, loose).Evaluate(x, Interrupt());
    EXPECT_GT(point.certificate.adjoint_backward_error, 0) << seed;
  }
}

TEST(Hypergradient, AnyContextThatStoppedEarlyIsReported) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    ProblemNumbers numbers = TwoContexts(seed);
    // The second context needs no sweep beyond the first few: no discount.
    numbers.contexts[1].discount = 0;
    Rng rng(seed);
    const Vector x = DrawNormal(rng, numbers.num_parameters);
    const BilevelProblem problem = Build(numbers);
    LowerLevelOptions options{.max_sweeps = 3, .method = LowerLevelMethod::kSweeps};
    EXPECT_EQ(HypergradientEvaluator(problem, options).Evaluate(x, Interrupt())->termination.reason,
              StopReason::kIterationLimit);
    EXPECT_EQ(HypergradientEvaluator(problem, options).EvaluateObjective(x, Interrupt())->termination.reason,
              StopReason::kIterationLimit);
  }
}

void ExpectWithinBounds(const ProblemNumbers& numbers, const Vector& x, double slack = 1) {
  const auto point = HypergradientEvaluator(Build(numbers), {}).EvaluateCertified(x, Interrupt());
  ASSERT_TRUE(point.ok()) << point.status();
  const ReferencePoint reference = EvaluateReference(numbers, x);
  EXPECT_LE(static_cast<double>((point->gradient.cast<long double>() - reference.gradient).norm()),
            slack * point->certificate.error_bound);
  EXPECT_LE(static_cast<double>(std::abs(static_cast<long double>(point->objective) - reference.objective)),
            slack * point->certificate.objective_error_bound);
}

// Features of size K whose contributions cancel: the rewards are of order one, their rounding errors are not.
void Cancel(ParametricRewardSpec& reward, int n, double K, Rng& rng) {
  const Eigen::Index rows = reward.base.size();
  Eigen::MatrixXd F(rows, n);
  for (Eigen::Index row = 0; row < rows; ++row) {
    const double big = K * rng.Normal();
    for (int j = 0; j < n; ++j) F(row, j) = (j % 2 ? -big : big) + rng.Normal();
  }
  reward.features = F.sparseView();
}

TEST(Certificate, CountsTheRoundingOfRewardsThatCancel) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    ProblemNumbers numbers = DrawProblem(rng, {.max_discount = 0.95, .min_temperature = 0.05, .dynamics = false});
    numbers.num_parameters = 2;
    numbers.groups = {{2, MapKind::kSoftmax, 1}};
    for (ContextNumbers& c : numbers.contexts) {
      c.reward.coefficient.resize(0);
      c.reward.matrix.resize(0, 0);
      Cancel(c.reward, 2, 1e6, rng);
      if (c.return_weight == 0) continue;
      c.leader_reward.coefficient.resize(0);
      c.leader_reward.matrix.resize(0, 0);
      Cancel(c.leader_reward, 2, seed % 2 == 0 ? 1e6 : 1, rng);
    }
    const double middle = rng.Normal();
    ExpectWithinBounds(numbers, Vector{{middle, middle + 1e-6 * rng.Normal()}});
    if (::testing::Test::HasFailure()) return;
  }
}

// Certificates of problems with rewards coefficient * x^T M x, M by matrix(rng, x).
template <typename MatrixOf>
void ExpectWithinBoundsWithQuadratics(const MatrixOf& matrix) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    ProblemNumbers numbers = DrawProblem(rng, {.max_discount = 0.95, .min_temperature = 0.05});
    const int n = numbers.num_parameters;
    if (n < 2) continue;
    const Vector x = DrawNormal(rng, n);
    for (ContextNumbers& c : numbers.contexts) {
      c.reward.coefficient = DrawNormal(rng, c.reward.base.size());
      c.reward.matrix = matrix(rng, x);
    }
    ExpectWithinBounds(numbers, x);
    if (::testing::Test::HasFailure()) return;
  }
}

Eigen::MatrixXd DrawSquare(Rng& rng, Eigen::Index n) {
  Eigen::MatrixXd M(n, n);
  for (double& entry : M.reshaped()) entry = rng.Normal();
  return M;
}

TEST(Certificate, CountsTheRoundingOfQuadraticsThatCancelBetweenEntries) {
  ExpectWithinBoundsWithQuadratics([](Rng& rng, const Vector& x) -> Eigen::MatrixXd {
    const Eigen::MatrixXd M = DrawSquare(rng, x.size());
    return 1e6 * (M - M.transpose()) + 1e-2 * M;
  });
}

TEST(Certificate, CountsTheRoundingOfQuadraticsThatCancelAtX) {
  ExpectWithinBoundsWithQuadratics([](Rng& rng, const Vector& x) -> Eigen::MatrixXd {
    Eigen::MatrixXd M = DrawSquare(rng, x.size());
    M += M.transpose().eval();
    M -= x.dot(M * x) / (x.squaredNorm() * x.squaredNorm()) * x * x.transpose();
    return 1e6 * M + 1e-2 * Eigen::MatrixXd::Identity(x.size(), x.size());
  });
}

TEST(Certificate, CountsTheRoundingOfPenaltiesAndTheWeightsOfContexts) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    ProblemNumbers numbers = TwoContexts(seed);
    numbers.groups = {{numbers.num_parameters, MapKind::kTanh, 1}};
    for (ContextNumbers& c : numbers.contexts) {
      c.reward.coefficient.resize(0);
      c.reward.matrix.resize(0, 0);
      c.leader_reward.coefficient.resize(0);
      c.leader_reward.matrix.resize(0, 0);
      if (seed % 2 == 0) c.weight *= 1e6;
    }
    if (seed % 2 == 1) numbers.penalties.squared_l2 = 1e6 * rng.Uniform();
    ExpectWithinBounds(numbers, DrawNormal(rng, numbers.num_parameters, seed % 2 == 1 ? 1e3 : 1));
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(Certificate, CountsTheRoundingOfASaturatedSoftmax) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    ProblemNumbers numbers;
    numbers.num_parameters = 2;
    numbers.groups = {{2, MapKind::kSoftmax, 1}};
    ContextNumbers c;
    c.mdp = Bandit(2);
    c.discount = 0;
    c.temperature = 1;
    c.reward.base = Vector::Zero(2);
    Eigen::MatrixXd F(2, 2);
    F << 0, 1, 0, -1;
    if (seed % 2 == 1) F = DrawNormal(rng, 4).reshaped(2, 2);  // the larger share's slope is what cancels
    c.reward.features = F.sparseView();
    c.quadratic_weight = 1;
    c.target = Vector{{1.0, 0.0}};
    c.state_weights = Vector::Ones(1);
    numbers.contexts.push_back(c);
    ExpectWithinBounds(numbers, Vector{{rng.Uniform(), (seed % 2 == 1 ? -30 : -160) * rng.Uniform()}});
    if (::testing::Test::HasFailure()) return;
  }
}

// Shares of x lead from state 0 and from the start to states that end, each paying the inverse of its share.
ProblemNumbers RareAndRich(const Vector& x) {
  const int n = static_cast<int>(x.size()), S = n + 1;
  ContextNumbers c{.temperature = 1};
  c.mdp = {.num_states = S, .num_actions = 1, .offsets = {0}};
  for (int s = 1; s < S; ++s) c.mdp.columns.push_back(static_cast<uint32_t>(s));
  c.mdp.offsets.resize(static_cast<size_t>(S) + 1, c.mdp.columns.size());
  c.mdp.probabilities.assign(c.mdp.columns.size(), 1.0 / n);
  c.mdp.termination_probability = Vector::Ones(S) - Vector::Unit(S, 0);
  const Eigen::MatrixXd shares = Eigen::MatrixXd::Identity(n, n);
  c.dynamics.transitions = shares.sparseView();
  Eigen::MatrixXd initial(S, n);
  initial << Eigen::RowVectorXd::Constant(n, 0.5), 0.5 * shares;
  c.dynamics.initial = initial.sparseView();
  c.reward.base = Vector::Zero(S);
  c.reward.base.tail(n) = (x.maxCoeff() - x.array()).exp();
  c.reward.features = SparseRows(S, n);
  c.leader_reward = c.reward;
  return {.num_parameters = n, .groups = {{n, MapKind::kSoftmax, 1}}, .contexts = {c}};
}

TEST(Certificate, CountsTheRoundingOfRareTransitionsThatMatter) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const Vector x = 100 * DrawNormal(rng, 3);
    ProblemNumbers numbers = RareAndRich(x);
    (seed % 2 == 0 ? numbers.contexts[0].return_weight : numbers.contexts[0].value_weight) = 1;
    ExpectWithinBounds(numbers, x);
    if (::testing::Test::HasFailure()) return;
  }
}

// The same with shares in what the states pay.
TEST(Certificate, CountsTheRoundingOfSharesInRewards) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const Vector x = 100 * DrawNormal(rng, 3);
    ProblemNumbers numbers = RareAndRich(x);
    ContextNumbers& c = numbers.contexts[0];
    c.dynamics = {};
    c.mdp.initial_distribution = Vector::Constant(4, 0.25);
    Eigen::MatrixXd features(4, 3);
    features << Eigen::RowVectorXd::Zero(3), Eigen::MatrixXd(c.reward.base.tail(3).asDiagonal());
    (seed % 2 == 0 ? c.leader_reward : c.reward).features = features.sparseView();
    (seed % 2 == 0 ? c.return_weight : c.value_weight) = 1;
    c.reward.base = c.leader_reward.base = Vector::Zero(4);
    ExpectWithinBounds(numbers, x);
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(Certificate, IsInfiniteWhereItOverflows) {
  const Vector x{{-600.0, -300.0, 0.0}};
  ProblemNumbers numbers = RareAndRich(x);
  numbers.contexts[0].return_weight = 1;
  const auto point = *HypergradientEvaluator(Build(numbers), {}).EvaluateCertified(x, Interrupt());
  EXPECT_TRUE(point.gradient.allFinite());
  EXPECT_EQ(point.certificate.error_bound, HUGE_VAL);
}

TEST(Certificate, EstimateIsTheErrorWhenSolvedModeratelyAndBoundIsNotMuchLarger) {
  int close = 0, tight = 0, all = 0;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    const ProblemNumbers numbers = TwoContexts(seed);
    Rng rng(seed);
    const Vector x = DrawNormal(rng, numbers.num_parameters);
    LowerLevelOptions options{.residual_tolerance = 1e-6, .method = LowerLevelMethod::kSweeps};
    const auto point = HypergradientEvaluator(Build(numbers), options).EvaluateCertified(x, Interrupt());
    const double error = (point->gradient - EvaluateReference(numbers, x).gradient.cast<double>()).norm();
    if (error < 1e-8) continue;
    ++all;
    close += std::abs(point->certificate.error_estimate - error) < 5e-3 * error;
    tight += point->certificate.error_bound < 1.5 * error;
  }
  EXPECT_GE(all, 30);
  EXPECT_GE(close, all * 9 / 10);
  EXPECT_GE(tight, all * 8 / 10);
}

TEST(Certificate, AContextWithoutWeightDoesNotSpoilTheBound) {
  ProblemNumbers numbers = TwoContexts(1);
  numbers.contexts[1].weight = 0;
  numbers.contexts[1].reward.base.setConstant(1e308);
  numbers.contexts[1].discount = 0.9;
  const auto point =
      *HypergradientEvaluator(Build(numbers), {}).EvaluateCertified(Vector::Zero(numbers.num_parameters), Interrupt());
  EXPECT_FALSE(std::isnan(point.certificate.objective_error_bound));
}

TEST(GradientCheck, RandomDirectionsAreUnitVectorsThatDiffer) {
  Rng rng(5);
  ProblemNumbers numbers = DrawMatching(5, Sense::kMinimize);
  const BilevelProblem problem = Build(numbers);
  const Vector x = DrawNormal(rng, 6);
  FiniteDifferenceOptions options{.directions = 400};
  const auto check = CheckGradient(problem, x, {}, options, Interrupt());
  ASSERT_TRUE(check.ok());
  EXPECT_LT(check->relative_error_l2, 1e-5);
  EXPECT_NEAR(check->relative_error_l2, (check->analytic - check->numeric).norm() / check->numeric.norm(), 1e-12);
  // E (g.d)^2 = |g|^2 / n for a uniform unit vector d.
  EXPECT_NEAR(check->analytic.squaredNorm() / 400, check->point.gradient.squaredNorm() / 6,
              0.3 * check->point.gradient.squaredNorm() / 6);
  EXPECT_LE(check->analytic.cwiseAbs().maxCoeff(), check->point.gradient.norm() * (1 + 1e-12));
  EXPECT_LT(check->analytic.minCoeff(), 0);
  EXPECT_GT(check->analytic.maxCoeff(), 0);
}

TEST(Hypergradient, OverflowEndsAtOnceWithInfiniteBounds) {
  for (const LowerLevelMethod method :
       {LowerLevelMethod::kNewtonKrylov, LowerLevelMethod::kNewtonDirect, LowerLevelMethod::kSweeps}) {
    ProblemNumbers numbers = DrawMatching(3);
    numbers.contexts[0].discount = 0.999;
    numbers.contexts[0].reward.base.setConstant(1e308);
    const BilevelProblem problem = Build(numbers);
    const auto point = HypergradientEvaluator(problem, {.method = method}).EvaluateCertified(Vector::Ones(6), {});
    ASSERT_TRUE(point.ok()) << point.status();
    EXPECT_EQ(point->termination.reason, StopReason::kDiverged);
    EXPECT_EQ(point->certificate.error_bound, HUGE_VAL);
    EXPECT_EQ(point->certificate.objective_error_bound, HUGE_VAL);
    EXPECT_EQ(point->certificate.backward_error, HUGE_VAL);
    EXPECT_TRUE(std::isnan(point->objective));
  }
}

TEST(Hypergradient, AnInterruptedEvaluationHasABoundAndNoEstimate) {
  const BilevelProblem problem = Build(DrawMatching(4));
  const auto point = HypergradientEvaluator(problem, {})
                         .EvaluateCertified(Vector::Ones(6), Interrupt(nullptr, Interrupt::Clock::now()));
  EXPECT_EQ(point->termination.reason, StopReason::kTimeLimit);
  EXPECT_EQ(point->certificate.error_estimate, HUGE_VAL);
  EXPECT_TRUE(std::isfinite(point->certificate.error_bound));
}

TEST(Hypergradient, AToleranceThatALaterPointCannotReachIsNoError) {
  ProblemNumbers numbers = DrawMatching(5);
  numbers.groups = {{6, MapKind::kExp, 1}};
  const BilevelProblem problem = Build(numbers);
  HypergradientEvaluator evaluator(problem, {.residual_tolerance = 1e-12});
  ASSERT_TRUE(evaluator.Evaluate(Vector::Zero(6), {}).ok());
  EXPECT_TRUE(evaluator.Evaluate(Vector::Constant(6, 20), {}).ok());
  EXPECT_FALSE(
      HypergradientEvaluator(problem, {.residual_tolerance = 1e-12}).Evaluate(Vector::Constant(6, 20), {}).ok());
}

}  // namespace
}  // namespace bilevel::testing
