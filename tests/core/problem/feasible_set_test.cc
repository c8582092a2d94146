#include "core/problem/feasible_set.h"

#include <cmath>
#include <limits>
#include <optional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/random_problem.h"
#include "tests/support/reference_program.h"

namespace bilevel::testing {
namespace {

using ::testing::HasSubstr;

FeasibleSet Make(int n, std::vector<FeasibleBlock> blocks) {
  auto set = FeasibleSet::Create(n, std::move(blocks));
  EXPECT_TRUE(set.ok()) << set.status();
  return *std::move(set);
}

double DrawWeight(Rng& rng) { return rng.Uniform() < 0.4 ? 0.0 : 2 * rng.Uniform(); }

TEST(FeasibleSet, ProximalMapsOfPolyhedraAreThoseOfAReferenceSolver) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const FeasibleBlock block = DrawBlock(rng, 1 + static_cast<int>(rng.Below(3)), static_cast<SetKind>(seed % 3));
    const Vector x = DrawNormal(rng, block.size, 2);
    const double weight = DrawWeight(rng);
    const std::optional<Vector> reference =
        MinimizeQuadratic(Eigen::MatrixXd::Identity(block.size, block.size), x, weight, PolyhedronOf(block));
    ASSERT_TRUE(reference.has_value());
    EXPECT_LT((Make(block.size, {block}).Prox(x, weight) - *reference).norm(), 1e-12);
  }
}

// x - u = weight s + mu (u - c), s a subgradient of |u|_1, mu >= 0, mu (|u - c| - r) = 0: sufficient, since the problem
// is convex.
TEST(FeasibleSet, ProximalMapOfTheBallMeetsItsOptimalityConditions) {
  int bent = 0;
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const FeasibleBlock block = DrawBlock(rng, 1 + static_cast<int>(rng.Below(6)), SetKind::kBall);
    const auto& [center, radius] = std::get<Ball>(block.set);
    const Vector x = DrawNormal(rng, block.size, 3);
    const double weight = DrawWeight(rng);
    const Vector u = Make(block.size, {block}).Prox(x, weight), normal = u - center;
    EXPECT_LE(normal.norm(), radius * (1 + 1e-15));
    double along = 0, square = 0;
    for (int i = 0; i < block.size; ++i) {
      if (u[i] == 0) continue;
      along += (x[i] - u[i] - std::copysign(weight, u[i])) * normal[i];
      square += normal[i] * normal[i];
    }
    if (square == 0) continue;
    const double mu = along / square;
    EXPECT_GE(mu, -1e-12);
    EXPECT_LT(std::abs(mu) * (radius - normal.norm()), 1e-12);
    for (int i = 0; i < block.size; ++i) {
      const double rest = x[i] - u[i] - mu * normal[i];
      if (u[i] == 0) {
        EXPECT_LE(std::abs(rest), weight + 1e-11);
      } else {
        EXPECT_NEAR(rest, std::copysign(weight, u[i]), 1e-11);
      }
    }
    bent += mu > 1e-6 && weight > 0 && (u.array() == 0).any();
  }
  EXPECT_GT(bent, 20);  // sphere and kinks of the 1-norm at once
}

TEST(FeasibleSet, ProjectionsAreIdempotentAndProximalMapsFirmlyNonExpansive) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const FeasibleSet set = Make(12, {DrawBlock(rng, 3, SetKind::kBox), DrawBlock(rng, 3, SetKind::kSimplex),
                                      DrawBlock(rng, 3, SetKind::kBudget), DrawBlock(rng, 3, SetKind::kBall)});
    const Vector x = DrawNormal(rng, 12, 3), y = DrawNormal(rng, 12, 3), p = set.Project(x), q = set.Project(y);
    EXPECT_LT((set.Project(p) - p).norm(), 1e-14);
    // The angle at p between x and any feasible point is not acute.
    EXPECT_LE((x - p).dot(q - p), 1e-12);
    const double weight = DrawWeight(rng);
    const Vector step = set.Prox(x, weight) - set.Prox(y, weight);
    EXPECT_LE(step.squaredNorm(), step.dot(x - y) + 1e-12);
  }
}

