#include "core/mdp/banded_lu.h"

#include <algorithm>
#include <cmath>

#include "Eigen/Core"
#include "gtest/gtest.h"
#include "tests/support/dense_algebra.h"
#include "tests/support/random_problem.h"

namespace bilevel::testing {
namespace {

// I - gamma P for a random substochastic P within the band.
Eigen::MatrixXd DrawSystem(Rng& rng, int size, int bandwidth, double gamma) {
  Eigen::MatrixXd A = Eigen::MatrixXd::Identity(size, size);
  for (int i = 0; i < size; ++i) {
    Vector row = Vector::Zero(size);
    for (int j = std::max(0, i - bandwidth); j <= std::min(size - 1, i + bandwidth); ++j) row[j] = rng.Uniform();
    A.row(i) -= gamma / row.sum() * row.transpose();
  }
  return A;
}

BandedLu Fill(const Eigen::MatrixXd& A, int bandwidth) {
  BandedLu lu(A.rows(), bandwidth);
  for (Eigen::Index i = 0; i < A.rows(); ++i) {
    for (Eigen::Index j = 0; j < A.cols(); ++j) {
      if (std::abs(i - j) <= bandwidth) lu(i, j) = A(i, j);
    }
  }
  return lu;
}

TEST(BandedLu, AgreesWithPivotedLuAtEveryBandwidth) {
  Rng rng(1);
  for (const int size : {1, 2, 5, 17, 40}) {
    for (int bandwidth = 0; bandwidth < size; bandwidth += 1 + size / 6) {
      for (const double gamma : {0.0, 0.5, 0.99, 0.99999}) {
        const Eigen::MatrixXd A = DrawSystem(rng, size, bandwidth, gamma);
        BandedLu lu = Fill(A, bandwidth);
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

TEST(BandedLu, RefusesAMatrixWithoutPositivePivots) {
  BandedLu singular(2, 1);
  singular(0, 0) = singular(0, 1) = singular(1, 0) = singular(1, 1) = 1;
  EXPECT_FALSE(singular.Factorize());
  BandedLu unknown(1, 0);
  unknown(0, 0) = std::nan("");
  EXPECT_FALSE(unknown.Factorize());
}

}  // namespace
}  // namespace bilevel::testing
