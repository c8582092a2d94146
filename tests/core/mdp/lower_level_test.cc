#include "core/mdp/lower_level.h"

#include <atomic>
#include <cmath>
#include <map>

#include "core/mdp/follower_error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/families.h"
#include "tests/support/known_problems.h"
#include "tests/support/reference.h"

namespace bilevel::testing {
namespace {

TabularMdp Make(const TabularMdpSpec& spec) {
  auto mdp = TabularMdp::Create(spec);
  EXPECT_TRUE(mdp.ok()) << mdp.status();
  return *std::move(mdp);
}

LowerLevelSolution Solve(const RegularizedMdp& follower, const LowerLevelOptions& options = {},
                         const Vector& start = {}) {
  PolicySystem system(*follower.mdp, SystemKind(options, *follower.mdp));
  auto solution = SolveLowerLevel(follower, options, start, Interrupt(), system);
  EXPECT_TRUE(solution.ok()) << solution.status();
  return *std::move(solution);
}

const LowerLevelMethod kMethods[] = {LowerLevelMethod::kSweeps, LowerLevelMethod::kNewtonDirect,
                                     LowerLevelMethod::kNewtonKrylov, LowerLevelMethod::kAutomatic};

TEST(SoftBellman, BanditHasItsClosedForm) {
  const TabularMdp mdp = Make(Bandit(3));
  const double gamma = 0.9, tau = 0.7;
  const Vector r{{1.0, -0.5, 2.0}};
  const double L = tau * std::log((r.array() / tau).exp().sum());
  for (const LowerLevelMethod method : kMethods) {
    const LowerLevelSolution solution = Solve(FollowerOf(mdp, r, gamma, tau), {.method = method});
    EXPECT_EQ(solution.termination.reason, StopReason::kConverged);
    EXPECT_NEAR(solution.value[0], L / (1 - gamma), 1e-8);
    for (int a = 0; a < 3; ++a) EXPECT_NEAR(solution.backup.pi[a], std::exp((r[a] - L) / tau), 1e-14);
  }
}

TEST(SoftBellman, ChainSumsItsDiscountedRewardsAndNothingFollowsTermination) {
  const TabularMdp mdp = Make(Chain(5));
  const Vector r{{1.0, 2.0, 3.0, 4.0, 5.0}};
  const LowerLevelSolution solution = Solve(FollowerOf(mdp, r, 0.5, 1));
  EXPECT_NEAR(solution.value[0], 1 + 2 * .5 + 3 * .25 + 4 * .125 + 5 * .0625, 1e-14);
  EXPECT_NEAR(solution.value[4], 5, 1e-14);
}

TEST(SoftBellman, SymmetricSwitchIsIndifferent) {
  const TabularMdp mdp = Make(Switch());
  const LowerLevelSolution solution = Solve(FollowerOf(mdp, Vector::Constant(4, 3.0), 0.8, 0.25));
  EXPECT_NEAR(solution.value[0], (3 + 0.25 * std::log(2)) / 0.2, 1e-12);
  // Values of 16 that differ by their last digit, 2^-49, move it by gamma / (4 tau) times as much.
  EXPECT_NEAR(solution.backup.pi[0], 0.5, 2 * 0.8 * 0x1p-49);
}

TEST(SoftBellman, PolicyTendsToGreedyAsTemperatureVanishesWithLogPolicyFinite) {
  const TabularMdp mdp = Make(Bandit(2));
  const LowerLevelSolution solution = Solve(FollowerOf(mdp, Vector{{0.0, 1.0}}, 0, 1e-3));
  EXPECT_EQ(solution.backup.pi[1], 1);
  EXPECT_EQ(solution.backup.pi[0], 0);  // exp(-1000) underflows
  EXPECT_NEAR(solution.backup.log_pi[0], -1000, 1e-9);
}

TEST(SoftBellman, UnavailableActionsAreNeverTaken) {
  TabularMdpSpec spec = Bandit(3);
  spec.available_actions = {1, 0, 1};
  const TabularMdp mdp = Make(spec);
  const LowerLevelSolution solution = Solve(FollowerOf(mdp, Vector{{0.0, 1e9, 0.0}}, 0.5, 1));
  EXPECT_EQ(solution.backup.pi[1], 0);
  EXPECT_NEAR(solution.backup.pi[0], 0.5, 1e-15);
  EXPECT_NEAR(solution.value[0], std::log(2.0) / 0.5, 1e-13);
}

TEST(LowerLevel, AllMethodsAgreeWithTheReferenceOnRandomProblems) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    Rng rng(seed);
    const TabularMdpSpec spec = DrawMdp(rng, 9, 3, seed % 2 == 0, seed % 3 == 0);
    const TabularMdp mdp = Make(spec);
    const double gamma = 1 - std::pow(10, -1 - 2 * rng.Uniform()), tau = std::pow(10, -3 * rng.Uniform());
    const RegularizedMdp follower = FollowerOf(mdp, DrawNormal(rng, mdp.num_rows()), gamma, tau);
    const ReferenceSolution exact = SolveReference(spec, follower.reward.cast<long double>(), gamma, tau);
    for (const LowerLevelMethod method : kMethods) {
      SCOPED_TRACE(::testing::Message() << "seed " << seed << " method " << static_cast<int>(method));
      const LowerLevelSolution solution = Solve(follower, {.method = method});
      EXPECT_EQ(solution.termination.reason, StopReason::kConverged) << solution.termination.detail;
      const double error = (solution.value - exact.value.cast<double>()).lpNorm<Eigen::Infinity>();
      // |V - V*| <= residual / (1 - gamma), and rounding of the same size as the residual's.
      EXPECT_LE(error, 1.01 * solution.residual / (1 - gamma) + 1e-13 * exact.value.cast<double>().norm());
    }
  }
}