TEST(FeasibleSet, BallAndBudgetHaveTheirClosedForms) {
  const FeasibleSet ball = Make(2, {{2, Ball{Vector{{1.0, 1.0}}, 5}}});
  EXPECT_EQ(ball.Project(Vector{{7.0, 9.0}}), (Vector{{4.0, 5.0}}));
  EXPECT_EQ(ball.Project(Vector{{4.0, -3.0}}), (Vector{{4.0, -3.0}}));
  // u - c = t (x - c - weight) = t (6, 8) after the shrinking.
  EXPECT_LT((ball.Prox(Vector{{8.0, 10.0}}, 1) - Vector{{4.0, 5.0}}).norm(), 1e-15);
  const FeasibleSet budget = Make(3, {{3, Budget{2}}});
  EXPECT_EQ(budget.Project(Vector{{0.5, -1.0, 1.0}}), (Vector{{0.5, 0.0, 1.0}}));
  EXPECT_EQ(budget.Project(Vector{{3.0, -1.0, 2.0}}), (Vector{{1.5, 0.0, 0.5}}));
  EXPECT_EQ(budget.Prox(Vector{{1.5, 0.1, 1.0}}, 0.5), (Vector{{1.0, 0.0, 0.5}}));
}

TEST(FeasibleSet, BoxAndProximalMapOfTheOneNormHaveTheirClosedForms) {
  const double inf = std::numeric_limits<double>::infinity();
  const Box box{.lower = Vector{{-1.0, -inf}}, .upper = Vector{{1.0, 0.5}}};
  const FeasibleSet set = Make(5, {{2, box}, {3, Unconstrained{}}});
  EXPECT_FALSE(set.unconstrained());
  EXPECT_EQ(set.Project(Vector{{-4.0, 2.0, 9.0, -9.0, 0.1}}), (Vector{{-1.0, 0.5, 9.0, -9.0, 0.1}}));
  EXPECT_EQ(set.Prox(Vector{{-4.0, 2.0, 9.0, -9.0, 0.1}}, 1), (Vector{{-1.0, 0.5, 8.0, -8.0, 0.0}}));
}

TEST(FeasibleSet, RefusesBadBlocksByName) {
  auto message = [](int n, decltype(FeasibleBlock::set) set) {
    return std::string(FeasibleSet::Create(n, {{2, std::move(set)}}).status().message());
  };
  Box box{.lower = Vector{{1.0, 0.0}}, .upper = Vector{{0.0, 1.0}}};
  EXPECT_THAT(message(2, box), HasSubstr("[0].box.lower: entry 0 is 1; must be <= upper = 0"));
  box.lower[0] = std::nan("");
  EXPECT_THAT(message(2, box), HasSubstr("[0].box.lower: entry 0 is nan"));
  box.lower = Vector::Zero(1);
  EXPECT_THAT(message(2, box), HasSubstr("[0].box.lower: has 1 entries"));
  EXPECT_THAT(message(2, Simplex{0}), HasSubstr("[0].simplex.total: is 0; must be finite and > 0"));
  EXPECT_THAT(message(2, Budget{std::nan("")}), HasSubstr("[0].budget.total: is nan; must be finite and > 0"));
  EXPECT_THAT(message(2, Ball{Vector{{0.0, HUGE_VAL}}}), HasSubstr("[0].ball.center: entry 1 is inf"));
  EXPECT_THAT(message(2, Ball{Vector{{0.0}}}), HasSubstr("[0].ball.center: has 1 entries"));
  EXPECT_THAT(message(2, Ball{Vector::Zero(2), -1}), HasSubstr("[0].ball.radius: is -1; must be finite and > 0"));
  EXPECT_THAT(message(3, Simplex{1}), HasSubstr("sizes sum to 2; must sum to num_parameters = 3"));
}

TEST(FeasibleSet, ProjectsWhatIsFarBeyondItsTotal) {
  const FeasibleSet simplex = *FeasibleSet::Create(2, {{2, Simplex{1}}}),
                    budget = *FeasibleSet::Create(2, {{2, Budget{1e-10}}});
  EXPECT_EQ(simplex.Project(Vector{{1e17, 0.0}}), (Vector{{1.0, 0.0}}));
  EXPECT_EQ(budget.Project(Vector{{1e7, 0.0}}), (Vector{{1e-10, 0.0}}));
}

}  // namespace
}  // namespace bilevel::testing
