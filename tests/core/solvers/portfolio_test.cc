// The global search and its parts.

#include "core/solvers/portfolio.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <set>
#include <vector>

#include "core/solvers/kick.h"
#include "core/solvers/optimize.h"
#include "core/solvers/shares_chart.h"
#include "gtest/gtest.h"
#include "tests/support/known_problems.h"
#include "tests/support/random_problem.h"
#include "tests/support/threads.h"

namespace bilevel::testing {
namespace {

// One state, three actions, rewards x: pi = softmax(x / tau). The leader wants one of two deterministic policies, the
// second a little more than the first: two optima at corners, and descent from the first's side ends there.
BilevelProblem TwoCorners() {
  ProblemNumbers numbers;
  numbers.num_parameters = 3;
  numbers.sense = Sense::kMaximize;
  ContextNumbers c;
  c.mdp = Bandit(3);
  c.discount = 0.5;
  c.temperature = 1;
  c.reward.base = Vector::Zero(3);
  c.reward.features = SparseRows(3, 3);
  for (int i = 0; i < 3; ++i) c.reward.features.insert(i, i) = 1;
  // -1/2 |pi - (1, 0, 0)|^2 pulls to the first corner, the return to the second from nearby; quadratics around both.
  c.quadratic_weight = 1.5;  // maximised: away from the middle, to any corner
  c.target = Vector::Constant(3, 1.0 / 3);
  c.state_weights = Vector::Ones(1);
  c.return_weight = 0.1;
  c.leader_reward.base = Vector{{0.0, 0.2, 0.1}};
  c.leader_reward.features = SparseRows(3, 3);
  c.leader_discount = 0;
  numbers.contexts.push_back(c);
  BilevelProblem problem = Build(numbers);
  Box box{Vector::Constant(3, -4), Vector::Constant(3, 4)};
  problem.feasible_set = *FeasibleSet::Create(3, {{3, box}});
  return problem;
}

OuterResult Search(const BilevelProblem& problem, const Vector& start, const ParallelFor& parallel_for,
                   ProgressReporter reporter = {}, uint64_t seed = 5) {
  OuterOptions options{.gradient_tolerance = 1e-7, .max_iterations = 6};
  options.seed = seed;
  options.parallel_for = parallel_for;
  options.record_history = true;
  auto result = Optimize(problem, start, PortfolioOptions{.islands = 4, .evaluations_per_round = 60}, options,
                         Interrupt(), reporter);
  EXPECT_TRUE(result.ok()) << result.status();
  return *std::move(result);
}

TEST(Portfolio, LeavesTheOptimumWhereDescentStays) {
  const BilevelProblem problem = TwoCorners();
  const Vector start{{1.0, 0.0, 0.0}};
  ProgressReporter reporter;
  const auto local = Optimize(problem, start, QuasiNewtonOptions{}, {}, Interrupt(), reporter);
  const OuterResult global = Search(problem, start, RunInOrder);
  EXPECT_LT(local->best.objective + 0.01, global.best.objective);
  EXPECT_EQ(global.termination.reason, StopReason::kConverged) << global.termination.detail;
  EXPECT_LE(global.best.gradient_norm, 1e-7);
  // Three corners: x = 4 there and -4 elsewhere; the leader's bonus orders them 1, 2, 0.
  ASSERT_GE(global.optima.size(), 3);
  const std::vector<Vector> corners = {Vector{{-4.0, 4.0, -4.0}}, Vector{{-4.0, -4.0, 4.0}}, Vector{{4.0, -4.0, -4.0}}};
  for (size_t i = 0; i < corners.size(); ++i) {
    EXPECT_LT((global.optima[i].x - corners[i]).norm(), 1e-6) << i;
    EXPECT_GT(global.optima[i].hits, 1);
  }
  EXPECT_EQ(global.optima[0].objective, global.best.objective);
}

// One island alone: what it hops to must be what leads it on, before anything is polished.
TEST(Portfolio, AnIslandGoesOnFromWhatIsBetter) {
  const BilevelProblem problem = TwoCorners();
  const Vector start{{1.0, 0.0, 0.0}};
  OuterOptions options{.gradient_tolerance = 1e-7, .max_iterations = 12, .record_history = true};
  ProgressReporter reporter;
  const OuterResult local = *Optimize(problem, start, QuasiNewtonOptions{}, options, Interrupt(), reporter);
  const OuterResult global = *Optimize(problem, start, PortfolioOptions{.islands = 1, .evaluations_per_round = 60},
                                       options, Interrupt(), reporter);
  EXPECT_GT(global.history.back().objective, local.best.objective + 0.01);
}

// Descents of the search stop early; the optimum within is smooth.
TEST(Portfolio, PolishesTheBestToTheTolerance) {
  for (const Sense sense : {Sense::kMinimize, Sense::kMaximize}) {
    const OuterResult result = Search(Build(DrawMatching(3, sense)), Vector::Constant(6, 0.1), RunInOrder);
    EXPECT_EQ(result.termination.reason, StopReason::kConverged) << result.termination.detail;
    EXPECT_LE(result.best.gradient_norm, 1e-7);
    EXPECT_NEAR(result.optima[0].objective, result.best.objective, 1e-12);
  }
}

TEST(Portfolio, SameResultAtAnyNumberOfThreads) {
  const BilevelProblem problem = Build(DrawMatching(3));
  const Vector start = Vector::Constant(6, 0.1);
  const OuterResult one = Search(problem, start, RunInOrder);
  for (const int threads : {2, 3, 8}) {
    const OuterResult many = Search(problem, start, Threads(threads));
    EXPECT_EQ(many.best.x, one.best.x);
    EXPECT_EQ(many.best.gradient, one.best.gradient);
    EXPECT_EQ(many.evaluations, one.evaluations);
    ASSERT_EQ(many.history.size(), one.history.size());
    for (size_t i = 0; i < one.history.size(); ++i) {
      EXPECT_EQ(many.history[i].objective, one.history[i].objective);
      EXPECT_EQ(many.history[i].gradient_norm, one.history[i].gradient_norm);
      EXPECT_EQ(many.history[i].evaluations, one.history[i].evaluations);
    }
    ASSERT_EQ(many.optima.size(), one.optima.size());
    for (size_t i = 0; i < one.optima.size(); ++i) {
      EXPECT_EQ(many.optima[i].x, one.optima[i].x);
      EXPECT_EQ(many.optima[i].hits, one.optima[i].hits);
    }
  }
  EXPECT_NE(Search(problem, start, RunInOrder, {}, 6).evaluations, one.evaluations) << "another seed, another search";
}

TEST(Portfolio, StreamsEachBetterPoint) {
  std::vector<Progress> seen;
  // No report is due by time or by round.
  ProgressReporter reporter([&](const Progress& p) { seen.push_back(p); }, 0, std::chrono::hours(1));
  const BilevelProblem problem = TwoCorners();
  const OuterResult result = Search(problem, Vector{{1.0, 0.0, 0.0}}, Threads(2), reporter);
  ASSERT_GT(seen.size(), 2);
  for (size_t i = 1; i < seen.size(); ++i) EXPECT_GE(seen[i].best_objective, seen[i - 1].best_objective);
  EXPECT_NEAR(seen.back().best_objective, result.best.objective, 1e-6);
  EXPECT_LE(seen.back().evaluations, result.evaluations);
  // And each round ends with the best so far.
  for (size_t i = 1; i < result.history.size(); ++i) {
    EXPECT_GE(result.history[i].objective, result.history[i - 1].objective);
  }
  EXPECT_GT(result.history.back().objective, result.history.front().objective + 0.01);
}

TEST(Portfolio, KeepsToItsEvaluations) {
  const BilevelProblem problem = Build(DrawMatching(4));
  for (const int limit : {2, 13, 60, 100, 500, 1234}) {
    OuterOptions options{.gradient_tolerance = 0, .max_iterations = 1000};
    options.max_evaluations = limit;
    ProgressReporter reporter;
    const auto result = Optimize(problem, Vector::Zero(6), PortfolioOptions{.islands = 3, .evaluations_per_round = 50},
                                 options, Interrupt(), reporter);
    EXPECT_LE(result->evaluations, limit);
    EXPECT_GE(result->evaluations, limit < 60 ? 2 : limit / 3);
    EXPECT_EQ(result->termination.reason, StopReason::kEvaluationLimit) << result->termination.detail;
  }
}

TEST(Portfolio, AnInterruptionNeverMakesItsAnswerWorse) {
  // A cost that is positive everywhere: what an interrupted evaluation leaves, 0, would look better than anything.
  ProblemNumbers numbers = DrawMatching(9);
  ContextNumbers& c = numbers.contexts[0];
  c.quadratic_weight = 0;
  c.return_weight = 1;
  c.leader_reward.base = Vector::Constant(24, 1);
  c.leader_reward.base[3] = 2;
  c.leader_reward.features = SparseRows(24, 6);
  const BilevelProblem problem = Build(numbers);
  const Vector start = Vector::Constant(6, 0.1);
  const double at_start = HypergradientEvaluator(problem, {}).EvaluateObjective(start, {})->value;
  for (int after = 1; after <= 60; ++after) {
    std::atomic<bool> cancelled = false;
    int reports = 0;
    ProgressReporter reporter(
        [&](const Progress&) {
          if (++reports == after) cancelled = true;
        },
        1, std::chrono::microseconds(1));
    OuterOptions options{.gradient_tolerance = 0, .max_iterations = 2};
    const auto result = Optimize(problem, start, PortfolioOptions{.islands = 2, .evaluations_per_round = 40}, options,
                                 Interrupt(&cancelled, std::nullopt), reporter);
    ASSERT_TRUE(result.ok());
    if (result->evaluations == 1) continue;  // even the start was not evaluated to its end
    EXPECT_GT(result->best.objective, 0.1 * at_start) << after;
    EXPECT_LE(result->best.objective, at_start) << after;
    for (const LocalOptimum& optimum : result->optima) EXPECT_GT(optimum.objective, 0.1 * at_start) << after;
  }
}

TEST(Portfolio, GoesOnWhereACallersToleranceCannotBeReached) {
  ProblemNumbers numbers = DrawMatching(10);
  numbers.groups = {{6, MapKind::kIdentity, 1e4}};
  OuterOptions options{.gradient_tolerance = 1e-6, .max_iterations = 3};
  options.lower_level.residual_tolerance = 1e-12;
  ProgressReporter reporter;
  const auto result =
      Optimize(Build(numbers), Vector::Zero(6), PortfolioOptions{.islands = 2, .evaluations_per_round = 50}, options,
               Interrupt(), reporter);
  EXPECT_TRUE(result.ok()) << result.status();
}

TEST(SearchSpace, CoordinatesOfFeasiblePointsLeadBackToThem) {
  Rng rng(1);
  BilevelProblem problem = Build(DrawMatching(5));
  problem.num_parameters = 11;
  problem.map = *ParameterMap::Create(11, {{5, MapKind::kIdentity, 1}, {4, MapKind::kTanh, 1}, {2, MapKind::kExp, 1}});
  Box box{Vector::Constant(2, -1), Vector::Constant(2, 2)};
  Box half{Vector::Zero(2), Vector::Constant(2, HUGE_VAL)};
  Ball ball{Vector::Zero(2), 1};
  problem.feasible_set = *FeasibleSet::Create(11, {{3, Simplex{2}}, {2, Budget{3}}, {2, box}, {2, half}, {2, ball}});
  const SearchSpace space(problem);
  for (int i = 0; i < 100; ++i) {
    const Vector x = problem.feasible_set.Project(DrawNormal(rng, 11, 2));
    // Shares and places within bounds are taken to 1e-5.
    EXPECT_LT((space.ToParameters(space.ToCoordinates(x)) - x).norm(), 3e-4);
  }
}

TEST(Kick, EveryKindIsFeasibleMovesAndRepeatsItself) {
  BilevelProblem problem = Build(DrawMatching(6));
  problem.feasible_set = *FeasibleSet::Create(6, {{3, Simplex{1}}, {3, Budget{2}}});
  const SearchSpace space(problem);
  Rng rng(3);
  const Vector origin = problem.feasible_set.Project(DrawNormal(rng, 6));
  const Vector x = problem.feasible_set.Project(DrawNormal(rng, 6)),
               other = problem.feasible_set.Project(DrawNormal(rng, 6));
  for (const Kick kick : kAllKicks) {
    std::set<double> seen;
    for (uint64_t seed = 0; seed < 20; ++seed) {
      Rng a(seed), b(seed);
      const Vector moved = ApplyKick(kick, space, x, origin, {other}, a);
      EXPECT_EQ(moved, ApplyKick(kick, space, x, origin, {other}, b));
      EXPECT_LT((problem.feasible_set.Project(moved) - moved).norm(), 1e-12);
      seen.insert(moved.norm());
    }
    EXPECT_GT(seen.size(), 3) << static_cast<int>(kick);
  }
}

// Without constraints coordinates are parameters.
TEST(Kick, ChangesEntriesWithinTheirSegment) {
  ProblemNumbers numbers = DrawMatching(6);
  numbers.groups = {{3, MapKind::kSoftmax, 1}, {3, MapKind::kIdentity, 1}};
  const BilevelProblem problem = Build(numbers);
  const SearchSpace space(problem);
  Rng rng(4);
  const Vector origin = DrawNormal(rng, 6), x = DrawNormal(rng, 6, 3), other = DrawNormal(rng, 6, 3);
  const double highest = x.head(3).maxCoeff(), low = x.tail(3).minCoeff(), high = x.tail(3).maxCoeff();
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    const auto apply = [&](Kick kick) {
      Rng own(seed);
      return ApplyKick(kick, space, x, origin, {other}, own);
    };
    const Vector raised = apply(Kick::kRaise), revived = apply(Kick::kRevive), crossed = apply(Kick::kCross),
                 fresh = apply(Kick::kFresh);
    for (int i = 0; i < 6; ++i) {
      const bool share = i < 3;
      EXPECT_TRUE(raised[i] == x[i] || raised[i] == (share ? highest : high) || (!share && raised[i] == low)) << i;
      EXPECT_TRUE(revived[i] == x[i] ||
                  (revived[i] >= (share ? highest - 2 : low) && revived[i] <= (share ? highest : high)))
          << i;
      EXPECT_TRUE(crossed[i] == x[i] || crossed[i] == other[i]) << i;
      EXPECT_NE(fresh[i], origin[i]) << i;
    }
  }
}

TEST(SharesChart, IsTheSameProblemInOtherCoordinates) {
  Rng rng(7);
  ProblemNumbers numbers = DrawMatching(7);
  numbers.penalties = {};
  numbers.groups = {{1, MapKind::kTanh, 1}, {3, MapKind::kSoftmax, -1.5}, {2, MapKind::kSoftmax, 1}};
  const BilevelProblem problem = Build(numbers);
  const auto chart = SharesChart::Create(problem);
  ASSERT_TRUE(chart.has_value());
  for (int i = 0; i < 20; ++i) {
    const Vector x = DrawNormal(rng, 6), p = chart->ToShares(x);
    const auto value = [](const BilevelProblem& of, const Vector& at) {
      return HypergradientEvaluator(of, {}).EvaluateObjective(at, Interrupt())->value;
    };
    EXPECT_NEAR(p.segment(1, 3).sum(), 1, 1e-14);
    EXPECT_NEAR(p.tail(2).sum(), 1, 1e-14);
    EXPECT_NEAR(value(chart->problem(), p), value(problem, x), 1e-12);
    EXPECT_LT((chart->ToShares(chart->FromShares(p)) - p).norm(), 1e-7);
  }
  // x itself counts.
  ProblemNumbers quadratic = numbers;
  quadratic.contexts[0].reward.coefficient = Vector::Ones(24);
  quadratic.contexts[0].reward.matrix = Eigen::MatrixXd::Identity(6, 6);
  BilevelProblem squared = problem, absolute = problem, bounded = problem;
  squared.penalties.squared_l2 = 1;
  absolute.penalties.l1 = 1;
  bounded.feasible_set = *FeasibleSet::Create(6, {{6, Simplex{1}}});
  for (const BilevelProblem& other : {squared, absolute, bounded, Build(quadratic)}) {
    EXPECT_FALSE(SharesChart::Create(other).has_value());
  }
  numbers.groups = {{6, MapKind::kTanh, 1}};
  EXPECT_FALSE(SharesChart::Create(Build(numbers)).has_value()) << "no shares";
}

TEST(Optima, CountsWhatIsOneOptimumTogetherAndKeepsTheBetter) {
  const BilevelProblem problem = Build(DrawMatching(8));
  Optima optima(problem);
  const Vector a = Vector::Constant(6, 1), b = -a;
  optima.Add({a, 2.0, 0.1, 1}, 1e-3);
  optima.Add({b, 1.0, 0.1, 1}, 1e-3);
  optima.Add({1.001 * a, 1.9999, 0.2, 3}, 1e-3);
  optima.Add({b, 2.0, 0.1, 1}, 1e-3);
  ASSERT_EQ(optima.entries().size(), 3);
  EXPECT_EQ(optima.entries()[0].objective, 1.0);
  EXPECT_EQ(optima.entries()[1].objective, 1.9999);
  EXPECT_EQ(optima.entries()[1].hits, 4);
  EXPECT_EQ(optima.entries()[2].x, b);
}

TEST(Optima, WhatIsSmallBesideTheLargestCountsAsNothing) {
  const BilevelProblem problem = Build(DrawMatching(8));
  Optima optima(problem);
  for (const double size : {1.0, 1e-4, -1e-4, 1e-2}) optima.Add({Vector::Constant(6, size), 2.0, 0.1, 1}, 1e-3);
  ASSERT_EQ(optima.entries().size(), 3);
  EXPECT_EQ(optima.entries()[1].hits, 2);
}

TEST(Optima, BestIsFirstInEitherSense) {
  for (const Sense sense : {Sense::kMinimize, Sense::kMaximize}) {
    const BilevelProblem problem = Build(DrawMatching(8, sense));
    Optima optima(problem);
    for (const double objective : {2.0, 3.0, 1.0, 2.5}) {
      optima.Add({Vector::Constant(6, objective), objective, 0.1, 1}, 1e-3);
      // What is met again, a little worse or better.
      optima.Add({Vector::Constant(6, objective), objective + 1e-4, 0.1, 1}, 1e-3);
      optima.Add({Vector::Constant(6, objective), objective - 1e-4, 0.1, 1}, 1e-3);
    }
    std::vector<double> objectives;
    for (const LocalOptimum& entry : optima.entries()) {
      objectives.push_back(entry.objective);
      EXPECT_EQ(entry.hits, 3);
      EXPECT_NEAR(entry.x[0], entry.objective, 1e-3);
    }
    EXPECT_EQ(objectives, sense == Sense::kMinimize ? std::vector({1 - 1e-4, 2 - 1e-4, 2.5 - 1e-4, 3 - 1e-4})
                                                    : std::vector({3 + 1e-4, 2.5 + 1e-4, 2 + 1e-4, 1 + 1e-4}));
  }
}

}  // namespace
}  // namespace bilevel::testing
