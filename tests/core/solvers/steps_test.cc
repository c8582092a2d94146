// Single steps of the outer methods against their formulas, and what they count.

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/mdp/soft_bellman.h"
#include "core/problem/world.h"
#include "core/solvers/optimize.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/dense_algebra.h"
#include "tests/support/random_problem.h"
#include "tests/support/reference.h"
#include "tests/support/solver_trace.h"

namespace bilevel::testing {
namespace {

TEST(Solvers, ConvergeUnderAModerateOneNormPenalty) {
  for (const MethodOptions& method : std::vector<MethodOptions>{
           MSobirlOptions{.step_size = 0.3, .adjoint_step = MSobirlOptions::AdjointStep::kKrylov},
           ProjectedGradientOptions{}, ProjectedGradientOptions{.step_size = 0.3}, QuasiNewtonOptions{},
           TruncatedNewtonOptions{}}) {
    ProblemNumbers numbers = DrawMatching(3, Sense::kMinimize);
    numbers.penalties.l1 = 0.02;
    const Trace trace =
        Follow(Build(numbers), method, {.gradient_tolerance = 1e-6, .max_iterations = 5000}, Vector::Constant(6, 0.5));
    EXPECT_EQ(trace.result.termination.reason, StopReason::kConverged) << trace.result.termination.detail;
    EXPECT_GT(trace.result.best.x.norm(), 0);
  }
}

TEST(Solvers, SmallEvaluationLimitsHoldToo) {
  for (const MethodOptions& method :
       std::vector<MethodOptions>{MSobirlOptions{.step_size = 0.5}, ProjectedGradientOptions{}, QuasiNewtonOptions{},
                                  TruncatedNewtonOptions{}}) {
    for (const int limit : {1, 2, 3, 4}) {
      OuterOptions options{.gradient_tolerance = 0};
      options.max_evaluations = limit;
      EXPECT_LE(Follow(Build(DrawMatching(4, Sense::kMinimize)), method, options, Vector::Zero(6)).result.evaluations,
                limit)
          << MethodName(method);
    }
  }
}

TEST(ProjectedGradient, MinimisingAndMaximisingTheNegativeGoThroughTheSamePoints) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    const OuterOptions options{.gradient_tolerance = 1e-8, .max_iterations = 500};
    const Trace a =
        Follow(Build(DrawMatching(seed, Sense::kMinimize)), ProjectedGradientOptions{}, options, Vector::Ones(6));
    const Trace b =
        Follow(Build(DrawMatching(seed, Sense::kMaximize)), ProjectedGradientOptions{}, options, Vector::Ones(6));
    EXPECT_EQ(a.result.iterations, b.result.iterations);
    EXPECT_EQ(a.result.best.x, b.result.best.x);
    for (size_t i = 1; i < a.seen.size(); ++i)
      EXPECT_LE(a.seen[i].objective, a.seen[i - 1].objective + 1e-12 * (1 + std::abs(a.seen[i].objective)));
  }
}

// How many evaluations a descent takes depends on its roundings, by a half on seed 7; so starts differ by theirs.
TEST(ProjectedGradient, ConvergesInAFewHundredEvaluationsWhateverTheRoundings) {
  constexpr int kStarts = 8;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    const BilevelProblem problem = Build(DrawMatching(seed, Sense::kMinimize));
    const OuterOptions options{.gradient_tolerance = 1e-8, .max_iterations = 500};
    int evaluations = 0;
    for (int start = 0; start < kStarts; ++start) {
      const Trace trace = Follow(problem, ProjectedGradientOptions{}, options, Vector::Constant(6, 1 + 1e-13 * start));
      EXPECT_EQ(trace.result.termination.reason, StopReason::kConverged) << seed;
      evaluations += trace.result.evaluations;
    }
    EXPECT_LT(evaluations, kStarts * 300) << seed;
  }
}

TEST(ProjectedGradient, BacktracksFromAStepThatOvershoots) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    ProblemNumbers numbers = DrawProblem(rng, {.max_contexts = 1, .max_discount = 0.9, .min_temperature = 0.05});
    const BilevelProblem problem = Build(numbers);
    const Trace t = Follow(problem, ProjectedGradientOptions{}, {.gradient_tolerance = 1e-6, .max_iterations = 40},
                           DrawNormal(rng, numbers.num_parameters));
    for (size_t i = 1; i < t.seen.size(); ++i)
      EXPECT_LE(problem.sign() * t.seen[i].objective,
                problem.sign() * t.seen[i - 1].objective + 1e-12 * (1 + std::abs(t.seen[i].objective)));
    if (HasFailure()) return;
  }
}

TEST(ProjectedGradient, AFixedStepThatOvershootsReturnsTheBestPointItSaw) {
  const BilevelProblem problem = Build(DrawMatching(4, Sense::kMinimize));
  const Trace t = Follow(problem, ProjectedGradientOptions{.step_size = 60},
                         {.gradient_tolerance = 1e-12, .max_iterations = 60}, Vector::Zero(6));
  double best = t.seen[0].objective;
  for (const Progress& p : t.seen) best = std::min(best, p.objective);
  EXPECT_GT(t.seen.back().objective, best + 1e-6);
  EXPECT_NEAR(t.result.best.objective, best, 1e-9);
}