TEST(LowerLevel, SpanStopNeedsFewSweepsAtAnyDiscountOnMixingProblems) {
  for (const double gamma : {0.9, 0.99, 0.999}) {
    Rng rng(7);
    const TabularMdp mdp = Make(DrawMdp(rng, 50, 4, false, false));
    LowerLevelOptions options{.residual_tolerance = 1e-8, .method = LowerLevelMethod::kSweeps};
    const LowerLevelSolution solution = Solve(FollowerOf(mdp, DrawNormal(rng, 200), gamma, 0.1), options);
    EXPECT_EQ(solution.termination.reason, StopReason::kConverged);
    EXPECT_LT(solution.sweeps, 120) << "gamma " << gamma;
  }
}

TEST(LowerLevel, ReturnedValueIsExactForTheRewardMovedByItsResidual) {
  Rng rng(3);
  const TabularMdpSpec spec = DrawMdp(rng, 6, 3, false, true);
  const TabularMdp mdp = Make(spec);
  const RegularizedMdp follower = FollowerOf(mdp, DrawNormal(rng, 18), 0.95, 0.1);
  const LowerLevelSolution loose = Solve(follower, {.residual_tolerance = 1e-2, .method = LowerLevelMethod::kSweeps});
  ASSERT_GT(loose.residual, 1e-6);
  const Vector delta = loose.value - loose.backup.value;
  const ReferenceSolution moved =
      SolveReference(spec, (follower.reward + RepeatForActions(mdp, delta)).cast<long double>(), 0.95L, 0.1L);
  EXPECT_LT((moved.value.cast<double>() - loose.value).norm(), 1e-12);
  EXPECT_LT((moved.pi.cast<double>() - loose.backup.pi).norm(), 1e-12);
}

TEST(LowerLevel, ScalingRewardAndTemperatureLeavesThePolicy) {
  Rng rng(4);
  const TabularMdp mdp = Make(DrawMdp(rng, 8, 3, true, true));
  const Vector r = DrawNormal(rng, 24);
  const LowerLevelSolution one = Solve(FollowerOf(mdp, r, 0.9, 0.2)), ten = Solve(FollowerOf(mdp, 10 * r, 0.9, 2));
  EXPECT_LT((one.backup.pi - ten.backup.pi).norm(), 1e-12);
  EXPECT_LT((10 * one.value - ten.value).norm(), 1e-11);
}

TEST(LowerLevel, WarmStartSavesWorkAndLeavesTheAnswer) {
  Rng rng(5);
  const TabularMdp mdp = Make(DrawMdp(rng, 40, 3, false, false));
  const RegularizedMdp follower = FollowerOf(mdp, DrawNormal(rng, 120), 0.99, 0.05);
  const LowerLevelSolution cold = Solve(follower), warm = Solve(follower, {}, cold.value);
  EXPECT_LT(warm.sweeps, cold.sweeps);
  EXPECT_LT((cold.value - warm.value).lpNorm<Eigen::Infinity>(), 1e-10);
}

