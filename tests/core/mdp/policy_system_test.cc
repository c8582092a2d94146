#include "core/mdp/policy_system.h"

#include <atomic>

#include "core/mdp/majorant.h"
#include "core/mdp/soft_bellman.h"
#include "gtest/gtest.h"
#include "tests/support/dense_algebra.h"
#include "tests/support/families.h"
#include "tests/support/random_problem.h"

namespace bilevel::testing {
namespace {

struct Sample {
  TabularMdp mdp;
  Vector pi;
  Eigen::MatrixXd A;
  double gamma;
};

Sample Draw(uint64_t seed) {
  Rng rng(seed);
  auto mdp = TabularMdp::Create(DrawMdp(rng, 12, 3, seed % 2 == 0, seed % 3 == 0));
  EXPECT_TRUE(mdp.ok());
  const double gamma = 1 - std::pow(10.0, -1 - 2 * rng.Uniform());
  RegularizedMdp follower = FollowerOf(*mdp, DrawNormal(rng, 36), gamma, 0.3);
  const Vector pi = ApplySoftBellman(follower, DrawNormal(rng, 12)).pi;
  const Eigen::MatrixXd A = Eigen::MatrixXd::Identity(12, 12) - gamma * mdp->DensePolicyTransitions(pi);
  return {*std::move(mdp), pi, A, gamma};
}

TEST(PolicySystem, DenseAndKrylovSolveBothSystemsToRounding) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    const Sample sample = Draw(seed);
    Rng rng(seed + 1000);
    const Vector b = DrawNormal(rng, 12);
    for (const auto kind : {PolicySystem::Kind::kDirect, PolicySystem::Kind::kKrylov}) {
      PolicySystem system(sample.mdp, kind);
      system.SetPolicy(sample.pi);
      Vector v = Vector::Zero(12), z = Vector::Zero(12);
      const auto plain = system.Solve(sample.gamma, b, 1e-12, Interrupt(), v);
      const auto transposed = system.SolveTransposed(sample.gamma, b, 1e-12, Interrupt(), z);
      EXPECT_TRUE(plain.converged);
      EXPECT_TRUE(transposed.converged);
      const double rounding = 1e-15 * (v.lpNorm<1>() + z.lpNorm<1>());
      EXPECT_LE((sample.A * v - b).lpNorm<Eigen::Infinity>(), 1e-12 + rounding);
      EXPECT_LE((sample.A.transpose() * z - b).lpNorm<1>(), 1e-12 + rounding);
      EXPECT_NEAR(plain.residual, (sample.A * v - b).lpNorm<Eigen::Infinity>(), rounding);
    }
  }
}

// Two states that change places, with rows that sum to a little more than 1: of pivots 1 and 1 - (gamma p)^2 the latter
// is negative. Along (1, -1) the system is as good as any.
TEST(PolicySystem, WhatHasNoPositivePivotsIsSolvedByASystemNearBy) {
  for (const auto& [excess, solvable] : {std::pair(1e-13, true), {5e-10, false}}) {
    TabularMdpSpec spec;
    spec.num_states = 2;
    spec.num_actions = 1;
    spec.offsets = {0, 1, 2};
    spec.columns = {1, 0};
    spec.probabilities = {1 + excess, 1 + excess};
    const TabularMdp mdp = *TabularMdp::Create(spec);
    const double gamma = 1 - 0x1p-53;
    PolicySystem system(mdp, PolicySystem::Kind::kDirect);
    system.SetPolicy(Vector::Ones(2));
    const Vector b{{1.0, -1.0}};
    for (const bool transposed : {false, true}) {
      Vector v = Vector::Zero(2);
      const auto outcome = transposed ? system.SolveTransposed(gamma, b, 1e-12, Interrupt(), v)
                                      : system.Solve(gamma, b, 1e-12, Interrupt(), v);
      ASSERT_TRUE(v.allFinite());
      const Vector r{{v[0] - v[1] - b[0], v[1] - v[0] - b[1]}};
      EXPECT_NEAR(outcome.residual, transposed ? r.lpNorm<1>() : r.lpNorm<Eigen::Infinity>(), 1e-9);
      EXPECT_EQ(outcome.residual <= 1e-12, solvable);
    }
  }
}

