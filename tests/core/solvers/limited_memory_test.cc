#include "core/solvers/limited_memory.h"

#include <cmath>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/dense_algebra.h"
#include "tests/support/random_problem.h"

namespace bilevel::testing {
namespace {

using ::testing::HasSubstr;

// Pairs of a random convex quadratic, of very different lengths, as they are near convergence.
struct Pairs {
  Eigen::MatrixXd steps, changes;  // [n, k]
};

Pairs DrawPairs(Rng& rng, Eigen::Index n, Eigen::Index k) {
  const Eigen::MatrixXd root = DrawNormal(rng, n * n).reshaped(n, n);
  Pairs pairs{DrawNormal(rng, n * k).reshaped(n, k), {}};
  for (Eigen::Index i = 0; i < k; ++i) pairs.steps.col(i) *= std::pow(10.0, -static_cast<double>(i));
  pairs.changes = root * root.transpose() * pairs.steps + 0.1 * pairs.steps;
  return pairs;
}

// BFGS, one pair after the other, on a dense matrix.
Eigen::MatrixXd DenseBfgs(const Pairs& pairs) {
  const Eigen::Index n = pairs.steps.rows(), last = pairs.steps.cols() - 1;
  Eigen::MatrixXd B = pairs.changes.col(last).squaredNorm() / pairs.steps.col(last).dot(pairs.changes.col(last)) *
                      Eigen::MatrixXd::Identity(n, n);
  for (Eigen::Index i = 0; i <= last; ++i) {
    const Vector s = pairs.steps.col(i), y = pairs.changes.col(i), Bs = B * s;
    B += y * y.transpose() / s.dot(y) - Bs * Bs.transpose() / s.dot(Bs);
  }
  return B;
}

TEST(LimitedMemory, IsWhatBfgsMakesOfTheLastPairs) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const Eigen::Index n = 3 + static_cast<Eigen::Index>(rng.Below(6)), k = 1 + static_cast<Eigen::Index>(rng.Below(6));
    const int memory = 1 + static_cast<int>(rng.Below(4));
    const Pairs pairs = DrawPairs(rng, n, k);
    LimitedMemory model(memory, {});
    for (Eigen::Index i = 0; i < k; ++i) EXPECT_TRUE(model.Add(pairs.steps.col(i), pairs.changes.col(i)));
    const Eigen::Index kept = std::min<Eigen::Index>(k, memory);
    EXPECT_EQ(model.state().steps, pairs.steps.rightCols(kept));
    EXPECT_EQ(model.state().gradient_changes, pairs.changes.rightCols(kept));
    const Eigen::MatrixXd B = DenseBfgs({pairs.steps.rightCols(kept), pairs.changes.rightCols(kept)});
    const Vector v = DrawNormal(rng, n);
    EXPECT_LT((model.Multiply(v) - B * v).norm(), 1e-8 * B.norm());
    EXPECT_LT((model.Solve(B * v) - v).norm(), 1e-8 * B.norm() * Inverse(B).norm());
    const LimitedMemory again(memory, model.state());
    EXPECT_EQ(again.Multiply(v), model.Multiply(v));
    EXPECT_EQ(again.scale(), model.scale());
  }
}

TEST(LimitedMemory, RefusesPairsThatDoNotCurveUp) {
  LimitedMemory model(3, {});
  EXPECT_FALSE(model.Add(Vector{{1.0, 0.0}}, Vector{{-1.0, 0.0}}));
  EXPECT_FALSE(model.Add(Vector{{1.0, 0.0}}, Vector{{1e-11, 1.0}}));
  EXPECT_FALSE(model.Add(Vector{{0.0, 0.0}}, Vector{{1.0, 1.0}}));
  EXPECT_FALSE(model.Add(Vector{{1.0, 0.0}}, Vector{{std::nan(""), 1.0}}));
  EXPECT_TRUE(model.empty());
  EXPECT_TRUE(model.Add(Vector{{1.0, 0.0}}, Vector{{1e-9, 1.0}}));
  model.Clear();
  EXPECT_TRUE(model.empty());
}

TEST(QuasiNewtonState, RefusesWhatIsNoModelByName) {
  const auto message = [](const Eigen::MatrixXd& steps, const Eigen::MatrixXd& changes) {
    return std::string(QuasiNewtonState{steps, changes}.Validate().message());
  };
  const Eigen::MatrixXd pair = Eigen::MatrixXd::Ones(2, 1);
  EXPECT_EQ(message(pair, pair), "");
  EXPECT_THAT(message(pair, {}), HasSubstr("gradient_changes: is [0, 0]; must have the shape of steps, [1, 2]"));
  EXPECT_THAT(message(pair * HUGE_VAL, pair), HasSubstr("steps: pair 0 is not finite"));
  EXPECT_THAT(message(pair, -pair),
              HasSubstr("gradient_changes: pair 0: its product with the step is -2; must be > 1e-10 times"));
}

}  // namespace
}  // namespace bilevel::testing
