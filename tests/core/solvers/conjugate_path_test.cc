#include "core/solvers/conjugate_path.h"

#include "core/base/rng.h"
#include "gtest/gtest.h"
#include "tests/support/dense_algebra.h"
#include "tests/support/random_problem.h"

namespace bilevel::testing {
namespace {

constexpr int kDimension = 8;

Eigen::MatrixXd DrawSymmetric(Rng& rng) {
  const Eigen::MatrixXd a = Eigen::MatrixXd::NullaryExpr(kDimension, kDimension, [&] { return rng.Normal(); });
  return a + a.transpose();
}

auto ProductsWith(const Eigen::MatrixXd& B, int* count = nullptr) {
  return [&B, count](const Vector& v) -> std::optional<Vector> {
    if (count != nullptr) ++*count;
    return Vector(B * v);
  };
}

double Model(const Eigen::MatrixXd& B, const Vector& g, const Vector& p) { return g.dot(p) + p.dot(B * p) / 2; }

TEST(ConjugatePath, EndsAtTheMinimiserOfAConvexModel) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Rng rng(seed);
    const Eigen::MatrixXd a = DrawSymmetric(rng), B = a * a + Eigen::MatrixXd::Identity(kDimension, kDimension);
    const Vector g = DrawNormal(rng, kDimension), minimiser = -SolveDense(B, g);
    const ConjugatePath path(g, ProductsWith(B), {.tolerance = 1e-10, .max_products = 100, .radius = 1e3});
    EXPECT_FALSE(path.on_rim());
    EXPECT_FALSE(path.met_negative_curvature());
    EXPECT_LT((path.At(path.length()).p - minimiser).norm(), 1e-7 * minimiser.norm()) << seed;
  }
}

TEST(ConjugatePath, FollowsNegativeCurvatureToTheRim) {
  int negative = 0;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Rng rng(seed);
    const Eigen::MatrixXd B = DrawSymmetric(rng);  // indefinite
    const ConjugatePath path(DrawNormal(rng, kDimension), ProductsWith(B), {.max_products = 100, .radius = 1e3});
    EXPECT_TRUE(path.met_negative_curvature());
    EXPECT_TRUE(path.on_rim());
    EXPECT_NEAR(path.At(path.length()).p.norm(), 1e3, 1e-9);
    negative += path.met_negative_curvature();
  }
  EXPECT_EQ(negative, 50);
}

TEST(ConjugatePath, AShorterPointIsWhereASmallerRegionWouldHaveEnded) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const Eigen::MatrixXd B = DrawSymmetric(rng) + 3 * Eigen::MatrixXd::Identity(kDimension, kDimension);
    const Vector g = DrawNormal(rng, kDimension);
    int products = 0;
    const ConjugatePath whole(g, ProductsWith(B, &products), {.tolerance = 1e-8, .max_products = 30, .radius = 2});
    EXPECT_LE(products, 30);
    double before = 0;
    for (const double share : {1e-3, 0.1, 0.4, 0.8, 1.0}) {
      const double radius = share * whole.length();
      const ConjugatePath smaller(g, ProductsWith(B), {.tolerance = 1e-8, .max_products = 30, .radius = radius});
      const ConjugatePath::Point point = whole.At(radius);
      EXPECT_NEAR(point.p.norm(), radius, 1e-12);
      EXPECT_LT((point.p - smaller.At(smaller.length()).p).norm(), 1e-6);
      EXPECT_NEAR(point.value, Model(B, g, point.p), 1e-10);
      EXPECT_LT(point.value, before);
      before = point.value;
    }
  }
}

TEST(ConjugatePath, AnInterruptionKeepsWhatWasReached) {
  const Eigen::MatrixXd B = Vector::LinSpaced(kDimension, 1, 10).asDiagonal();
  int left = 3;
  const ConjugatePath path(Vector::Ones(kDimension),
                           [&](const Vector& v) -> std::optional<Vector> {
                             if (left-- == 0) return std::nullopt;
                             return Vector(B * v);
                           },
                           {.tolerance = 1e-12, .max_products = 100, .radius = 10});
  EXPECT_GT(path.length(), 0);
  EXPECT_LT(path.At(path.length()).value, 0);
  const ConjugatePath none(Vector::Ones(kDimension), [](const Vector&) { return std::nullopt; }, {});
  EXPECT_EQ(none.length(), 0);
}

}  // namespace
}  // namespace bilevel::testing
