// How the optimum moves with the problem's numbers, against optimising again.

#include "core/solvers/sensitivities.h"

#include <atomic>
#include <functional>
#include <utility>
#include <vector>

#include "core/solvers/optimize.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/known_problems.h"
#include "tests/support/random_problem.h"

namespace bilevel::testing {
namespace {

using ::testing::HasSubstr;

constexpr double kStep = 1e-3;

OuterResult Optimum(const BilevelProblem& problem, const Vector& start) {
  ProgressReporter reporter;
  return *Optimize(problem, start, QuasiNewtonOptions{}, {.gradient_tolerance = 1e-11, .max_iterations = 3000},
                   Interrupt(), reporter);
}

// A matching problem whose optimum is strict, with three terms, a leader's return that follows the context's discount
// and a map with scales.
ProblemNumbers DrawNumbers(uint64_t seed, Sense sense) {
  Rng rng(seed);
  ProblemNumbers numbers = DrawMatching(seed, sense);
  numbers.penalties.squared_l2 = 0.3;
  numbers.groups = {{3, MapKind::kTanh, 1.5}, {3, MapKind::kIdentity, 0.8}};
  ContextNumbers& c = numbers.contexts[0];
  c.return_weight = 0.05;
  c.leader_reward.base = DrawNormal(rng, 24);
  c.leader_reward.features = Eigen::MatrixXd(DrawNormal(rng, 144, 0.1).reshaped(24, 6)).sparseView();
  c.value_weight = -0.02;
  numbers.contexts.push_back(c);
  numbers.contexts[1].temperature = 0.7;
  numbers.contexts[1].weight = 0.5;
  return numbers;
}

BilevelProblem Draw(uint64_t seed, Sense sense) { return Build(DrawNumbers(seed, sense)); }

struct Fixture {
  BilevelProblem problem;
  OuterResult optimum;
  Sensitivities sensitivities;

  explicit Fixture(BilevelProblem p, const Vector& start = Vector::Constant(6, 0.2))
      : problem(std::move(p)),
        optimum(Optimum(problem, start)),
        sensitivities(*ComputeSensitivities(problem, {}, optimum.best.x, {}, Interrupt())) {}

  // Against differences of the optimum of a changed problem.
  void Expect(const Sensitivity& sensitivity, const std::function<void(BilevelProblem&, double)>& change,
              const char* what) const {
    SCOPED_TRACE(what);
    // Fourth-order central differences.
    double objective = 0;
    Vector x = Vector::Zero(problem.num_parameters);
    for (const auto& [steps, factor] : {std::pair(1, 8.0), {-1, -8.0}, {2, -1.0}, {-2, 1.0}}) {
      BilevelProblem moved = problem;
      change(moved, steps * kStep);
      const OuterResult other = Optimum(moved, optimum.best.x);
      objective += factor * other.best.objective / (12 * kStep);
      x += factor / (12 * kStep) * other.best.x;
    }
    EXPECT_NEAR(sensitivity.objective, objective, 1e-5 * (1 + std::abs(objective)));
    ASSERT_EQ(sensitivity.parameters.size(), x.size());
    EXPECT_LT((sensitivity.parameters - x).norm(), 1e-4 * (1 + x.norm()));
  }