TEST(PolicySystem, AStaleFactorizationStillGivesTheAnswerOfTheNewPolicy) {
  const Sample a = Draw(1);
  PolicySystem system(a.mdp, PolicySystem::Kind::kDirect);
  system.SetPolicy(a.pi);
  system.Refactor(a.gamma);
  RegularizedMdp follower = FollowerOf(a.mdp, Vector::LinSpaced(36, -1, 1), a.gamma, 0.3);
  const Vector other = ApplySoftBellman(follower, Vector::Zero(12)).pi;
  system.SetPolicy(other);
  const Eigen::MatrixXd A = Eigen::MatrixXd::Identity(12, 12) - a.gamma * a.mdp.DensePolicyTransitions(other);
  Vector v = Vector::Zero(12);
  system.Solve(a.gamma, Vector::Ones(12), 0, Interrupt(), v);
  EXPECT_LT((A * v - Vector::Ones(12)).lpNorm<Eigen::Infinity>(), 1e-12);
}

TEST(PolicySystem, CancellationEndsASolve) {
  const Sample sample = Draw(2);
  std::atomic<bool> cancelled = true;
  for (const auto kind : {PolicySystem::Kind::kDirect, PolicySystem::Kind::kKrylov}) {
    PolicySystem system(sample.mdp, kind);
    system.SetPolicy(sample.pi);
    Vector v = Vector::Zero(12);
    EXPECT_FALSE(system.Solve(sample.gamma, Vector::Ones(12), 1e-12, Interrupt(&cancelled, std::nullopt), v).converged);
    EXPECT_EQ(v, Vector::Zero(12));
  }
}

TEST(PolicySystem, BandedSystemsStayRightWhenRefactored) {
  // A corridor of 60 states without self-loops: bandwidth 1.
  constexpr int kCells = 60;
  TabularMdpSpec spec;
  spec.num_states = kCells;
  spec.num_actions = 2;
  spec.offsets.push_back(0);
  for (int s = 0; s < kCells; ++s) {
    for (const int move : {-1, 1}) {
      const int next = s + move < 0 ? 1 : s + move == kCells ? kCells - 2 : s + move;
      spec.columns.push_back(static_cast<uint32_t>(next));
      spec.probabilities.push_back(1);
      spec.offsets.push_back(spec.columns.size());
    }
  }
  const TabularMdp mdp = *TabularMdp::Create(spec);
  PolicySystem system(mdp, PolicySystem::Kind::kDirect);
  Rng rng(1);
  for (int round = 0; round < 3; ++round) {
    const Vector pi =
        ApplySoftBellman(FollowerOf(mdp, DrawNormal(rng, mdp.num_rows()), 0.95, 0.3), Vector::Zero(kCells)).pi;
    const Eigen::MatrixXd A = Eigen::MatrixXd::Identity(kCells, kCells) - 0.95 * mdp.DensePolicyTransitions(pi);
    const Vector b = DrawNormal(rng, kCells);
    system.SetPolicy(pi);
    system.Refactor(0.95);
    // One application of the factorisation alone, without refinement.
    EXPECT_LT((A * system.ApplyFactorization(0.95, b) - b).norm(), 1e-12 * b.norm() * 20);
    Vector z = Vector::Zero(kCells);
    EXPECT_TRUE(system.SolveTransposed(0.95, b, 1e-12, Interrupt(), z).converged);
    EXPECT_LT((A.transpose() * z - b).lpNorm<1>(), 1e-11);
  }
}

TEST(PolicySystem, PlainIterationRescuesBicgstabFromBreakdown) {
  // All states lead to state 0 and b is orthogonal to (I - gamma P) b.
  TabularMdpSpec spec;
  spec.num_states = 5;
  spec.num_actions = 1;
  spec.offsets = {0, 1, 2, 3, 4, 5};
  spec.columns.assign(5, 0);
  spec.probabilities.assign(5, 1.0);
  auto mdp = TabularMdp::Create(spec);
  ASSERT_TRUE(mdp.ok()) << mdp.status();
  PolicySystem system(*mdp, PolicySystem::Kind::kKrylov);
  system.SetPolicy(Vector::Ones(5));
  Vector b = Vector::Constant(5, (4 - std::sqrt(11.0)) / 10);
  b[0] = 1;
  Vector v = Vector::Zero(5);
  EXPECT_TRUE(system.Solve(0.8, b, 1e-12, Interrupt(), v).converged);
  EXPECT_LT((v - 0.8 * Vector::Constant(5, v[0]) - b).norm(), 1e-11);
}

