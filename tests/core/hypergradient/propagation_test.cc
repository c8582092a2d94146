// Propagation of first-order errors: no Newton step in between to hide what a bound leaves out.

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/hypergradient/context_gradient.h"
#include "core/hypergradient/pullback.h"
#include "core/mdp/follower_error.h"
#include "core/problem/world.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/random_problem.h"
#include "tests/support/reference.h"
#include "tests/support/sanitized.h"
#include "tests/support/solved_at.h"

namespace bilevel::testing {
namespace {

constexpr uint64_t kProblems = kSanitized ? 100 : 3000;
const RandomProblemOptions kSmall{.min_states = 1,
                                  .max_states = 3,
                                  .max_actions = 2,
                                  .max_parameters = 2,
                                  .max_contexts = 1,
                                  .max_discount = 0.95,
                                  .min_temperature = 0.1};

// How much of |error| is not below the radius, added up.
double Beyond(const Vector& error, const Vector& radius) { return (error.cwiseAbs() - radius).cwiseMax(0.0).sum(); }

TEST(Propagation, BoundsOfTermsAndAdjointCoverFirstOrderErrors) {
  for (uint64_t seed = 1; seed <= kProblems; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const BilevelProblem problem = Build(DrawProblem(rng, kSmall));
    const Context& context = problem.contexts[0];
    const Vector x = DrawNormal(rng, problem.num_parameters), theta = problem.map.Apply(x);
    World world(problem, 0, PolicySystem::Kind::kDirect);
    const RegularizedMdp follower = world.At(x, theta);
    const int S = context.mdp->num_states();
    PolicySystem& system = world.system();
    const Interrupt never;
    const auto evaluate = [&](const LowerLevelSolution& at, double tolerance, const Vector& start,
                              const ContextObjective* near) {
      system.SetPolicy(at.backup.pi);
      const LowerLevelOptions options{.adjoint_tolerance = tolerance};
      return DifferentiateContext({context, follower, x, theta, world.slope(), options, never, system},
                                  {at.value, at.backup}, start, near);
    };
    const LowerLevelSolution exact = *SolveLowerLevel(follower, {}, {}, never, system);
    const ContextGradient of_exact = evaluate(exact, 1e-15, {}, nullptr);
    const ContextObjective& f = of_exact.objective;
    const Adjoint& a = of_exact.adjoint;
    // Inexact starts under a loose tolerance leave residuals that the bounds must count too.
    const bool loose = seed % 2 == 0;
    ContextObjective near = f;
    for (TermValue& term : near.terms) {
      if (term.occupancy.states.size() == 0) continue;
      term.policy_value.value += 1e-3 * DrawNormal(rng, S);
      term.occupancy.states += 1e-3 * DrawNormal(rng, S).cwiseAbs();
    }
    const double size = follower.temperature * (seed % 5 < 2 ? 30 : seed % 5 == 2 ? 0.3 : seed % 5 == 3 ? 1e-3 : 0);
    const LowerLevelSolution solution = SolvedAt(follower, exact.value + size * DrawNormal(rng, S));
    system.SetPolicy(solution.backup.pi);
    const FollowerError error = BoundFollowerError(follower, solution, system, Interrupt());
    const ContextGradient of_solution =
        evaluate(solution, loose ? 0.1 : 1e-15, loose ? Vector(a.z + 1e-3 * DrawNormal(rng, S)) : Vector(),
                 loose ? &near : nullptr);
    const ContextObjective& g = of_solution.objective;
    const Adjoint& b = of_solution.adjoint;
    const LowerLevelOptions tight{.adjoint_tolerance = 1e-15};
    const ContextRequest request{context, follower, x, theta, world.slope(), tight, never, system};
    const Answer answer{solution.value, solution.backup};
    const TermInput input = InputOf(request, answer);
    const Vector theta_rounding = problem.map.BoundRounding(x, theta);
    Majorant majorant(world.mdp(), system, follower.discount, error.kappa, never);
    const ContextObjectiveRadius radius = BoundContextObjective(context, input, g, {error, theta_rounding, majorant});
    EXPECT_LE(std::abs(f.value - g.value), radius.value * (1 + 1e-9) + 1e-9);
    EXPECT_TRUE(Below((a.centered_y - b.centered_y).cwiseAbs(), radius.centered_y));
    EXPECT_TRUE(Below((f.direct.theta - g.direct.theta).cwiseAbs(), radius.direct.theta));
    EXPECT_TRUE(Below((f.direct.x - g.direct.x).cwiseAbs(), radius.direct.x));
    const AdjointError bound =
        BoundAdjointError(follower, solution.backup.pi, {.y = {}, .q = {}, .value = g.follower_value}, b, error,
                          radius.centered_y, radius.centered_y_mass, majorant, system);
    EXPECT_TRUE(Below((a.z - b.z).cwiseAbs(), bound.z));
    EXPECT_TRUE(Below((a.reward_gradient - b.reward_gradient).cwiseAbs(), bound.reward_gradient));
    if (!context.dynamics.has_value()) {
      Majorant norms(world.mdp(), system, follower.discount, error.kappa, never, Majorant::Effort::kNorms);
      const ContextObjectiveRadius entries = BoundContextObjective(context, input, g, {error, theta_rounding, norms});
      const Vector centered = a.centered_y - b.centered_y;
      EXPECT_LE(Beyond(centered, entries.centered_y), entries.centered_y_mass * (1 + 1e-9) + 1e-9);
      const AdjointError some =
          BoundAdjointError(follower, solution.backup.pi, {.y = {}, .q = {}, .value = g.follower_value}, b, error,
                            entries.centered_y, entries.centered_y_mass, norms, system);
      EXPECT_LE((a.z - b.z).lpNorm<1>(), some.z_mass * (1 + 1e-9) + 1e-9);
      EXPECT_LE(Beyond(a.reward_gradient - b.reward_gradient, some.reward_gradient),
                some.reward_gradient_mass * (1 + 1e-9) + 1e-9);
    }
    for (const Majorant::Effort effort : {Majorant::Effort::kSolves, Majorant::Effort::kNorms}) {
      SCOPED_TRACE(effort == Majorant::Effort::kNorms ? "norms" : "solves");
      ContextGradient taken = of_solution;
      const ContextRadius whole = BoundContext(request, answer, taken, error, theta_rounding, effort);
      EXPECT_LE(std::abs(f.value - g.value), whole.objective * (1 + 1e-9) + 1e-9);
      EXPECT_TRUE(Below((of_exact.gradient.theta - of_solution.gradient.theta).cwiseAbs(), whole.gradient.theta));
      EXPECT_TRUE(Below((of_exact.gradient.x - of_solution.gradient.x).cwiseAbs(), whole.gradient.x));
    }
    if (HasFailure()) return;
  }
}

// Where the inexact answer meets a target, gaps are 0 and only products of errors are left.
TEST(Propagation, BoundsCoverTargetsThatTheInexactAnswerMeets) {
  for (uint64_t seed = 1; seed <= kProblems; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    BilevelProblem problem = Build(DrawProblem(rng, kSmall));
    Context& context = problem.contexts[0];
    const Vector x = DrawNormal(rng, problem.num_parameters), theta = problem.map.Apply(x);
    World world(problem, 0, PolicySystem::Kind::kDirect);
    const RegularizedMdp follower = world.At(x, theta);
    const int S = context.mdp->num_states();
    const Eigen::Index rows = context.mdp->num_rows();
    PolicySystem& system = world.system();
    const Interrupt never;
    const LowerLevelOptions tight{.adjoint_tolerance = 1e-15};
    const ContextRequest request{context, follower, x, theta, world.slope(), tight, never, system};
    const auto evaluate = [&](const LowerLevelSolution& at) {
      system.SetPolicy(at.backup.pi);
      return DifferentiateContext(request, {at.value, at.backup}, {});
    };
    const LowerLevelSolution exact = *SolveLowerLevel(follower, {}, {}, never, system);
    const double size = follower.temperature * (seed % 4 < 2 ? 3 : 0.3);
    const LowerLevelSolution solution = SolvedAt(follower, exact.value + size * DrawNormal(rng, S));
    context.objective.clear();
    if (seed % 3 == 0) {
      const auto kind = seed % 2 == 0 ? Separable::Kind::kSquaredDistance : Separable::Kind::kReverseKl;
      const Separable distance{kind, solution.backup.pi, Vector::Ones(S)};
      context.objective.push_back({1, distance});
    } else {
      FeatureMatching matching{Eigen::MatrixXd(DrawNormal(rng, rows)).sparseView(), Vector::Zero(1), std::nullopt, {}};
      if (seed % 3 == 1) matching.discount = 0.5;
      context.objective.push_back({1, matching});
      std::get<FeatureMatching>(context.objective[0].measure).target =
          evaluate(solution).objective.terms[0].feature_gap;
    }
    const ContextGradient of_exact = evaluate(exact);
    ContextGradient of_solution = evaluate(solution);
    const FollowerError error = BoundFollowerError(follower, solution, system, never);
    const ContextRadius radius = BoundContext(request, {solution.value, solution.backup}, of_solution, error,
                                              problem.map.BoundRounding(x, theta));
    EXPECT_LE(std::abs(of_exact.objective.value - of_solution.objective.value), radius.objective + 1e-9);
    EXPECT_TRUE(Below((of_exact.gradient.theta - of_solution.gradient.theta).cwiseAbs(), radius.gradient.theta));
    EXPECT_TRUE(Below((of_exact.gradient.x - of_solution.gradient.x).cwiseAbs(), radius.gradient.x));
    if (HasFailure()) return;
  }
}

TEST(Propagation, PullbackBoundsCoverFirstOrderErrors) {
  for (uint64_t seed = 1; seed <= kProblems; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const int S = 1 + static_cast<int>(rng.Below(3));
    const TabularMdp mdp = *TabularMdp::Create(DrawMdp(rng, S, 2, false, seed % 3 == 0));
    const RegularizedMdp follower =
        FollowerOf(mdp, DrawNormal(rng, mdp.num_rows()), 0.9 * rng.Uniform(), 0.1 + rng.Uniform());
    OutputCotangents g;
    if (seed % 4 != 1) g.policy = DrawNormal(rng, mdp.num_rows());
    if (seed % 4 == 2) g.q = DrawNormal(rng, mdp.num_rows());
    if (seed % 4 != 3) g.value = DrawNormal(rng, S);
    PolicySystem system(mdp, PolicySystem::Kind::kDirect);
    auto pull = [&](const LowerLevelSolution& solution, double size) {
      system.SetPolicy(solution.backup.pi);
      FollowerError error = BoundFollowerError(follower, solution, system, Interrupt());
      if (size > 0) {
        // The same bracket around V itself: the refined answer is V again and the bounds must carry everything.
        error.value_radius += error.value_shift.cwiseAbs();
        error.value_shift.setZero();
      }
      return Pullback(follower, solution, error, g, {.adjoint_tolerance = 1e-15, .want_transitions = true}, {},
                      Interrupt(), system);
    };
    const LowerLevelSolution exact = *SolveLowerLevel(follower, {}, {}, Interrupt(), system);
    const double size = follower.temperature * (seed % 2 == 0 ? 0.3 : 1e-3);
    const PullbackResult a = pull(exact, 0),
                         b = pull(SolvedAt(follower, exact.value + size * DrawNormal(rng, S)), size);
    EXPECT_LE((a.reward - b.reward).norm(), b.reward_error_bound + 1e-9);
    EXPECT_LE((a.transitions - b.transitions).norm(), b.transitions_error_bound + 1e-9);
    EXPECT_LE(std::abs(a.discount - b.discount), b.discount_error_bound + 1e-9);
    EXPECT_LE(std::abs(a.temperature - b.temperature), b.temperature_error_bound + 1e-9);
    if (HasFailure()) return;
  }
}

TEST(Propagation, ASkewedPolicyNeedsEveryTermOfTheCentredRadius) {
  // State 0: action 0 ends the episode, the rare action 1 leads to state 1, where all ends. Only V(1) is off.
  TabularMdpSpec spec;
  spec.num_states = 2;
  spec.num_actions = 2;
  spec.offsets = {0, 0, 1, 1, 1};
  spec.columns = {1};
  spec.probabilities = {1};
  spec.termination_probability = Vector{{1.0, 0.0, 1.0, 1.0}};
  const TabularMdp mdp = *TabularMdp::Create(spec);
  const RegularizedMdp follower = FollowerOf(mdp, Vector{{3.0, 0.0, 0.0, 0.0}}, 0.5, 1);
  PolicySystem system(mdp, PolicySystem::Kind::kDirect);
  const LowerLevelSolution exact = *SolveLowerLevel(follower, {}, {}, Interrupt(), system);
  const OutputCotangents g{.policy = Vector{{1.0, -1.0, 0.0, 0.0}}, .q = {}, .value = {}};
  auto pull = [&](const LowerLevelSolution& solution) {
    system.SetPolicy(solution.backup.pi);
    FollowerError error = BoundFollowerError(follower, solution, system, Interrupt());
    error.value_radius += error.value_shift.cwiseAbs();
    error.value_shift.setZero();
    return Pullback(follower, solution, error, g, {.want_transitions = true}, {}, Interrupt(), system);
  };
  for (const double size : {1e-3, -1e-3, 0.1, -0.1}) {
    const PullbackResult a = pull(exact), b = pull(SolvedAt(follower, exact.value + size * Vector::Unit(2, 1)));
    EXPECT_LE((a.reward - b.reward).norm(), b.reward_error_bound);
    EXPECT_LE((a.transitions - b.transitions).norm(), b.transitions_error_bound);
    EXPECT_LE(std::abs(a.discount - b.discount), b.discount_error_bound);
    EXPECT_LE(std::abs(a.temperature - b.temperature), b.temperature_error_bound);
    EXPECT_LT(b.reward_error_bound, 3 * (a.reward - b.reward).norm());
  }
}

}  // namespace
}  // namespace bilevel::testing
