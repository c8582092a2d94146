// Identities of the hyper-gradient (core/README.md). Each fails when a term is dropped, a sign is flipped, P is
// transposed or gamma is lost.

#include <cmath>

#include "core/hypergradient/adjoint.h"
#include "core/hypergradient/finite_difference.h"
#include "core/hypergradient/hypergradient.h"
#include "gtest/gtest.h"
#include "tests/support/known_problems.h"
#include "tests/support/reference.h"
#include "tests/support/sanitized.h"

namespace bilevel::testing {
namespace {

struct Solved {
  TabularMdpSpec spec;
  std::unique_ptr<TabularMdp> mdp;
  RegularizedMdp follower;
  LowerLevelSolution solution;
  std::unique_ptr<PolicySystem> system;
};

Solved SolveRandom(uint64_t seed, bool masks, bool termination) {
  Rng rng(seed);
  Solved s;
  s.spec = DrawMdp(rng, 8, 3, masks, termination);
  auto mdp = TabularMdp::Create(s.spec);
  EXPECT_TRUE(mdp.ok());
  s.mdp = std::make_unique<TabularMdp>(*std::move(mdp));
  s.follower = FollowerOf(*s.mdp, DrawNormal(rng, 24), 0.95, 0.2);
  s.system = std::make_unique<PolicySystem>(*s.mdp, PolicySystem::Kind::kDirect);
  s.solution = *SolveLowerLevel(s.follower, {}, {}, Interrupt(), *s.system);
  s.system->SetPolicy(s.solution.backup.pi);
  return s;
}

Vector Lambda(Solved& s, const Cotangents& cotangents) {
  return SolveAdjoint(s.follower, s.solution.backup.pi, cotangents, 1e-14, {}, Interrupt(), *s.system).reward_gradient;
}

Cotangents DrawCotangents(uint64_t seed, const Solved& s, bool with_values) {
  Rng rng(seed + 500);
  Cotangents c;
  c.y = s.solution.backup.pi.cwiseProduct(DrawNormal(rng, 24));
  if (with_values) {
    c.q = DrawNormal(rng, 24);
    for (Eigen::Index row = 0; row < 24; ++row) {
      if (!s.mdp->available(row)) c.q[row] = 0;
    }
    c.value = DrawNormal(rng, 8);
  }
  return c;
}

TEST(HypergradientIdentity, AdjointEqualsForwardSensitivityOnRandomProblems) {
  for (uint64_t seed = 1; seed <= (kSanitized ? 30 : 300); ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const ProblemNumbers numbers = DrawProblem(rng, {.max_discount = 0.99, .min_temperature = 0.05});
    const BilevelProblem problem = Build(numbers);
    const Vector x = DrawNormal(rng, numbers.num_parameters);
    HypergradientEvaluator evaluator(problem, {});
    const auto point = evaluator.Evaluate(x, Interrupt());
    ASSERT_TRUE(point.ok()) << point.status();
    const ReferencePoint reference = EvaluateReference(numbers, x);
    // Rounding of V over 1 - gamma and tau, twice.
    EXPECT_LT((point->gradient - reference.gradient.cast<double>()).norm(),
              1e-9 * (1 + static_cast<double>(reference.gradient.norm())));
    EXPECT_NEAR(point->objective, static_cast<double>(reference.objective), 1e-10 * (1 + std::abs(point->objective)));
  }
}

TEST(HypergradientIdentity, EqualsCentralDifferencesOfTheObjective) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    BilevelProblem problem = Build(DrawProblem(rng, {.max_discount = 0.95, .min_temperature = 0.3}));
    problem.penalties.l1 = seed % 2 == 0 ? 0.3 : 0.0;
    const auto check = CheckGradient(problem, DrawNormal(rng, problem.num_parameters), {}, {}, Interrupt());
    ASSERT_TRUE(check.ok()) << check.status();
    // h^2 times third derivatives; objectives and gradients are of order one here.
    EXPECT_LT((check->analytic - check->numeric).norm(), 1e-5 * (1 + check->numeric.norm()));
  }
}

TEST(HypergradientIdentity, PotentialShapingChangesNothing) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Solved s = SolveRandom(seed, seed % 2 == 0, seed % 3 == 0);
    const Vector lambda = Lambda(s, DrawCotangents(seed, s, false));
    // U^T lambda = 0 with U = 1{s = s2} - gamma P.
    const Vector shaped = SumOverActions(*s.mdp, lambda) - 0.95 * s.mdp->PushForward(lambda);
    EXPECT_LT(shaped.norm(), 1e-11 * (1 + lambda.norm())) << "seed " << seed;
  }
}

