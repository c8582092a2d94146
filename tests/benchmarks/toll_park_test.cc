// Where each part of the hyper-gradient leads by itself, and both together, against closed forms.

#include "tests/benchmarks/toll_park.h"

#include <algorithm>
#include <cmath>

#include "gtest/gtest.h"

namespace bilevel {
namespace {

constexpr double kGamma = TollPark::kDiscount;

double Sigmoid(double z) { return 1 / (1 + std::exp(-z)); }

// Both parts as the header of toll_park.h writes them; tau = 1.
GradientParts ByHand(double gate, double ride) {
  const double taken = Sigmoid(1 - ride), inside = (1 + kGamma) * std::log1p(std::exp(1 - ride));
  const double enter = Sigmoid(kGamma * inside - gate);
  const double rides = (1 + kGamma) * taken, slope = -(1 + kGamma) * taken * (1 - taken);
  const double paid = gate + kGamma * rides * ride;
  return {.objective = enter * paid,
          .exploitation = Eigen::Vector2d(enter, kGamma * enter * rides),
          .exploration = Eigen::Vector2d(-enter * (1 - enter) * paid,
                                         kGamma * enter * (ride * slope - (1 - enter) * rides * paid))};
}

Vector Exploit(const GradientParts& parts) { return parts.exploitation; }
Vector Explore(const GradientParts& parts) { return parts.exploration; }
Vector Both(const GradientParts& parts) { return parts.exploitation + parts.exploration; }

Vector EndOf(Vector (*choose)(const GradientParts&)) {
  return Ascend(
             TollPark::Problem(), [](const Vector& x) { return ByHand(x[0], x[1]); }, choose, 0.75, 1e-7, 100'000)
      .points.back();
}

TEST(TollPark, PartsAreThoseByHand) {
  const BilevelProblem problem = TollPark::Problem();
  Rng rng(1);
  for (int i = 0; i < 20; ++i) {
    const double gate = 5 * rng.Uniform() - 1, ride = 5 * rng.Uniform() - 1;
    const GradientParts exact = ExactParts(problem, Eigen::Vector2d(gate, ride)), by_hand = ByHand(gate, ride);
    EXPECT_NEAR(exact.objective, TollPark::Revenue(gate, ride), 1e-9);
    EXPECT_NEAR(exact.objective, by_hand.objective, 1e-9);
    EXPECT_LE((exact.exploitation - by_hand.exploitation).norm(), 1e-9);
    EXPECT_LE((exact.exploration - by_hand.exploration).norm(), 1e-9);
  }
}

TEST(TollPark, TheOptimumIsThatOfTheGrid) {
  const Vector best = TollPark::Optimum();
  const double revenue = TollPark::Revenue(best[0], best[1]);
  EXPECT_NEAR(revenue, best[0] - 1, 1e-12);  // tau W and tau (1 + W)
  EXPECT_LE(Both(ByHand(best[0], best[1])).norm(), 1e-12);
  double highest = 0;
  for (int i = 0; i <= 500; ++i) {
    for (int j = 0; j <= 500; ++j) highest = std::max(highest, TollPark::Revenue(-1 + 0.01 * i, -1 + 0.01 * j));
  }
  EXPECT_LE(highest, revenue);
  EXPECT_GE(highest, revenue - 1e-4);  // curvatures are below 2, the grid is 0.01 wide
}

TEST(TollPark, EachPartAloneEndsAtAWrongValueAndTheirSumAtTheOptimum) {
  EXPECT_LE((EndOf(Exploit) - Eigen::Vector2d(4, 4)).norm(), 1e-12);
  EXPECT_LE(EndOf(Explore).norm(), 1e-4);
  EXPECT_LE((EndOf(Both) - TollPark::Optimum()).norm(), 1e-4);
  const double best = TollPark::Optimum()[0] - 1;
  EXPECT_LE(TollPark::Revenue(4, 4), 0.08 * best);
  EXPECT_EQ(TollPark::Revenue(0, 0), 0);
}

TEST(TollPark, PartsPullApartOnTheWayAndCancelAtTheOptimum) {
  const AscentPath path = Ascend(
      TollPark::Problem(), [](const Vector& x) { return ByHand(x[0], x[1]); }, Both, 0.75, 1e-7, 100'000);
  for (const double cosine : path.cosines) EXPECT_LE(cosine, -0.9);
  EXPECT_NEAR(path.cosines.back(), -1, 1e-6);
}

// By (13) from 64 visits a step, averaged over the second half of the way.
TEST(TollPark, SamplesLeadToTheSameEnds) {
  const BilevelProblem problem = TollPark::Problem();
  const auto end = [&](Vector (*choose)(const GradientParts&)) {
    Rng rng(3);
    const AscentPath path = Ascend(
        problem, [&](const Vector& x) { return SampledParts(problem, x, 64, rng); }, choose, 0.5, 0, 1500);
    Vector mean = Vector::Zero(2);
    const size_t half = path.points.size() / 2;
    for (size_t k = half; k < path.points.size(); ++k) mean += path.points[k];
    return Vector(mean / static_cast<double>(path.points.size() - half));
  };
  EXPECT_LE((end(Both) - TollPark::Optimum()).norm(), 0.1);
  EXPECT_LE(end(Explore).norm(), 0.4);  // a valley: the smallest curvature is 0.06
  const Vector up = end(Exploit);
  EXPECT_GE(up[0], 3.9);
  EXPECT_LE(TollPark::Revenue(up[0], up[1]), 0.25 * (TollPark::Optimum()[0] - 1));
}

}  // namespace
}  // namespace bilevel
