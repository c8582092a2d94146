// What every outer method must do, whatever it is.

#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <string>

#include "core/solvers/optimize.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/random_problem.h"

namespace bilevel::testing {
namespace {

using ::testing::HasSubstr;

MethodOptions Method(size_t index) {
  if (index == 0) return MSobirlOptions{.step_size = 0.5, .adjoint_step = MSobirlOptions::AdjointStep::kGradient};
  if (index == 1) return MSobirlOptions{.step_size = 0.5, .adjoint_step = MSobirlOptions::AdjointStep::kL1};
  if (index == 2) return MSobirlOptions{.step_size = 0.5, .adjoint_step = MSobirlOptions::AdjointStep::kKrylov};
  if (index == 3) return ProjectedGradientOptions{};
  if (index == 4) return ProjectedGradientOptions{.step_size = 0.5};
  if (index == 5) return QuasiNewtonOptions{};
  if (index == 6) return TruncatedNewtonOptions{};
  return PortfolioOptions{.islands = 2, .evaluations_per_round = 30, .patience = 200};
}

class MethodContract : public ::testing::TestWithParam<size_t> {
 protected:
  OuterResult Run(const BilevelProblem& problem, const OuterOptions& options, const Interrupt& interrupt = {},
                  ProgressReporter reporter = {}, const Vector& start = Vector::Zero(6)) {
    auto result = Optimize(problem, start, Method(GetParam()), options, interrupt, reporter);
    EXPECT_TRUE(result.ok()) << result.status();
    return *std::move(result);
  }
};

TEST_P(MethodContract, ReachesACertifiedStationaryPointInEitherSense) {
  for (const Sense sense : {Sense::kMinimize, Sense::kMaximize}) {
    const BilevelProblem problem = Build(DrawMatching(1, sense));
    const double start = HypergradientEvaluator(problem, {}).EvaluateObjective(Vector::Zero(6), {})->value;
    const OuterResult result = Run(problem, {.gradient_tolerance = 1e-6, .max_iterations = 20000});
    EXPECT_EQ(result.termination.reason, StopReason::kConverged) << result.termination.detail;
    EXPECT_LE(result.best.gradient_norm, 1e-6);
    EXPECT_TRUE(Better(problem, result.best.objective, start));
    EXPECT_TRUE(result.best.certified);
    EXPECT_LT(result.best.certificate.error_bound, 1e-8);
  }
}

TEST_P(MethodContract, StaysInsideTheFeasibleSet) {
  ProblemNumbers numbers = DrawMatching(2);
  BilevelProblem problem = Build(numbers);
  problem.feasible_set =
      *FeasibleSet::Create(6, {{3, Simplex{1}}, {3, Box{Vector::Constant(3, -0.1), Vector::Constant(3, 0.1)}}});
  std::vector<Vector> seen;
  ProgressReporter reporter([&](const Progress& p) { seen.push_back(p.best_parameters); }, 1);
  const OuterResult result =
      Run(problem, {.gradient_tolerance = 1e-7, .max_iterations = 5000}, {}, reporter, Vector::Constant(6, 5));
  seen.push_back(result.best.x);
  for (const Vector& x : seen) EXPECT_LT((problem.feasible_set.Project(x) - x).norm(), 1e-12);
  EXPECT_EQ(result.termination.reason, StopReason::kConverged) << result.termination.detail;
}

TEST_P(MethodContract, OneNormPenaltyMakesParametersExactlyZero) {
  ProblemNumbers numbers = DrawMatching(3);
  numbers.penalties.l1 = 10;
  const OuterResult result = Run(Build(numbers), {.max_iterations = 5000}, {}, {}, Vector::Constant(6, 0.5));
  EXPECT_EQ(result.best.x, Vector::Zero(6));
}

TEST_P(MethodContract, HonoursIterationAndEvaluationLimits) {
  const BilevelProblem problem = Build(DrawMatching(4));
  for (const int limit : {0, 1, 7}) {
    const OuterResult result = Run(problem, {.gradient_tolerance = 0, .max_iterations = limit});
    EXPECT_EQ(result.iterations, limit);
    EXPECT_EQ(result.termination.reason, StopReason::kIterationLimit);
  }
  for (const int limit : {5, 20}) {
    OuterOptions options{.gradient_tolerance = 0, .max_iterations = 1000};
    options.max_evaluations = limit;
    const OuterResult result = Run(problem, options);
    EXPECT_LE(result.evaluations, limit);
    EXPECT_EQ(result.termination.reason, StopReason::kEvaluationLimit);
  }
}

TEST_P(MethodContract, StopsOnCancellationAndTimeWithTheBestIterateAndAValidBound) {
  const BilevelProblem problem = Build(DrawMatching(5));
  std::atomic<bool> cancelled = false;
  int reports = 0;
  ProgressReporter reporter(
      [&](const Progress&) {
        if (++reports == 3) cancelled = true;
      },
      1);
  const OuterResult stopped =
      Run(problem, {.gradient_tolerance = 0, .max_iterations = 1 << 30}, Interrupt(&cancelled, std::nullopt), reporter);
  EXPECT_EQ(stopped.termination.reason, StopReason::kCancelled);
  EXPECT_LE(stopped.iterations, 3);
  const auto begin = std::chrono::steady_clock::now();
  const OuterResult late = Run(problem, {.gradient_tolerance = 0, .max_iterations = 1 << 30},
                               Interrupt(nullptr, begin + std::chrono::milliseconds(50)));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
  EXPECT_EQ(late.termination.reason, StopReason::kTimeLimit);
  for (const OuterResult& result : {stopped, late}) {
    const auto exact = HypergradientEvaluator(problem, {}).EvaluateCertified(result.best.x, Interrupt());
    EXPECT_LE((exact->gradient - result.best.gradient).norm(),
              result.best.certificate.error_bound + exact->certificate.error_bound);
  }
}

TEST_P(MethodContract, RepeatsItsLastReportInsideLongIterations) {
  // 0.2 ms between signs of life is short beside a reported iteration here, so reports repeat within iterations.
  Rng rng(11);
  ProblemNumbers numbers = DrawMatching(11);
  ContextNumbers& c = numbers.contexts[0];
  c.mdp = DrawMdp(rng, 150, 3, false, false);
  c.reward.base = Vector::Zero(450);
  c.reward.features = Eigen::MatrixXd::NullaryExpr(450, 6, [&] { return rng.Normal() / 3; }).sparseView();
  c.target = DrawNormal(rng, 450).cwiseAbs();
  c.state_weights = Vector::Ones(150);
  int reports = 0;
  ProgressReporter reporter([&](const Progress&) { ++reports; }, 0, std::chrono::microseconds(200));
  const OuterResult result = Run(Build(numbers), {.gradient_tolerance = 0, .max_iterations = 1}, {}, reporter);
  EXPECT_EQ(result.iterations, 1);
  EXPECT_GT(reports, 2);  // iterations 0 and 1 report once each
}

TEST_P(MethodContract, ReportsTheStartWhileTheFirstEvaluationLasts) {
  BilevelProblem problem = Build(DrawMatching(12));
  problem.feasible_set = *FeasibleSet::Create(6, {{6, Simplex{3}}});
  for (const std::optional<int> max_evaluations : {std::optional<int>(), std::optional<int>(1)}) {
    std::vector<Progress> seen;
    ProgressReporter reporter([&](const Progress& p) { seen.push_back(p); }, 0, std::chrono::nanoseconds(1));
    Run(problem, {.max_iterations = 2, .max_evaluations = max_evaluations}, {}, reporter, Vector::Constant(6, 7));
    ASSERT_FALSE(seen.empty());
    EXPECT_EQ(seen.front().evaluations, 0);
    EXPECT_TRUE(std::isnan(seen.front().objective));
    EXPECT_LT((seen.front().best_parameters - Vector::Constant(6, 0.5)).norm(), 1e-15);
  }
}

TEST_P(MethodContract, CertifiedProgressBoundsTheGradientAndChangesNothing) {
  const BilevelProblem problem = Build(DrawMatching(14));
  const OuterResult plain = Run(problem, {.max_iterations = 3});
  std::vector<Progress> seen;
  ProgressReporter reporter(
      [&](const Progress& p) {
        // Better points found within an iteration come on top.
        if (seen.empty() || p.iteration > seen.back().iteration) seen.push_back(p);
      },
      1);
  const OuterResult certified =
      Run(problem, {.max_iterations = 3, .certify_progress = true, .record_history = true}, {}, reporter);
  EXPECT_EQ(certified.best.x, plain.best.x);
  EXPECT_EQ(certified.evaluations, plain.evaluations);
  for (const Progress& progress : seen) {
    ASSERT_TRUE(progress.certificate.has_value());
    EXPECT_GT(progress.certificate->error_bound, 0);
    EXPECT_LT(progress.certificate->error_bound, 1e-8);
  }
  ASSERT_EQ(certified.history.size(), seen.size());
  for (size_t i = 0; i < seen.size(); ++i) {
    EXPECT_EQ(certified.history[i].iteration, static_cast<int>(i));
    EXPECT_EQ(certified.history[i].objective, seen[i].objective);
    EXPECT_EQ(certified.history[i].error_bound, seen[i].certificate->error_bound);
  }
  EXPECT_TRUE(plain.history.empty());
}

TEST(History, KeepsEveryIterationThenEverySecondAndSoOn) {
  History history;
  for (int i = 0; i <= 20'000; ++i) {
    if (history.Due(i)) history.Add({.iteration = i, .best_parameters = {}, .certificate = {}});
  }
  const std::vector<IterationStats> entries = std::move(history).Take();
  EXPECT_LE(entries.size(), History::kMaxEntries);
  EXPECT_GT(entries.size(), History::kMaxEntries / 2);
  for (size_t i = 0; i < entries.size(); ++i) EXPECT_EQ(entries[i].iteration, static_cast<int>(8 * i));
}

TEST_P(MethodContract, SmallGradientsOfAnUnsolvedFollowerAreNoConvergence) {
  const BilevelProblem problem = Build(DrawMatching(13));
  OuterOptions options{.gradient_tolerance = 1e3, .max_iterations = 2};
  EXPECT_EQ(Run(problem, options).termination.reason, StopReason::kConverged);
  options.lower_level = {.max_sweeps = 1, .method = LowerLevelMethod::kSweeps};
  EXPECT_EQ(Run(problem, options).termination.reason, StopReason::kIterationLimit);
}

TEST_P(MethodContract, AContextWithoutWeightMayOverflow) {
  ProblemNumbers numbers = DrawMatching(15);
  numbers.contexts.push_back(numbers.contexts[0]);
  numbers.contexts[1].weight = 0;
  numbers.contexts[1].reward.base = Vector::Constant(24, 1e308);
  const OuterResult result = Run(Build(numbers), {.max_iterations = 3, .report_sensitivities = true});
  EXPECT_TRUE(std::isfinite(result.best.objective));
  EXPECT_LE(result.best.objective,
            HypergradientEvaluator(Build(numbers), {}).EvaluateObjective(Vector::Zero(6), {})->value);
}

TEST_P(MethodContract, SameRequestSameBytes) {
  const BilevelProblem problem = Build(DrawMatching(6));
  const OuterResult a = Run(problem, {.max_iterations = 50}), b = Run(problem, {.max_iterations = 50});
  EXPECT_EQ(a.best.x, b.best.x);
  EXPECT_EQ(a.best.gradient, b.best.gradient);
  EXPECT_EQ(a.best.certificate.error_bound, b.best.certificate.error_bound);
}

TEST_P(MethodContract, NonFiniteStartEndsAsDiverged) {
  ProblemNumbers numbers = DrawMatching(7);
  numbers.groups = {{6, MapKind::kExp, 1}};
  const OuterResult result = Run(Build(numbers), {}, {}, {}, Vector::Constant(6, 1e3));
  EXPECT_EQ(result.termination.reason, StopReason::kDiverged);
}

TEST_P(MethodContract, RefusesBadOptionsByName) {
  const BilevelProblem problem = Build(DrawMatching(8));
  ProgressReporter reporter;
  auto message = [&](const OuterOptions& options) {
    return std::string(
        Optimize(problem, Vector::Zero(6), Method(GetParam()), options, Interrupt(), reporter).status().message());
  };
  EXPECT_THAT(message({.gradient_tolerance = -1}), HasSubstr("gradient_tolerance: is -1"));
  EXPECT_THAT(message({.gradient_tolerance = std::nan("")}), HasSubstr("gradient_tolerance: is nan"));
  EXPECT_THAT(message({.max_iterations = -1}), HasSubstr("max_iterations: is -1"));
  EXPECT_THAT(message({.max_evaluations = 0}), HasSubstr("max_evaluations: is 0"));
  EXPECT_THAT(message({.lower_level = {.max_sweeps = 0}}), HasSubstr("lower_level.max_sweeps: is 0"));
  EXPECT_THAT(message({.lower_level = {.residual_tolerance = -1}}), HasSubstr("lower_level.residual_tolerance: is -1"));
  EXPECT_THAT(message({.lower_level = {.adjoint_tolerance = 1}}), HasSubstr("lower_level.adjoint_tolerance: is 1"));
}

std::string NameOf(const ::testing::TestParamInfo<size_t>& method) {
  const std::string names[] = {"MSobirlGradient", "MSobirlL1",   "MSobirlKrylov",   "ProjectedGradient",
                               "FixedStep",       "QuasiNewton", "TruncatedNewton", "Portfolio"};
  return names[method.param];
}

INSTANTIATE_TEST_SUITE_P(AllMethods, MethodContract, ::testing::Range<size_t>(0, 8), NameOf);

TEST(MSobirl, RefusesBadOptionsByName) {
  const BilevelProblem problem = Build(DrawMatching(9));
  ProgressReporter reporter;
  auto message = [&](const MethodOptions& method) {
    return std::string(Optimize(problem, Vector::Zero(6), method, {}, Interrupt(), reporter).status().message());
  };
  EXPECT_THAT(message(MSobirlOptions{.step_size = 0}), HasSubstr("step_size: is 0"));
  EXPECT_THAT(message(MSobirlOptions{.sweeps = 0}), HasSubstr("sweeps: is 0"));
  EXPECT_THAT(message(MSobirlOptions{.zeta = -1}), HasSubstr("zeta: is -1"));
  EXPECT_THAT(message(ProjectedGradientOptions{.step_size = -2}), HasSubstr("step_size: is -2"));
}

TEST(MSobirl, RefusesAZetaThatMustDiverge) {
  const BilevelProblem problem = Build(DrawMatching(10));
  ProgressReporter reporter;
  const auto result = Optimize(problem, Vector::Zero(6), MSobirlOptions{.zeta = 2.5}, {}, Interrupt(), reporter);
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("zeta: is 2.5; in context 0 it must be below 2 / "));
}

TEST(MSobirl, LowersAZetaThatALaterPolicyMakesTooLargeAndSaysSo) {
  // Action 0 leads everywhere, action 1 into state 0: as x makes action 1 attractive, columns of P^pi gather there and
  // lambda_max(A^T A) grows.
  ProblemNumbers numbers;
  numbers.num_parameters = 1;
  ContextNumbers c;
  constexpr Eigen::Index kStates = 10;
  c.mdp.num_states = kStates;
  c.mdp.num_actions = 2;
  c.mdp.offsets.push_back(0);
  for (int s = 0; s < kStates; ++s) {
    for (uint32_t next = 0; next < kStates; ++next) {
      c.mdp.columns.push_back(next);
      c.mdp.probabilities.push_back(0.1);
    }
    c.mdp.offsets.push_back(c.mdp.columns.size());
    c.mdp.columns.push_back(0);
    c.mdp.probabilities.push_back(1);
    c.mdp.offsets.push_back(c.mdp.columns.size());
  }
  c.discount = 0.9;
  c.temperature = 0.2;
  c.reward.base = Vector::Zero(2 * kStates);
  c.reward.features.resize(2 * kStates, 1);
  for (int s = 0; s < kStates; ++s) c.reward.features.insert(2 * s + 1, 0) = 1;
  c.target = Vector::Zero(2 * kStates);
  for (int s = 0; s < kStates; ++s) c.target[2 * s + 1] = 1;
  c.state_weights = Vector::Ones(kStates);
  c.quadratic_weight = 1;
  numbers.contexts.push_back(c);
  const BilevelProblem problem = Build(numbers);
  ProgressReporter reporter;
  OuterOptions options{.max_iterations = 400};
  const MSobirlOptions method{.step_size = 0.05, .zeta = 0.5};
  const auto result = Optimize(problem, Vector::Constant(1, -1), method, options, Interrupt(), reporter);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_FALSE(result->notes.empty());
  EXPECT_THAT(result->notes[0], HasSubstr("zeta lowered from 0.5 to "));
  EXPECT_NE(result->termination.reason, StopReason::kDiverged);
  EXPECT_GT(result->best.x[0], 0);
}

}  // namespace
}  // namespace bilevel::testing