// A preconditioner that is kept through a change which was no slight one is made anew before it costs much.
TEST(PolicySystem, RenewsAPreconditionerThatHasOutlivedItsPolicy) {
  constexpr double kGamma = 0.999, kTolerance = 1e-8;
  const Family family = MakeFamily("grid-slip", 10'000);
  const TabularMdp mdp = *TabularMdp::Create(family.spec);
  const RegularizedMdp follower = FollowerOf(mdp, family.reward, kGamma, 0.1);
  const auto policy_after = [&](int sweeps) {
    SoftBackup backup = ApplySoftBellman(follower, Vector::Zero(mdp.num_states()));
    for (int i = 0; i < sweeps; ++i) backup = ApplySoftBellman(follower, backup.value);
    return backup.pi;
  };
  const Vector early = policy_after(20), late = policy_after(1000);
  Rng rng(1);
  const Vector b = DrawNormal(rng, mdp.num_states());
  const auto solve = [&](PolicySystem& system) {
    Vector v = Vector::Zero(mdp.num_states());
    const int64_t before = system.counters().products;
    EXPECT_LE(system.Solve(kGamma, b, kTolerance, Interrupt(), v).residual, kTolerance);
    return system.counters().products - before;
  };
  PolicySystem fresh(mdp, PolicySystem::Kind::kKrylov), kept(mdp, PolicySystem::Kind::kKrylov);
  fresh.SetPolicy(early);
  solve(fresh);
  fresh.SetPolicy(late);
  const int64_t anew = solve(fresh);
  kept.SetPolicy(early);
  solve(kept);
  kept.SetPolicy(late, PolicySystem::Change::kSlight);
  EXPECT_LE(solve(kept), anew + 200);  // 429 with the old one, 37 anew
}

TEST(Majorant, LiesAboveTheInverseForEveryPolicyBelowTheInflatedOne) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    const Sample sample = Draw(seed);
    Rng rng(seed + 2000);
    const Vector g = DrawNormal(rng, 12).cwiseAbs();
    for (const double kappa : {0.0, 1e-6, 0.01, 10.0}) {
      // A policy with pi' <= (1 + kappa) pi: multiply by 1 +- kappa/3 and normalise.
      Vector other = sample.pi;
      for (double& p : other) p *= 1 + kappa / 3 * (2 * rng.Uniform() - 1) / (1 + kappa);
      const Vector sums = SumOverActions(sample.mdp, other);
      other = other.cwiseQuotient(RepeatForActions(sample.mdp, sums));
      for (Eigen::Index i = 0; i < other.size(); ++i) ASSERT_LE(other[i], (1 + kappa) * sample.pi[i] * (1 + 1e-15));
      const Eigen::MatrixXd A =
          Eigen::MatrixXd::Identity(12, 12) - sample.gamma * sample.mdp.DensePolicyTransitions(other);
      const Vector exact = SolveDense(A, g), exact_transposed = SolveDense(A.transpose(), g);
      for (const auto kind : {PolicySystem::Kind::kDirect, PolicySystem::Kind::kKrylov}) {
        PolicySystem system(sample.mdp, kind);
        system.SetPolicy(sample.pi);
        Majorant majorant(sample.mdp, system, sample.gamma, kappa, Interrupt());
        const Vector bound = majorant.Bound(g), bound_transposed = majorant.BoundTransposed(g);
        EXPECT_TRUE((bound.array() >= exact.array()).all()) << "kappa " << kappa;
        EXPECT_TRUE((bound_transposed.array() >= exact_transposed.array()).all()) << "kappa " << kappa;
        if (kappa == 0 && kind == PolicySystem::Kind::kDirect) {
          EXPECT_LT((bound - exact).norm(), 1e-6 * exact.norm());
          EXPECT_LT((bound_transposed - exact_transposed).norm(), 1e-6 * exact_transposed.norm());
        }
      }
    }
  }
}

TEST(Majorant, IsABoundWheneverItIsInterrupted) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Sample sample = Draw(seed);
    Rng rng(seed + 3000);
    const Vector g = DrawNormal(rng, 12).cwiseAbs();
    const Eigen::MatrixXd A =
        Eigen::MatrixXd::Identity(12, 12) - sample.gamma * sample.mdp.DensePolicyTransitions(sample.pi);
    const Vector exact = SolveDense(A, g), exact_transposed = SolveDense(A.transpose(), g);
    for (int looks = 0; looks < 40; ++looks) {
      std::atomic<bool> cancelled = false;
      int left = looks;
      Pulse pulse([&] { cancelled = left-- <= 0; }, Pulse::Clock::duration::zero());
      PolicySystem system(sample.mdp, PolicySystem::Kind::kKrylov);
      system.SetPolicy(sample.pi);
      const Interrupt interrupt = Interrupt(&cancelled, std::nullopt).WithPulse(pulse);
      Majorant majorant(sample.mdp, system, sample.gamma, 0, interrupt);
      if (seed % 2 == 0) {
        ASSERT_TRUE((majorant.Bound(g).array() >= exact.array()).all()) << seed << ", " << looks;
      } else {
        ASSERT_TRUE((majorant.BoundTransposed(g).array() >= exact_transposed.array()).all()) << seed << ", " << looks;
      }
    }
  }
}

}  // namespace
}  // namespace bilevel::testing