  void ExpectAllButSets() const {
    for (size_t c = 0; c < problem.contexts.size(); ++c) {
      const ContextSensitivities& s = sensitivities.contexts[c];
      Expect(
          s.weight, [c](BilevelProblem& p, double h) { p.contexts[c].weight += h; }, "weight");
      Expect(
          s.discount, [c](BilevelProblem& p, double h) { p.contexts[c].discount += h; }, "discount");
      Expect(
          s.temperature, [c](BilevelProblem& p, double h) { p.contexts[c].temperature += h; }, "temperature");
      for (size_t t = 0; t < s.term_weights.size(); ++t) {
        Expect(
            s.term_weights[t], [c, t](BilevelProblem& p, double h) { p.contexts[c].objective[t].weight += h; },
            "term weight");
      }
    }
    for (size_t g = 0; g < sensitivities.group_scales.size(); ++g) {
      if (problem.map.groups()[g].kind == MapKind::kSoftmax) continue;
      Expect(
          sensitivities.group_scales[g],
          [g](BilevelProblem& p, double h) {
            std::vector<ParameterGroup> groups = p.map.groups();
            groups[g].scale += h;
            p.map = *ParameterMap::Create(p.num_parameters, groups);
          },
          "scale");
    }
    Expect(
        sensitivities.squared_l2, [](BilevelProblem& p, double h) { p.penalties.squared_l2 += h; }, "squared_l2");
  }
};

TEST(Sensitivities, EqualDifferencesOfTheOptimumWithoutConstraints) {
  for (const Sense sense : {Sense::kMinimize, Sense::kMaximize}) {
    const Fixture fixture(Draw(3, sense));
    ASSERT_LT(fixture.optimum.best.gradient_norm, 1e-9);
    fixture.ExpectAllButSets();
    EXPECT_EQ(fixture.sensitivities.note, "");
  }
}

// Each context's environment moves with shares of its own, whose scales are no numbers of the problem.
TEST(Sensitivities, EqualDifferencesOfTheOptimumOfMovingEnvironments) {
  for (const Sense sense : {Sense::kMinimize, Sense::kMaximize}) {
    ProblemNumbers numbers = DrawNumbers(7, sense);
    const std::vector<ParameterGroup> groups = {
        {2, MapKind::kSoftmax, 1}, {2, MapKind::kSoftmax, 2}, {2, MapKind::kTanh, 1.5}};
    numbers.groups = groups;
    Rng rng(7);
    for (size_t c = 0; c < 2; ++c) {
      std::vector<ParameterGroup> own = groups;
      own[1 - c].kind = MapKind::kIdentity;
      numbers.contexts[c].dynamics = DrawDynamics(rng, numbers.contexts[c].mdp, own);
    }
    const Fixture fixture(Build(numbers));
    ASSERT_LT(fixture.optimum.best.gradient_norm, 1e-9);
    fixture.ExpectAllButSets();
    for (size_t g = 0; g < 2; ++g) {
      EXPECT_EQ(fixture.sensitivities.group_scales[g].objective, 0);
      EXPECT_EQ(fixture.sensitivities.group_scales[g].parameters.size(), 0);
    }
  }
}

TEST(Sensitivities, UnderTheWorstCaseOnlyTheWorstContextCounts) {
  for (const Sense sense : {Sense::kMinimize, Sense::kMaximize}) {
    BilevelProblem problem = Draw(3, sense);
    problem.aggregation = Aggregation::kWorstCase;
    problem.contexts[1].weight = 1e-2;
    const Fixture fixture(problem);
    ASSERT_LT(fixture.optimum.best.gradient_norm, 1e-9);
    ASSERT_EQ(problem.ActiveWeights(fixture.optimum.best.context_objectives)[1], 0);
    fixture.ExpectAllButSets();
  }
}

TEST(Sensitivities, EqualDifferencesOfTheOptimumUnderConstraints) {
  for (const Sense sense : {Sense::kMinimize, Sense::kMaximize}) {
    BilevelProblem problem = Draw(4, sense);
    Ball ball;
    ball.center = Vector::Constant(3, 1);
    ball.radius = 0.3;
    const std::vector<FeasibleBlock> blocks = {{3, Simplex{0.7}}, {3, ball}};
    problem.feasible_set = *FeasibleSet::Create(6, blocks);
    const Fixture fixture(problem);
    ASSERT_LT(fixture.optimum.best.gradient_norm, 1e-8);
    fixture.ExpectAllButSets();
    for (size_t b = 0; b < 2; ++b) {
      fixture.Expect(
          fixture.sensitivities.limits[b],
          [&](BilevelProblem& p, double h) {
            std::vector<FeasibleBlock> moved = blocks;
            if (b == 0) {
              std::get<Simplex>(moved[0].set).total += h;
            } else {
              std::get<Ball>(moved[1].set).radius += h;
            }
            p.feasible_set = *FeasibleSet::Create(6, moved);
          },
          b == 0 ? "total" : "radius");
    }
  }
}

TEST(Sensitivities, BoundsAndTheOneNormAnswerToo) {
  for (const Sense sense : {Sense::kMinimize, Sense::kMaximize}) {
    BilevelProblem problem = Draw(5, sense);
    problem.penalties.l1 = 0.01;
    const Vector free = Optimum(problem, Vector::Constant(6, 0.2)).best.x;
    // Halfway to the free optimum one bound of either kind binds.
    Box box{Vector::Constant(6, -10), Vector::Constant(6, 10)};
    Eigen::Index low = 0, high = 0;
    ASSERT_LT(free.minCoeff(&low), 0);
    ASSERT_GT(free.maxCoeff(&high), 0);
    box.lower[low] = free[low] / 2;
    box.upper[high] = free[high] / 2;
    problem.feasible_set = *FeasibleSet::Create(6, {{6, box}});
    const Fixture fixture(problem);
    const auto slope = [&](Vector Box::*bound, Eigen::Index at) {
      const auto moved = [&](double h) {
        BilevelProblem p = problem;
        Box other = box;
        (other.*bound)[at] += h;
        p.feasible_set = *FeasibleSet::Create(6, {{6, other}});
        return Optimum(p, fixture.optimum.best.x).best.objective;
      };
      return (moved(kStep) - moved(-kStep)) / (2 * kStep);
    };
    EXPECT_NEAR(fixture.sensitivities.lower[low], slope(&Box::lower, low), 1e-5);
    EXPECT_NEAR(fixture.sensitivities.upper[high], slope(&Box::upper, high), 1e-5);
    EXPECT_GT(problem.sign() * fixture.sensitivities.lower[low], 1e-3);
    EXPECT_LT(problem.sign() * fixture.sensitivities.upper[high], -1e-3);
    fixture.Expect(
        fixture.sensitivities.l1, [](BilevelProblem& p, double h) { p.penalties.l1 += h; }, "l1");
  }
}

TEST(Sensitivities, WhatPushesWhereNothingCurvesHasNoAnswer) {
  ProblemNumbers numbers = SaddleAtZero(0.5);
  numbers.contexts[0].reward.matrix = Vector{{1.0, 0.0}}.asDiagonal();  // x_2 moves nothing
  const Sensitivities found = *ComputeSensitivities(Build(numbers), {}, Vector{{0.0, 0.7}}, {}, Interrupt());
  EXPECT_EQ(found.contexts[0].temperature.parameters, Vector::Zero(2));
  EXPECT_EQ(found.squared_l2.parameters.size(), 0);
  EXPECT_DOUBLE_EQ(found.squared_l2.objective, 0.5 * 0.7 * 0.7);
  EXPECT_EQ(found.l1.parameters.size(), 0);
  EXPECT_THAT(found.note, HasSubstr("left out for 2 numbers"));
}

TEST(Sensitivities, SoftmaxGroupsAnswerWithTheShortestMove) {
  // A constant added to a softmax group changes nothing: dx sums to zero.
  BilevelProblem problem = Draw(6, Sense::kMinimize);
  problem.penalties.squared_l2 = 0;
  problem.map = *ParameterMap::Create(6, {{6, MapKind::kSoftmax, 2}});
  const Fixture fixture(problem);
  const Vector& x = fixture.sensitivities.contexts[0].temperature.parameters;
  ASSERT_EQ(x.size(), 6);
  EXPECT_GT(x.norm(), 1e-6);
  EXPECT_NEAR(x.sum(), 0, 1e-6 * x.norm());
}

TEST(Sensitivities, WhatAnInterruptionLeavesOutIsSaid) {
  const BilevelProblem problem = Draw(6, Sense::kMinimize);
  const std::atomic<bool> cancelled = true;
  const auto stopped = ComputeSensitivities(problem, {}, Vector::Zero(6), {}, Interrupt(&cancelled, std::nullopt));
  EXPECT_THAT(stopped->note, HasSubstr("left out"));
}

}  // namespace
}  // namespace bilevel::testing