TEST(HypergradientIdentity, ConstantsAddedToTheRewardLeaveThePolicyWhenRowsSumToOne) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Solved s = SolveRandom(seed, seed % 2 == 0, false);
    const Vector lambda = Lambda(s, DrawCotangents(seed, s, false));
    EXPECT_NEAR(lambda.sum(), 0, 1e-10 * (1 + lambda.norm())) << "seed " << seed;
    RegularizedMdp moved = s.follower;
    moved.reward.array() += 3;
    const auto solution = SolveLowerLevel(moved, {}, {}, Interrupt(), *s.system);
    EXPECT_LT((solution->backup.pi - s.solution.backup.pi).norm(), 1e-11);
    EXPECT_LT((solution->value - s.solution.value).array().abs().maxCoeff() - 3 / 0.05, 1e-10);
  }
}

TEST(HypergradientIdentity, ConstantsAddedToTheRewardRaiseTheValueByAGeometricSum) {
  Solved s = SolveRandom(1, false, false);
  Cotangents c;
  c.y = Vector::Zero(24);
  c.value = Vector::Unit(8, 3);
  // d V(3) / d r summed over all pairs is the discounted number of steps.
  EXPECT_NEAR(Lambda(s, c).sum(), 1 / (1 - 0.95), 1e-10);
}

TEST(HypergradientIdentity, ImplicitPartVanishesForTheFollowersOwnValue) {
  // Danskin: with f = sum rho (soft value of pi), d f / d pi is orthogonal to the change of pi, so d f / d r is the
  // occupancy of pi alone. Soft value of pi = leader's return with reward r - tau log pi at fixed pi.
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Solved s = SolveRandom(seed, seed % 2 == 0, seed % 3 == 0);
    const SoftBackup& backup = s.solution.backup;
    Vector occupancy = Vector::Zero(8);
    s.system->SolveTransposed(0.95, s.mdp->initial_distribution(), 1e-15, Interrupt(), occupancy);
    Cotangents c;
    // d(-tau sum pi log pi)/dpi contributes -tau (log pi + 1); Q(s,a) - tau log pi = V(s) for every action.
    c.y = backup.pi.cwiseProduct(RepeatForActions(*s.mdp, occupancy))
              .cwiseProduct(s.follower.reward + 0.95 * s.mdp->ExpectNext(s.solution.value) - 0.2 * backup.log_pi -
                            Vector::Constant(24, 0.2));
    EXPECT_LT(Lambda(s, c).norm(), 1e-10) << "seed " << seed;
    // And through g_V: the derivative of sum rho V is that occupancy times pi.
    Cotangents through_value;
    through_value.y = Vector::Zero(24);
    through_value.value = s.mdp->initial_distribution();
    EXPECT_LT((Lambda(s, through_value) - backup.pi.cwiseProduct(RepeatForActions(*s.mdp, occupancy))).norm(), 1e-11);
  }
}

TEST(HypergradientIdentity, ThroughQEqualsThroughValueOfTheNextState) {
  // Q = r + gamma P V: the pullback of g_Q is g_Q itself plus that of g_V = gamma P^T g_Q.
  Solved s = SolveRandom(2, true, true);
  const Vector g = DrawCotangents(2, s, true).q;
  Cotangents direct, indirect;
  direct.y = indirect.y = Vector::Zero(24);
  direct.q = g;
  indirect.value = 0.95 * s.mdp->PushForward(g);
  EXPECT_LT((Lambda(s, direct) - g - Lambda(s, indirect)).norm(), 1e-11);
}

TEST(HypergradientIdentity, OneActionHasNoImplicitPart) {
  auto mdp = TabularMdp::Create(Chain(4));
  RegularizedMdp follower = FollowerOf(*mdp, Vector::LinSpaced(4, 0, 1), 0.9, 0.5);
  PolicySystem system(*mdp, PolicySystem::Kind::kDirect);
  const auto solution = SolveLowerLevel(follower, {}, {}, Interrupt(), system);
  system.SetPolicy(solution->backup.pi);
  Cotangents c;
  c.y = Vector::LinSpaced(4, 1, 5);
  EXPECT_LT(SolveAdjoint(follower, solution->backup.pi, c, 1e-15, {}, Interrupt(), system).reward_gradient.norm(),
            1e-14);
}

