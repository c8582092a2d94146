// The referees judge fairly: each is the gradient of what it says it is, tends to the exact hyper-gradient as its
// header says, and would not tend to a hyper-gradient with a wrong sign.

#include <cmath>
#include <vector>

#include "core/hypergradient/hypergradient.h"
#include "gtest/gtest.h"
#include "tests/benchmarks/referees/draw_leader_return.h"
#include "tests/benchmarks/referees/iterated_differentiation.h"
#include "tests/benchmarks/referees/one_step.h"
#include "tests/benchmarks/referees/value_penalty.h"
#include "tests/benchmarks/referees/zeroth_order.h"
#include "tests/support/sanitized.h"

namespace bilevel::referees {
namespace {

using testing::Build;
using testing::DrawNormal;
using testing::kSanitized;

constexpr uint64_t kSeeds = kSanitized ? 2 : 6;

struct Case {
  BilevelProblem problem;
  Vector x;
};

// Policy matching with masks and termination, and a leader's return.
std::vector<Case> Cases(uint64_t seed) {
  std::vector<Case> cases = {{Build(testing::DrawMatching(seed)), {}}, {Build(DrawLeaderReturn(seed, 8)), {}}};
  Rng rng(seed + 100);
  for (Case& c : cases) c.x = DrawNormal(rng, c.problem.num_parameters);
  return cases;
}

// Everything the problem language has. For the penalty: without the follower's value, and without rewards for
// probabilities that vanish, where the penalised problem has no solution.
enum class For { kAny, kPenalty };
Case Anything(uint64_t seed, For use) {
  Rng rng(seed);
  testing::ProblemNumbers numbers =
      testing::DrawProblem(rng, {.max_states = 6, .min_discount = 0.5, .max_discount = 0.9, .min_temperature = 0.2});
  if (use == For::kPenalty) {
    const double sign = numbers.sense == Sense::kMinimize ? 1 : -1;
    for (testing::ContextNumbers& context : numbers.contexts) {
      context.value_weight = 0;
      context.divergence_weight = sign * std::abs(context.divergence_weight);
      context.demonstration_weight = sign * std::abs(context.demonstration_weight);
    }
  }
  const Vector x = DrawNormal(rng, numbers.num_parameters);
  return {Build(numbers), x};
}

double Distance(const RefereeGradient& gradient, const Vector& exact) {
  return (gradient.total() - exact).norm() / exact.norm();
}

// The gradient as it should be is first; the others have a wrong sign, of all of it or of what passes through the
// follower.
std::vector<Vector> RightAndWrong(const Case& c) {
  const RefereeGradient exact = ExactGradient(c.problem, c.x);
  return {exact.total(), -exact.total(), exact.direct - exact.implicit};
}

template <typename Check>
void ExpectOnlyTheRightOnePasses(const Case& c, Check check) {
  const std::vector<Vector> candidates = RightAndWrong(c);
  EXPECT_TRUE(check(candidates[0]));
  EXPECT_FALSE(check(candidates[1])) << "with the sign of all of it flipped";
  EXPECT_FALSE(check(candidates[2])) << "with the sign of the implicit part flipped";
}

// Central differences, h = 1e-5: h^2 times third derivatives, and the rounding of `objective` over h.
template <typename Objective>
Vector Differences(const Vector& x, Objective objective) {
  constexpr double kStep = 1e-5;
  Vector gradient(x.size());
  for (Eigen::Index i = 0; i < x.size(); ++i) {
    const Vector step = kStep * Vector::Unit(x.size(), i);
    gradient[i] = (objective(x + step) - objective(x - step)) / (2 * kStep);
  }
  return gradient;
}

TEST(Referees, ExactGradientIsTheHypergradient) {
  for (uint64_t seed = 1; seed <= 10 * kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    const Case c = Anything(seed, For::kAny);
    const HypergradientPoint point = HypergradientEvaluator(c.problem, {}).Evaluate(c.x, Interrupt()).value();
    const RefereeGradient exact = ExactGradient(c.problem, c.x);
    EXPECT_NEAR(exact.objective, point.objective, 1e-12 * (1 + std::abs(point.objective)));
    EXPECT_LT((exact.total() - point.gradient).norm(), 1e-10 * (1 + point.gradient.norm()));
  }
}

TEST(IteratedDifferentiation, IsTheGradientOfItsTruncatedObjective) {
  for (uint64_t seed = 1; seed <= 5 * kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    const Case c = Anything(seed, For::kAny);
    for (const int sweeps : {0, 1, 3}) {
      const Vector gradient = DifferentiateSweeps(c.problem, c.x, sweeps).total();
      const Vector differences =
          Differences(c.x, [&](const Vector& x) { return DifferentiateSweeps(c.problem, x, sweeps).objective; });
      EXPECT_LT((gradient - differences).norm(), 1e-6 * (1 + gradient.norm()));
    }
  }
}

TEST(IteratedDifferentiation, ConvergesGeometricallyToTheExactGradient) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    for (const Case& c : Cases(seed)) {
      ExpectOnlyTheRightOnePasses(c, [&](const Vector& exact) {
        // K gamma^K at gamma = 0.9 at the latest, until rounding is left.
        constexpr int kStep = 40;
        double error = Distance(DifferentiateSweeps(c.problem, c.x, kStep), exact);
        for (int sweeps = 2 * kStep; sweeps <= 8 * kStep; sweeps += kStep) {
          const double next = Distance(DifferentiateSweeps(c.problem, c.x, sweeps), exact);
          if (next > 1e-11 && next > 2 * std::pow(0.9, kStep) * error) return false;
          error = next;
        }
        return error < 1e-11;
      });
    }
  }
}

