#include "core/problem/parameter_map.h"

#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/random_problem.h"

namespace bilevel::testing {
namespace {

using ::testing::HasSubstr;

TEST(ParameterMap, ValuesAreTheirFormulas) {
  const auto map = ParameterMap::Create(7, {{1, MapKind::kIdentity, 2},
                                            {1, MapKind::kSigmoid, -3},
                                            {3, MapKind::kSoftmax, 2},
                                            {1, MapKind::kExp, 1},
                                            {1, MapKind::kTanh, 0.5}});
  ASSERT_TRUE(map.ok());
  const Vector theta = map->Apply(Vector{{1.5, 0.0, 0.0, std::log(2.0), 0.0, 1.0, 2.0}});
  EXPECT_DOUBLE_EQ(theta[0], 3);
  EXPECT_DOUBLE_EQ(theta[1], -1.5);
  EXPECT_DOUBLE_EQ(theta[2], 0.5);
  EXPECT_DOUBLE_EQ(theta[3], 1);
  EXPECT_DOUBLE_EQ(theta[5], std::exp(1));
  EXPECT_DOUBLE_EQ(theta[6], 0.5 * std::tanh(2.0));
}

TEST(ParameterMap, PullbackIsTheTransposedJacobianAndItsRadiusUsesAbsoluteValues) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const ProblemNumbers numbers = DrawProblem(rng);
    const BilevelProblem problem = Build(numbers);
    const int n = numbers.num_parameters;
    const Vector x = DrawNormal(rng, n), g = DrawNormal(rng, n);
    Eigen::MatrixXd J(n, n);
    for (int j = 0; j < n; ++j) {
      const Vector h = 1e-6 * Vector::Unit(n, j);
      J.col(j) = (problem.map.Apply(x + h) - problem.map.Apply(x - h)) / 2e-6;
    }
    EXPECT_LT((problem.map.Pullback(x, g) - J.transpose() * g).norm(), 1e-8 * (1 + g.norm()));
    EXPECT_LT((problem.map.PullbackRadius(x, g.cwiseAbs()) - J.cwiseAbs().transpose() * g.cwiseAbs()).norm(),
              1e-8 * (1 + g.norm()));
  }
}

// The maps and their pullbacks in long double, entry by entry.
using Wide = Eigen::Matrix<long double, Eigen::Dynamic, 1>;

Wide WideSoftmax(const Wide& x) {
  const Wide e = (x.array() - x.maxCoeff()).exp();
  return e / e.sum();
}

TEST(ParameterMap, RoundingBoundsCoverSoftmaxOverDistantAndManyEntries) {
  double largest = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const int n = 1 + static_cast<int>(40 * rng.Uniform());
    const double spread = std::pow(10.0, 3 * rng.Uniform());
    const auto map = ParameterMap::Create(n, {{n, MapKind::kSoftmax, -2.5}});
    ASSERT_TRUE(map.ok());
    const Vector x = spread * DrawNormal(rng, n), g = DrawNormal(rng, n);
    const Vector theta = map->Apply(x), pulled = map->Pullback(x, g);
    const Wide p = WideSoftmax(x.cast<long double>());
    const Wide wide_g = g.cast<long double>();
    const Wide exact = -2.5L * p, exact_pulled = -2.5L * p.array() * (wide_g.array() - p.dot(wide_g));
    const Vector error = (exact - theta.cast<long double>()).cwiseAbs().cast<double>();
    const Vector pulled_error = (exact_pulled - pulled.cast<long double>()).cwiseAbs().cast<double>();
    const Vector bound = map->BoundRounding(x, theta), pulled_bound = map->BoundPullbackRounding(x, g.cwiseAbs());
    EXPECT_TRUE((error.array() <= bound.array()).all());
    EXPECT_TRUE((pulled_error.array() <= pulled_bound.array()).all());
    EXPECT_LE(bound.maxCoeff(), 1e-12);
    for (int i = 0; i < n; ++i) {
      if (theta[i] != 0) largest = std::max(largest, error[i] / std::abs(theta[i]));
    }
  }
  EXPECT_GT(largest, 32 * 0x1p-53);  // a bound that knows nothing of the spread would be wrong
}

TEST(ParameterMap, RoundingBoundsCoverComponentwiseMaps) {
  const auto map = ParameterMap::Create(
      4, {{1, MapKind::kIdentity, 0.3}, {1, MapKind::kSigmoid, -3}, {1, MapKind::kExp, 0.7}, {1, MapKind::kTanh, 1.9}});
  ASSERT_TRUE(map.ok());
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const Vector x = std::pow(10.0, 3 * rng.Uniform() - 1) * DrawNormal(rng, 4);
    if (x[2] > 700) continue;
    const Wide w = x.cast<long double>();
    const Wide exact{{0.3 * w[0], -3 / (1 + std::exp(-w[1])), static_cast<long double>(0.7) * std::exp(w[2]),
                      static_cast<long double>(1.9) * std::tanh(w[3])}};
    const long double sech = 1 / std::cosh(w[3]), e = std::exp(-std::abs(w[1]));
    const Wide slopes{{0.3, -3 * e / ((1 + e) * (1 + e)), exact[2], static_cast<long double>(1.9) * sech * sech}};
    const Vector theta = map->Apply(x), pulled = map->Pullback(x, Vector::Ones(4));
    const Vector bound = map->BoundRounding(x, theta), pulled_bound = map->BoundPullbackRounding(x, Vector::Ones(4));
    for (int i = 0; i < 4; ++i) {
      EXPECT_LE(std::abs(exact[i] - theta[i]), bound[i]) << i;
      EXPECT_LE(std::abs(slopes[i] - pulled[i]), pulled_bound[i]) << i;
    }
  }
}

TEST(ParameterMap, ExtremeParametersDoNotBreakBoundedMaps) {
  const auto map =
      ParameterMap::Create(4, {{1, MapKind::kSigmoid, 1}, {2, MapKind::kSoftmax, 1}, {1, MapKind::kTanh, 1}});
  const Vector x{{-800.0, 1e6, -1e6, 1e6}};
  EXPECT_TRUE(map->Apply(x).allFinite());
  EXPECT_TRUE(map->Pullback(x, Vector::Ones(4)).allFinite());
  const Vector farthest{{-800.0, 1e308, -1e308, 1e6}};
  EXPECT_LT(map->BoundRounding(farthest, map->Apply(farthest)).maxCoeff(), 1e-12);
  EXPECT_LT(map->BoundPullbackRounding(farthest, Vector::Ones(4)).maxCoeff(), 1e-12);
}

TEST(ParameterMap, RefusesBadGroupsByName) {
  EXPECT_THAT(std::string(ParameterMap::Create(2, {{3, MapKind::kExp, 1}}).status().message()),
              HasSubstr("sizes sum to 3; must sum to num_parameters = 2"));
  EXPECT_THAT(std::string(ParameterMap::Create(2, {{0, MapKind::kExp, 1}}).status().message()),
              HasSubstr("[0].size: is 0; must be >= 1"));
  EXPECT_THAT(
      std::string(
          ParameterMap::Create(1, {{1, MapKind::kExp, std::numeric_limits<double>::infinity()}}).status().message()),
      HasSubstr("[0].scale: is inf; must be finite"));
}

}  // namespace
}  // namespace bilevel::testing
