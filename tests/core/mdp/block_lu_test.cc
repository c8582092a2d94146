#include "core/mdp/block_lu.h"

#include <algorithm>
#include <cmath>

#include "Eigen/Core"
#include "gtest/gtest.h"
#include "tests/support/dense_algebra.h"
#include "tests/support/random_problem.h"

namespace bilevel::testing {
namespace {

// A random substochastic P within the band.
Eigen::MatrixXd DrawTransitions(Rng& rng, int size, int bandwidth) {
  Eigen::MatrixXd P = Eigen::MatrixXd::Zero(size, size);
  for (int i = 0; i < size; ++i) {
    for (int j = std::max(0, i - bandwidth); j <= std::min(size - 1, i + bandwidth); ++j) P(i, j) = rng.Uniform();
    P.row(i) /= P.row(i).sum();
  }
  return P;
}

// I - gamma P, entry by entry.
BlockLu Fill(const Eigen::MatrixXd& P, int bandwidth, double gamma) {
  BlockLu lu(P.rows(), bandwidth);
  for (Eigen::Index i = 0; i < P.rows(); ++i) {
    for (Eigen::Index j = 0; j < P.cols(); ++j) {
      if (std::abs(i - j) <= bandwidth) lu(i, j) = (i == j ? 1 : 0) - gamma * P(i, j);
    }
  }
  return lu;
}

// Sizes to either side of whole blocks, and bands that end inside a block.
TEST(BlockLu, AgreesWithPivotedLuAtEveryBandwidth) {
  Rng rng(1);
  for (const int size : {1, 2, 5, 7, 8, 9, 16, 17, 40, 63}) {
    for (int bandwidth = 0; bandwidth < size; bandwidth += 1 + size / 9) {
      for (const double gamma : {0.0, 0.5, 0.99, 0.99999}) {
        const Eigen::MatrixXd P = DrawTransitions(rng, size, bandwidth);
        const Eigen::MatrixXd A = Eigen::MatrixXd::Identity(size, size) - gamma * P;
        BlockLu lu = Fill(P, bandwidth, gamma);
        ASSERT_TRUE(lu.Factorize());
        const Vector b = DrawNormal(rng, size);
        const double scale = 1e-14 / (1 - gamma) * (1 + b.norm());
        EXPECT_LE((lu.Solve(b) - SolveDense(A, b)).norm(), scale / (1 - gamma));
        EXPECT_LE((lu.SolveTransposed(b) - SolveDense(A.transpose(), b)).norm(), scale / (1 - gamma));
        EXPECT_LE((A * lu.Solve(b) - b).norm(), scale) << size << " " << bandwidth << " " << gamma;
        EXPECT_LE((A.transpose() * lu.SolveTransposed(b) - b).norm(), size * scale);
      }
    }
  }
}

TEST(BlockLu, IsFilledAtOnceAsEntryByEntryAndUsedAgain) {
  Rng rng(2);
  for (const auto& [size, bandwidth] : {std::pair(6, 5), {8, 2}, {21, 20}, {40, 9}}) {
    const Eigen::MatrixXd P = DrawTransitions(rng, size, bandwidth), other = DrawTransitions(rng, size, bandwidth);
    const Vector b = DrawNormal(rng, size);
    BlockLu one = Fill(P, bandwidth, 0.9), all(size, bandwidth);
    all.SetIdentityMinus(0.5, other);
    ASSERT_TRUE(all.Factorize());
    all.SetIdentityMinus(0.9, P);
    ASSERT_TRUE(one.Factorize() && all.Factorize());
    EXPECT_EQ(one.Solve(b), all.Solve(b));
    all.SetZero();
    for (int i = 0; i < size; ++i) all(i, i) = 2;
    ASSERT_TRUE(all.Factorize());
    EXPECT_EQ(all.Solve(b), 0.5 * b);
    EXPECT_EQ(all.SolveTransposed(b), 0.5 * b);
  }
}

TEST(BlockLu, HasTheSameBitsInEveryInstructionSet) {
  Rng rng(3);
  for (const auto& [size, bandwidth] : {std::pair(5, 4), {40, 39}, {75, 11}}) {
    const Eigen::MatrixXd P = DrawTransitions(rng, size, bandwidth);
    const Vector b = DrawNormal(rng, size);
    BlockLu portable = Fill(P, bandwidth, 0.95);
    ASSERT_TRUE(portable.Factorize(InstructionSet::kPortable));
    const Vector x = portable.Solve(b, InstructionSet::kPortable);
    const Vector z = portable.SolveTransposed(b, InstructionSet::kPortable);
    for (const InstructionSet set : kInstructionSets) {
      if (!Supports(set)) continue;
      BlockLu lu = Fill(P, bandwidth, 0.95);
      ASSERT_TRUE(lu.Factorize(set));
      EXPECT_EQ(lu.Solve(b, set), x);
      EXPECT_EQ(lu.SolveTransposed(b, set), z);
    }
  }
}

TEST(BlockLu, RefusesAMatrixWithoutPositivePivots) {
  BlockLu singular(2, 1);
  singular(0, 0) = singular(0, 1) = singular(1, 0) = singular(1, 1) = 1;
  EXPECT_FALSE(singular.Factorize());
  BlockLu late(20, 3);
  for (int i = 0; i < 20; ++i) late(i, i) = i == 17 ? -1 : 1;
  EXPECT_FALSE(late.Factorize());
  BlockLu unknown(1, 0);
  unknown(0, 0) = std::nan("");
  EXPECT_FALSE(unknown.Factorize());
}

}  // namespace
}  // namespace bilevel::testing