TEST(ValuePenalty, IsTheGradientOfItsPenalisedObjective) {
  for (uint64_t seed = 1; seed <= 5 * kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    const Case c = Anything(seed, For::kPenalty);
    const auto penalty = [&](const Vector& x) { return DifferentiatePenalty(c.problem, x, 1000); };
    const PenaltyGradient at = penalty(c.x);
    EXPECT_LT(at.stationarity, 1e-9);
    const Vector gradient = at.gradient.total();
    const Vector differences = Differences(c.x, [&](const Vector& x) { return penalty(x).gradient.objective; });
    EXPECT_LT((gradient - differences).norm(), 1e-5 * (1 + gradient.norm()));
  }
}

TEST(ValuePenalty, ConvergesLikeOneOverSigma) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    for (const Case& c : Cases(seed)) {
      ExpectOnlyTheRightOnePasses(c, [&](const Vector& exact) {
        double error = Distance(DifferentiatePenalty(c.problem, c.x, 1e3).gradient, exact);
        for (const double sigma : {1e4, 1e5}) {
          const double next = Distance(DifferentiatePenalty(c.problem, c.x, sigma).gradient, exact);
          if (next > error / 8 || next < error / 12) return false;  // 10, and what is of second order
          error = next;
        }
        return error < 1e-3;
      });
    }
  }
}

TEST(ValuePenalty, IsSoftOptimalForTheSumOfBothRewardsWhenTheLeaderEarnsAReturn) {
  // sigma V^pi + f is, for the same discount and start, the soft value for sigma r + c at temperature sigma tau.
  const Case c{Build(DrawLeaderReturn(1, 8)), Vector::Zero(8)};
  const testing::ContextNumbers numbers = DrawLeaderReturn(1, 8).contexts[0];
  for (const double sigma : {1.0, 10.0, 1000.0}) {
    const Context& context = c.problem.contexts[0];
    PolicySystem system(*context.mdp, PolicySystem::Kind::kDirect);
    const auto value = [&](const Vector& reward, double temperature) {
      const RegularizedMdp mdp = testing::FollowerOf(*context.mdp, reward, context.discount, temperature);
      return context.mdp->initial_distribution().dot(SolveLowerLevel(mdp, {}, {}, Interrupt(), system)->value);
    };
    const double tau = context.temperature;
    const double expected = value(sigma * numbers.reward.base + numbers.leader_reward.base, sigma * tau) -
                            sigma * value(numbers.reward.base, tau);
    const PenaltyGradient penalty = DifferentiatePenalty(c.problem, c.x, sigma);
    EXPECT_NEAR(penalty.gradient.objective, expected, 1e-11 * (1 + sigma));
    EXPECT_LT(penalty.stationarity, 1e-12);
  }
}

TEST(ZerothOrder, MeanIsTheExactGradientWithinFourStandardErrors) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    for (const Case& c : Cases(seed)) {
      const ZerothOrderGradient estimate =
          EstimateByDifferences(c.problem, c.x, Vector::Zero(c.x.size()),
                                {.smoothing = 1e-3, .directions = kSanitized ? 500 : 2000, .seed = seed});
      ExpectOnlyTheRightOnePasses(c, [&](const Vector& exact) {
        return ((estimate.mean - exact).array().abs() <= 4 * estimate.standard_error.array()).all();
      });
    }
  }
}

TEST(ZerothOrder, BiasFallsWithTheSquareOfTheSmoothing) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    for (const Case& c : Cases(seed)) {
      ExpectOnlyTheRightOnePasses(c, [&](const Vector& exact) {
        const auto bias = [&](double smoothing) {
          return EstimateByDifferences(c.problem, c.x, exact, {.smoothing = smoothing, .directions = 200}).bias.norm();
        };
        const double ratio = bias(1e-2) / bias(1e-3);
        return ratio > 50 && ratio < 200;
      });
    }
  }
}

TEST(OneStep, IsExactWithoutAFuture) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    for (Case& c : Cases(seed)) {
      for (Context& context : c.problem.contexts) context.discount = 0;
      const RefereeGradient one_step = TruncateToOneStep(c.problem, c.x);
      ExpectOnlyTheRightOnePasses(c, [&](const Vector& exact) { return Distance(one_step, exact) < 1e-12; });
    }
  }
}

TEST(OneStep, IsFarFromTheExactGradientWithOne) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    for (const Case& c : Cases(seed)) {
      const RefereeGradient exact = ExactGradient(c.problem, c.x);
      EXPECT_GT((TruncateToOneStep(c.problem, c.x).implicit - exact.implicit).norm(), 0.03 * exact.implicit.norm());
    }
  }
}

}  // namespace
}  // namespace bilevel::referees
