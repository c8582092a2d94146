// The bracket around V* far from the answer, and the systems and majorants that it rests on in their rarer forms.

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/mdp/follower_error.h"
#include "core/mdp/lower_level.h"
#include "core/mdp/majorant.h"
#include "core/mdp/policy_system.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/known_problems.h"
#include "tests/support/reference.h"
#include "tests/support/sanitized.h"
#include "tests/support/solved_at.h"

namespace bilevel::testing {
namespace {

constexpr uint64_t kCount = kSanitized ? 100 : 3000;

TEST(FollowerError, BracketHoldsFarFromTheAnswer) {
  for (uint64_t seed = 1; seed <= kCount; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const int S = 1 + static_cast<int>(rng.Below(4));
    const TabularMdp mdp = *TabularMdp::Create(DrawMdp(rng, S, 3, seed % 2 == 0, seed % 3 == 0));
    const double tau = std::pow(10, -2 * rng.Uniform());
    const RegularizedMdp follower = FollowerOf(mdp, DrawNormal(rng, mdp.num_rows()), 0.5 + 0.49 * rng.Uniform(), tau);
    PolicySystem system(mdp, PolicySystem::Kind::kDirect);
    const LowerLevelSolution exact = *SolveLowerLevel(follower, {}, {}, Interrupt(), system);
    const LowerLevelSolution solution =
        SolvedAt(follower, exact.value + tau * std::pow(10, 1 - 3 * rng.Uniform()) * DrawNormal(rng, S));
    system.SetPolicy(solution.backup.pi);
    const auto effort = seed % 4 < 2 ? Majorant::Effort::kSolves : Majorant::Effort::kNorms;
    const FollowerError error = BoundFollowerError(follower, solution, system, Interrupt(), effort);
    bool skip = false;
    const Vector distance = (exact.value - solution.value - error.value_shift).cwiseAbs();
    EXPECT_TRUE((distance.array() <= error.value_radius.array() + 1e-10).all());
    EXPECT_TRUE(Below((exact.backup.pi - solution.backup.pi).cwiseAbs(), error.pi_radius));
    if (!std::isfinite(error.kappa)) continue;
    for (Eigen::Index i = 0; i < exact.backup.pi.size(); ++i)
      if (solution.backup.pi[i] == 0 && exact.backup.pi[i] > 0) skip = true;
    if (skip) continue;
    EXPECT_TRUE(
        (exact.backup.pi.array() <= (1 + error.kappa) * solution.backup.pi.array() * (1 + 1e-9) + 1e-300).all());
    if (HasFailure()) return;
  }
}

TEST(Majorant, SatisfiesItsInequality) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const int S = 12;
    const TabularMdp mdp = *TabularMdp::Create(DrawMdp(rng, S, 3, seed % 2 == 0, seed % 3 == 0));
    const double gamma = 0.9 * rng.Uniform();
    const Vector pi =
        ApplySoftBellman(FollowerOf(mdp, DrawNormal(rng, mdp.num_rows()), gamma, 0.3), Vector::Zero(S)).pi;
    const Vector g = DrawNormal(rng, S).cwiseAbs2();
    for (const double kappa : {0.0, 1e-3, 0.03}) {
      const Eigen::MatrixXd A = Eigen::MatrixXd::Identity(S, S) - gamma * (1 + kappa) * mdp.DensePolicyTransitions(pi);
      PolicySystem system(mdp, PolicySystem::Kind::kDirect);
      system.SetPolicy(pi);
      Majorant majorant(mdp, system, gamma, kappa, Interrupt());
      const Vector w = majorant.Bound(g), wt = majorant.BoundTransposed(g);
      if (w.maxCoeff() < 0.99 * g.maxCoeff() / (1 - gamma)) {
        EXPECT_GE((A * w - g).minCoeff(), 0);
      }
      if (wt.maxCoeff() < 0.99 * g.sum() / (1 - gamma)) {
        EXPECT_GE((A.transpose() * wt - g).minCoeff(), 0);
      }
    }
    if (HasFailure()) return;
  }
}

TEST(Majorant, RowsThatSumToSlightlyMoreThanOneCount) {
  TabularMdpSpec spec = Bandit(1);
  spec.probabilities[0] = 1 + 9e-10;
  auto mdp = TabularMdp::Create(spec);
  ASSERT_TRUE(mdp.ok());
  const double gamma = 1 - 5e-9;
  PolicySystem system(*mdp, PolicySystem::Kind::kDirect);
  system.SetPolicy(Vector::Ones(1));
  Majorant majorant(*mdp, system, gamma, 0, Interrupt());
  EXPECT_GE(majorant.Bound(Vector::Ones(1))[0], 1 / (1 - gamma * (1 + 9e-10)));
  EXPECT_GE(majorant.BoundTransposed(Vector::Ones(1))[0], 1 / (1 - gamma * (1 + 9e-10)));
}

TEST(LowerLevel, TheSpanShiftEndsAConstantGapAtOnce) {
  auto mdp = TabularMdp::Create(Switch());
  const RegularizedMdp follower = FollowerOf(*mdp, Vector::Constant(4, 3.0), 0.99, 0.25);
  PolicySystem system(*mdp, PolicySystem::Kind::kKrylov);
  LowerLevelOptions options{.residual_tolerance = 1e-9, .method = LowerLevelMethod::kSweeps};
  EXPECT_LE(SolveLowerLevel(follower, options, {}, Interrupt(), system)->sweeps, 2);
}

}  // namespace
}  // namespace bilevel::testing