TEST(MSobirl, FirstDirectionIsThatOfThePaper) {
  const ProblemNumbers numbers = DrawMatching(4, Sense::kMinimize);
  const BilevelProblem problem = Build(numbers);
  const Context& context = problem.contexts[0];
  const TabularMdp& mdp = *context.mdp;
  const Vector x = Vector::LinSpaced(6, -1, 1);
  World world(problem, 0, PolicySystem::Kind::kDirect);
  const RegularizedMdp follower = world.At(x, x);
  const double gamma = context.discount, zeta = 0.3;
  for (const int sweeps : {1, 3}) {
    // V_1 = T^N 0, pi_1 at V_1, w_1 = zeta A^T b.
    Vector V = Vector::Zero(8);
    for (int i = 0; i < sweeps; ++i) V = ApplySoftBellman(follower, V).value;
    const Vector pi = ApplySoftBellman(follower, V).pi;
    const Eigen::MatrixXd A = (Eigen::MatrixXd::Identity(8, 8) - gamma * mdp.DensePolicyTransitions(pi)).transpose();
    const Vector y = RepeatForActions(mdp, numbers.contexts[0].state_weights)
                         .cwiseProduct(pi)
                         .cwiseProduct(pi - numbers.contexts[0].target) /
                     8;
    const Vector b = SumOverActions(mdp, y) - gamma * mdp.PushForward(y);
    const Eigen::MatrixXd features(numbers.contexts[0].reward.features);
    auto h = [&](const Vector& w) -> double {
      return (features.transpose() * (y - pi.cwiseProduct(RepeatForActions(mdp, w))) / context.temperature + 1e-3 * x)
          .norm();
    };
    auto first = [&](MSobirlOptions method) {
      method.sweeps = sweeps;
      return Follow(problem, method, {.gradient_tolerance = 0, .max_iterations = 0}, x).seen[0].gradient_norm;
    };
    using Step = MSobirlOptions::AdjointStep;
    EXPECT_NEAR(first({.adjoint_step = Step::kGradient, .zeta = zeta}), h(zeta * A.transpose() * b), 1e-13);
    EXPECT_NEAR(first({.adjoint_step = Step::kL1}), h(b), 1e-13);
    EXPECT_NEAR(first({.adjoint_step = Step::kKrylov}), h(SolveDense(A, b)), 1e-10);
  }
}

TEST(MSobirl, ZetaIsRefusedAtItsLimitAndNotBefore) {
  const BilevelProblem problem = Build(DrawMatching(5, Sense::kMinimize));
  const Context& context = problem.contexts[0];
  World world(problem, 0, PolicySystem::Kind::kDirect);
  const RegularizedMdp follower = world.At(Vector::Zero(6), Vector::Zero(6));
  PolicySystem& system = world.system();
  const Vector pi = SolveLowerLevel(follower, {}, {}, Interrupt(), system)->backup.pi;
  const Eigen::MatrixXd A =
      Eigen::MatrixXd::Identity(8, 8) - context.discount * context.mdp->DensePolicyTransitions(pi);
  const double limit = 2 / (SpectralNorm(A) * SpectralNorm(A));
  ProgressReporter reporter;
  const OuterOptions options{.gradient_tolerance = 0, .max_iterations = 5};
  auto run = [&](double zeta) {
    return Optimize(problem, Vector::Zero(6), MSobirlOptions{.step_size = 1e-9, .sweeps = 300, .zeta = zeta}, options,
                    Interrupt(), reporter);
  };
  EXPECT_FALSE(run(1.001 * limit).ok());
  const auto kept = run(0.98 * limit);
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_TRUE(kept->notes.empty());
}

TEST(MSobirl, CountsEveryEvaluation) {
  const Trace t = Follow(Build(DrawMatching(4, Sense::kMinimize)), MSobirlOptions{.step_size = 0.5},
                         {.gradient_tolerance = 0, .max_iterations = 7}, Vector::Zero(6));
  EXPECT_GE(t.result.evaluations, 7 + 1 + 1);
  EXPECT_LE(t.result.evaluations, 7 + 1 + 2);
}

TEST(MSobirl, ReturnsTheBestFinitePointWhenItDiverges) {
  ProblemNumbers numbers = DrawMatching(12);
  numbers.groups = {{6, MapKind::kExp, 1}};
  const BilevelProblem problem = Build(numbers);
  const Vector start = Vector::Constant(6, 0.1);
  const Trace t = Follow(problem, MSobirlOptions{.step_size = 5e5}, {.max_iterations = 50}, start);
  EXPECT_EQ(t.result.termination.reason, StopReason::kDiverged);
  EXPECT_TRUE(std::isfinite(t.result.best.objective));
  EXPECT_TRUE(t.result.best.gradient.allFinite());
  EXPECT_TRUE(std::isfinite(t.result.best.certificate.error_bound));
}

}  // namespace
}  // namespace bilevel::testing
