// Policy matching (math: core/README.md; draws: client/problems/policy_matching.h), a problem that a wrong implicit
// part does not solve, and the paper's synthetic problem, which cannot tell.

#include "client/problems/policy_matching.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <vector>

#include "client/problems/synthetic.h"
#include "core/problem/terms/context_objective.h"
#include "core/problem/world.h"
#include "core/solvers/m_sobirl.h"
#include "gtest/gtest.h"
#include "tests/problems/decoded.h"
#include "tests/support/sanitized.h"

namespace bilevel::testing {
namespace {

constexpr int kSeeds = kSanitized ? 1 : 10;
constexpr int kSteps = 3000;

double ExactGradientNorm(const BilevelProblem& problem, const Vector& x) {
  return HypergradientEvaluator(problem, {}).Evaluate(x, Interrupt())->gradient.norm();
}

double EndOfMSobirl(uint64_t seed, MSobirlOptions::AdjointStep step, std::optional<double> zeta = {},
                    int steps = kSteps) {
  const client::SeededProblem seeded = client::PolicyMatching(seed);
  const BilevelProblem problem = Decoded(seeded.problem);
  const MSobirlOptions method{.step_size = 1, .sweeps = 1, .adjoint_step = step, .zeta = zeta};
  ProgressReporter reporter;
  const auto result = SolveMSobirl(problem, ToVector(seeded.start), method,
                                   {.gradient_tolerance = 0, .max_iterations = steps}, Interrupt(), reporter);
  EXPECT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->iterations, steps);
  const double norm = ExactGradientNorm(problem, result->best.x);
  EXPECT_NEAR(norm, result->best.gradient_norm, 1e-12);
  return norm;
}

TEST(PolicyMatching, MSobirlReachesAStationaryPointWithOneSweepAndOneAdjointStep) {
  double gradient = 0, l1 = 0, krylov = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    gradient = std::max(gradient, EndOfMSobirl(seed, MSobirlOptions::AdjointStep::kGradient));
    l1 = std::max(l1, EndOfMSobirl(seed, MSobirlOptions::AdjointStep::kL1));
    krylov = std::max(krylov, EndOfMSobirl(seed, MSobirlOptions::AdjointStep::kKrylov));
  }
  EXPECT_LE(gradient, 1e-4);
  EXPECT_LE(l1, 1e-8);
  EXPECT_LE(krylov, 1e-8);
  std::printf("largest exact |grad phi| after %d steps, %d seeds: zeta %.2g, l1 %.2g, krylov %.2g\n", kSteps, kSeeds,
              gradient, l1, krylov);
}

TEST(PolicyMatching, ASmallZetaFollowsMoreSlowly) {
  // The slowest mode of w shrinks by 1 - zeta sigma_min(A)^2 a step. With zeta = 0.3 most seeds are below 1e-4 after
  // 3000 steps, seed 6 is at 2.4e-4, and at 1.9e-6 after 6000.
  int below = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    below += EndOfMSobirl(seed, MSobirlOptions::AdjointStep::kGradient, 0.3) <= 1e-4;
  }
  EXPECT_GE(below, kSeeds * 9 / 10);
  EXPECT_LE(EndOfMSobirl(6, MSobirlOptions::AdjointStep::kGradient, 0.3, 2 * kSteps), 1e-5);
  std::printf("zeta 0.3: %d of %d seeds below 1e-4 after %d steps\n", below, kSeeds, kSteps);
}

enum class Wrong { kNothing, kOneStep, kFlipped, kMissing };