TEST(HypergradientIdentity, WithoutDiscountItIsTheCovarianceOfAContextualBandit) {
  Rng rng(9);
  auto mdp = TabularMdp::Create(DrawMdp(rng, 4, 3, false, false));
  RegularizedMdp follower = FollowerOf(*mdp, DrawNormal(rng, 12), 0, 0.3);
  PolicySystem system(*mdp, PolicySystem::Kind::kDirect);
  const auto solution = SolveLowerLevel(follower, {}, {}, Interrupt(), system);
  const Vector& pi = solution->backup.pi;
  system.SetPolicy(pi);
  const Vector g = DrawNormal(rng, 12);
  Cotangents c;
  c.y = pi.cwiseProduct(g);
  const Vector lambda = SolveAdjoint(follower, pi, c, 1e-15, {}, Interrupt(), system).reward_gradient;
  for (int s = 0; s < 4; ++s) {
    double mean = 0;
    for (int a = 0; a < 3; ++a) mean += pi[3 * s + a] * g[3 * s + a];
    for (int a = 0; a < 3; ++a) EXPECT_NEAR(lambda[3 * s + a], pi[3 * s + a] * (g[3 * s + a] - mean) / 0.3, 1e-14);
  }
}

TEST(HypergradientIdentity, BanditHasItsClosedFormAtAnyDiscount) {
  // d pi(a) / d r(b) = pi(a) (1{a=b} - pi(b)) / tau, and d V / d r(b) = pi(b) / (1 - gamma).
  auto mdp = TabularMdp::Create(Bandit(3));
  RegularizedMdp follower = FollowerOf(*mdp, Vector{{0.3, -0.2, 0.9}}, 0.9, 0.4);
  PolicySystem system(*mdp, PolicySystem::Kind::kDirect);
  const auto solution = SolveLowerLevel(follower, {}, {}, Interrupt(), system);
  const Vector& pi = solution->backup.pi;
  system.SetPolicy(pi);
  for (int a = 0; a < 3; ++a) {
    Cotangents c;
    c.y = pi.cwiseProduct(Vector::Unit(3, a));
    const Vector lambda = SolveAdjoint(follower, pi, c, 1e-15, {}, Interrupt(), system).reward_gradient;
    for (int b = 0; b < 3; ++b) EXPECT_NEAR(lambda[b], pi[a] * ((a == b) - pi[b]) / 0.4, 1e-13);
  }
  Cotangents c;
  c.y = Vector::Zero(3);
  c.value = Vector::Ones(1);
  const Vector lambda = SolveAdjoint(follower, pi, c, 1e-15, {}, Interrupt(), system).reward_gradient;
  EXPECT_LT((lambda - pi / 0.1).norm(), 1e-12);
}

TEST(HypergradientIdentity, RewardWithoutParametersLeavesTheDirectDerivativeAlone) {
  Rng rng(11);
  ProblemNumbers numbers = DrawProblem(rng, {.max_contexts = 1, .dynamics = false});
  ContextNumbers& c = numbers.contexts[0];
  const Eigen::Index rows = c.reward.base.size();
  c.reward.features = SparseRows(rows, numbers.num_parameters);
  c.reward.coefficient.resize(0);
  c.reward.matrix.resize(0, 0);
  c.return_weight = 0;
  c.quadratic_weight = 1;
  c.target = Vector::Zero(rows);
  c.state_weights = Vector::Ones(c.mdp.num_states);
  numbers.penalties.squared_l2 = 2;
  const BilevelProblem problem = Build(numbers);
  const Vector x = DrawNormal(rng, numbers.num_parameters);
  HypergradientEvaluator evaluator(problem, {});
  EXPECT_EQ(evaluator.Evaluate(x, Interrupt())->gradient, problem.sign() * 2 * x);
}

TEST(HypergradientIdentity, WorstCaseHasTheObjectiveAndGradientOfTheWorstContext) {
  for (const Sense sense : {Sense::kMinimize, Sense::kMaximize}) {
    Rng rng(12);
    ProblemNumbers numbers = DrawProblem(rng, {.max_contexts = 1, .max_discount = 0.9});
    numbers.penalties = {};
    numbers.sense = sense;
    numbers.contexts.push_back(numbers.contexts[0]);
    numbers.contexts[1].weight *= 3;
    BilevelProblem problem = Build(numbers);
    problem.aggregation = Aggregation::kWorstCase;
    const Vector x = DrawNormal(rng, numbers.num_parameters);
    const auto point = *HypergradientEvaluator(problem, {}).EvaluateCertified(x, Interrupt());
    const double a = problem.contexts[0].weight * point.context_objectives[0], b = 3 * a;
    EXPECT_DOUBLE_EQ(point.objective, sense == Sense::kMinimize ? std::max(a, b) : std::min(a, b));
    BilevelProblem alone = Build(numbers);
    alone.contexts.erase(alone.contexts.begin() + ((point.objective == a) ? 1 : 0));
    const auto single = *HypergradientEvaluator(alone, {}).Evaluate(x, Interrupt());
    EXPECT_LT((point.gradient - single.gradient).norm(), 1e-12 * (1 + single.gradient.norm()));
  }
}

}  // namespace
}  // namespace bilevel::testing
