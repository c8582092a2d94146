#include "core/solvers/model_step.h"

#include "gtest/gtest.h"
#include "tests/support/random_problem.h"
#include "tests/support/reference_program.h"

namespace bilevel::testing {
namespace {

LimitedMemory DrawModel(Rng& rng, int n) {
  const Eigen::MatrixXd root = DrawNormal(rng, n * n).reshaped(n, n);
  LimitedMemory model(3, {});
  for (int i = 0; i < 3; ++i) {
    const Vector s = DrawNormal(rng, n);
    model.Add(s, root * (root.transpose() * s) + 0.3 * s);
  }
  return model;
}

Eigen::MatrixXd Dense(const LimitedMemory& model, int n) {
  Eigen::MatrixXd B(n, n);
  for (int i = 0; i < n; ++i) B.col(i) = model.Multiply(Vector::Unit(n, i));
  return (B + B.transpose()) / 2;
}

TEST(ModelStep, IsTheMinimiserOfTheModelOverPolyhedra) {
  constexpr int kSize = 3;
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const FeasibleBlock block = DrawBlock(rng, kSize, static_cast<SetKind>(seed % 3));
    const FeasibleSet set = *FeasibleSet::Create(kSize, {block});
    const double l1 = seed % 2 == 0 ? 0 : rng.Uniform();
    const LimitedMemory model = DrawModel(rng, kSize);
    const Vector x = set.Project(DrawNormal(rng, kSize)), gradient = DrawNormal(rng, kSize, 3);
    const Eigen::MatrixXd B = Dense(model, kSize);
    const Vector d = MinimizeModel(model, set, l1, x, gradient, {}, {.tolerance = 1e-11, .max_steps = 20000});
    const auto reference = MinimizeQuadratic(B, B * x - gradient, l1, PolyhedronOf(block));
    ASSERT_TRUE(reference.has_value());
    EXPECT_LT((x + d - *reference).norm(), 1e-7);
  }
}

TEST(ModelStep, PointsDownhillWhereverItStops) {
  constexpr int kSize = 8;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Rng rng(seed);
    const FeasibleSet set =
        *FeasibleSet::Create(kSize, {DrawBlock(rng, 4, SetKind::kBall), DrawBlock(rng, 4, SetKind::kBudget)});
    const double l1 = rng.Uniform();
    const LimitedMemory model = DrawModel(rng, kSize);
    const Vector x = set.Project(DrawNormal(rng, kSize)), gradient = DrawNormal(rng, kSize, 3);
    for (const int steps : {1, 2, 5, 1000}) {
      SCOPED_TRACE(::testing::Message() << "seed " << seed << ", steps " << steps);
      const Vector d = MinimizeModel(model, set, l1, x, gradient, {}, {.tolerance = 1e-10, .max_steps = steps});
      EXPECT_LT((set.Project(x + d) - x - d).norm(), 1e-14);
      const double slope = gradient.dot(d) + l1 * ((x + d).lpNorm<1>() - x.lpNorm<1>());
      EXPECT_LE(slope, -0.5 * d.dot(model.Multiply(d)) + 1e-12);
    }
  }
}

}  // namespace
}  // namespace bilevel::testing