// On a ring where 0.9 stay and 0.05 go to either side, sweeps contract a mode exp(i k s) by gamma (0.9 + 0.1 cos k).
TEST(LowerLevel, AWarmStartIsSweptOnIfWhatIsLeftIsQuickThoughTheSystemMixesSlowly) {
  constexpr int kStates = 4000;
  TabularMdpSpec spec{.num_states = kStates, .num_actions = 1, .offsets = {0}};
  for (int s = 0; s < kStates; ++s) {
    std::map<uint32_t, double> row = {{s, 0.9}, {(s + 1) % kStates, 0.05}, {(s + kStates - 1) % kStates, 0.05}};
    for (const auto& [column, probability] : row) {
      spec.columns.push_back(column);
      spec.probabilities.push_back(probability);
    }
    spec.offsets.push_back(spec.columns.size());
  }
  const TabularMdp mdp = Make(spec);
  Vector reward(kStates), quick(kStates), slow(kStates);
  for (int s = 0; s < kStates; ++s) {
    reward[s] = std::cos(2 * M_PI * s / kStates);
    quick[s] = s % 2 == 0 ? 1 : -1;
    slow[s] = reward[s];
  }
  const RegularizedMdp follower = FollowerOf(mdp, reward, 0.999, 1);
  const LowerLevelOptions options{.residual_tolerance = 1e-8};
  PolicySystem system(mdp, PolicySystem::Kind::kKrylov);
  const auto solve = [&](const Vector& start) {
    return SolveLowerLevel(follower, options, start, Interrupt(), system).value();
  };
  const LowerLevelSolution cold = solve({});
  EXPECT_GT(cold.newton_steps, 0);
  ASSERT_TRUE(system.mixes_slowly());
  const LowerLevelSolution near = solve(cold.value + 1e-4 * quick), far = solve(cold.value + 1e-4 * slow);
  EXPECT_EQ(near.newton_steps, 0);
  EXPECT_NEAR(near.sweeps, std::log(1e-4 / 1e-8) / -std::log(0.999 * 0.8), 5);
  EXPECT_GT(far.newton_steps, 0);
  EXPECT_LT(far.sweeps, 24);
}

TEST(LowerLevel, UnreachableToleranceIsRefusedByName) {
  const TabularMdp mdp = Make(Bandit(2));
  for (const LowerLevelMethod method : kMethods) {
    LowerLevelOptions options{.residual_tolerance = 1e-14, .method = method};
    PolicySystem system(mdp, SystemKind(options, mdp));
    const auto solution =
        SolveLowerLevel(FollowerOf(mdp, Vector::Constant(2, 100.0), 0.99, 1), options, {}, Interrupt(), system);
    EXPECT_EQ(solution.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(solution.status().message()), ::testing::HasSubstr("residual_tolerance: is 1e-14"));
  }
}

TEST(LowerLevel, RewardsOfUnavailableActionsDoNotLoosenTheTolerance) {
  TabularMdpSpec spec = Bandit(3);
  spec.available_actions = {1, 0, 1};
  const TabularMdp mdp = Make(spec);
  for (const LowerLevelMethod method : kMethods) {
    const LowerLevelSolution solution = Solve(FollowerOf(mdp, Vector{{1.0, -1e30, 1.0}}, 0.5, 1), {.method = method});
    EXPECT_NEAR(solution.value[0], (1 + std::log(2.0)) / 0.5, 1e-9);
  }
}

TEST(LowerLevel, DirectMethodIsRefusedForTooManyStates) {
  const TabularMdp mdp = Make(Chain(kMaxDirectStates + 1));
  const LowerLevelOptions options{.method = LowerLevelMethod::kNewtonDirect};
  PolicySystem system(mdp, PolicySystem::Kind::kKrylov);
  const auto solution =
      SolveLowerLevel(FollowerOf(mdp, Vector::Zero(mdp.num_rows()), 0.9, 1), options, {}, Interrupt(), system);
  EXPECT_THAT(std::string(solution.status().message()),
              ::testing::HasSubstr("method: is direct and a context has 2001"));
}