// Descent at the exact policy with a spoilt implicit part.
double EndOfWrongDescent(uint64_t seed, Wrong wrong) {
  const client::SeededProblem seeded = client::PolicyMatching(seed);
  const BilevelProblem problem = Decoded(seeded.problem);
  const Context& context = problem.contexts[0];
  const TabularMdp& mdp = *context.mdp;
  World world(problem, 0, PolicySystem::Kind::kDirect);
  PolicySystem& system = world.system();
  Vector x = ToVector(seeded.start), value;
  const Interrupt never;
  for (int k = 0; k < kSteps; ++k) {
    const Vector theta = problem.map.Apply(x);
    const RegularizedMdp follower = world.At(x, theta);
    const auto solution = SolveLowerLevel(follower, {}, value, never, system);
    value = solution->value;
    const Vector& pi = solution->backup.pi;
    system.SetPolicy(pi);
    const ContextObjective objective = EvaluateContextObjective(
        context, {mdp, context.discount, value, solution->backup, x, theta, system, 1e-12, never});
    const Adjoint adjoint =
        SolveAdjoint(follower, pi, {.y = objective.y, .q = {}, .value = {}}, 1e-12, {}, never, system);
    Vector lambda = adjoint.reward_gradient;
    if (wrong == Wrong::kOneStep) lambda = adjoint.centered_y / context.temperature;  // grad r - E_pi grad r only
    if (wrong == Wrong::kFlipped) lambda = -lambda;
    if (wrong == Wrong::kMissing) lambda.setZero();
    ParameterGradient gradient = objective.direct;
    context.reward.AddPullback(lambda, x, gradient);
    x -= problem.AssembleGradient(gradient, x);
  }
  return ExactGradientNorm(problem, x);
}

TEST(PolicyMatching, OneStepFlippedAndMissingImplicitPartsDoNotReachAStationaryPoint) {
  double one_step = 1, flipped = 1, missing = 1;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    EXPECT_LT(EndOfWrongDescent(seed, Wrong::kNothing), 1e-8);  // the harness itself is right
    one_step = std::min(one_step, EndOfWrongDescent(seed, Wrong::kOneStep));
    flipped = std::min(flipped, EndOfWrongDescent(seed, Wrong::kFlipped));
    missing = std::min(missing, EndOfWrongDescent(seed, Wrong::kMissing));
  }
  EXPECT_GT(one_step, 5e-3);
  EXPECT_GT(flipped, 5e-3);
  EXPECT_GT(missing, 5e-3);
  std::printf("smallest exact |grad phi| after %d steps: one step %.2g, flipped %.2g, missing %.2g\n", kSteps, one_step,
              flipped, missing);
}

TEST(Synthetic, MSobirlFollowsThePublishedHistory) {
  const client::SeededProblem seeded = client::Synthetic(1);
  const BilevelProblem problem = Decoded(seeded.problem);
  constexpr double kBeta = 8e-3;
  const MSobirlOptions method{
      .step_size = kBeta, .sweeps = 10, .adjoint_step = MSobirlOptions::AdjointStep::kGradient, .zeta = 0.5};
  std::vector<double> norms;
  ProgressReporter reporter([&](const Progress& p) { norms.push_back(p.gradient_norm); }, 1);
  const auto result = SolveMSobirl(problem, ToVector(seeded.start), method,
                                   {.gradient_tolerance = 0, .max_iterations = kSteps}, Interrupt(), reporter);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(norms.size(), static_cast<size_t>(kSteps) + 1);
  const auto below = std::find_if(norms.begin(), norms.end(), [](double h) { return h < 0.0138; }) - norms.begin();
  EXPECT_GE(below, 700);
  EXPECT_LE(below, 950);
  // Near x = 0 the reward is of second order, so h = x up to that and each step multiplies it by 1 - beta.
  EXPECT_NEAR(norms[kSteps] / norms[kSteps - 1], 1 - kBeta, 1e-3 * kBeta);
  EXPECT_NEAR(result->best.objective, 1, 1e-9);
  EXPECT_LT(result->best.x.norm(), 1e-6);
  std::printf("|h| < 0.0138 after %d steps\n", static_cast<int>(below));
}

}  // namespace
}  // namespace bilevel::testing