TEST(LowerLevel, AutomaticChoiceFactorisesManyStatesWhereActionsStayNear) {
  const auto kind_of = [](std::string_view family, int states) {
    return SystemKind({}, Make(MakeFamily(family, states).spec));
  };
  EXPECT_EQ(kind_of("rand-4", kDirectStates), PolicySystem::Kind::kDirect);
  EXPECT_EQ(kind_of("rand-4", kDirectStates + 1), PolicySystem::Kind::kKrylov);
  EXPECT_EQ(kind_of("grid-slip", kDirectBand * kDirectBand), PolicySystem::Kind::kKrylov);  // more than 2000
  EXPECT_EQ(kind_of("birth-death", kMaxDirectStates), PolicySystem::Kind::kDirect);
  EXPECT_EQ(kind_of("birth-death", kMaxDirectStates + 1), PolicySystem::Kind::kKrylov);
  // |V - V*|_inf is at most the residual / (1 - gamma).
  for (const std::string_view family : {"grid-slip", "queue-2d", "birth-death"}) {
    const Family problem = MakeFamily(family, 900);
    const TabularMdp mdp = Make(problem.spec);
    ASSERT_EQ(SystemKind({}, mdp), PolicySystem::Kind::kDirect);
    for (const double tau : {0.1, 0.001}) {
      const RegularizedMdp follower = FollowerOf(mdp, problem.reward, 0.99, tau);
      const LowerLevelSolution krylov = Solve(follower, {.method = LowerLevelMethod::kNewtonKrylov});
      for (const Vector& start : {Vector(), Vector(0.9 * krylov.value)}) {
        const LowerLevelSolution direct = Solve(follower, {}, start);
        EXPECT_EQ(direct.method, LowerLevelMethod::kNewtonDirect);
        EXPECT_EQ(direct.termination.reason, StopReason::kConverged);
        EXPECT_LE((direct.value - krylov.value).lpNorm<Eigen::Infinity>(),
                  (direct.residual + krylov.residual) / (1 - 0.99));
      }
    }
  }
}

TEST(LowerLevel, AutomaticChoiceTakesNoMoreSweepsThanItMay) {
  const Family problem = MakeFamily("grid-slip", 900);
  const TabularMdp mdp = Make(problem.spec);
  const RegularizedMdp follower = FollowerOf(mdp, problem.reward, 0.99, 0.001);
  for (int most = 1; most < 120; ++most) EXPECT_LE(Solve(follower, {.max_sweeps = most}).sweeps, most);
}

// A chain with one jump, of 48 states and of 49.
TEST(LowerLevel, AutomaticChoiceLooksAtHowFarStoredTransitionsLead) {
  for (const int jump : {kDirectBand, kDirectBand + 1}) {
    TabularMdpSpec spec = Chain(500);
    spec.columns[100] = static_cast<uint32_t>(100 + jump);
    EXPECT_EQ(SystemKind({}, Make(spec)),
              jump == kDirectBand ? PolicySystem::Kind::kDirect : PolicySystem::Kind::kKrylov);
  }
}

TEST(LowerLevel, LimitsAreOutcomesWithAHonestBound) {
  Rng rng(6);
  const TabularMdpSpec spec = DrawMdp(rng, 10, 3, false, false);
  const TabularMdp mdp = Make(spec);
  const RegularizedMdp follower = FollowerOf(mdp, DrawNormal(rng, 30), 0.999, 0.01);
  const ReferenceSolution exact = SolveReference(spec, follower.reward.cast<long double>(), 0.999L, 0.01L);
  std::atomic<bool> cancelled = true;
  const Interrupt interrupts[] = {Interrupt(), Interrupt(&cancelled, std::nullopt),
                                  Interrupt(nullptr, Interrupt::Clock::now())};
  const StopReason reasons[] = {StopReason::kIterationLimit, StopReason::kCancelled, StopReason::kTimeLimit};
  for (const LowerLevelMethod method : kMethods) {
    for (int i = 0; i < 3; ++i) {
      LowerLevelOptions options{.max_sweeps = i == 0 ? 2 : 1000000, .method = method};
      PolicySystem system(mdp, SystemKind(options, mdp));
      const auto solution = SolveLowerLevel(follower, options, {}, interrupts[i], system);
      ASSERT_TRUE(solution.ok());
      EXPECT_EQ(solution->termination.reason, reasons[i]);
      system.SetPolicy(solution->backup.pi);
      const FollowerError error = BoundFollowerError(follower, *solution, system, interrupts[i]);
      const Vector distance = (solution->value - exact.value.cast<double>()).cwiseAbs();
      EXPECT_TRUE((distance.array() <= error.ValueBound().array()).all());
    }
  }
}

TEST(LowerLevel, OverflowEndsAsDivergedWithoutHanging) {
  const TabularMdp mdp = Make(Bandit(2));
  for (const LowerLevelMethod method : kMethods) {
    const LowerLevelSolution solution =
        Solve(FollowerOf(mdp, Vector::Constant(2, 1e308), 0.999, 1), {.method = method});
    EXPECT_EQ(solution.termination.reason, StopReason::kDiverged);
  }
}

}  // namespace
}  // namespace bilevel::testing
