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

TEST(ParameterMap, ExtremeParametersDoNotBreakBoundedMaps) {
  const auto map =
      ParameterMap::Create(4, {{1, MapKind::kSigmoid, 1}, {2, MapKind::kSoftmax, 1}, {1, MapKind::kTanh, 1}});
  const Vector x{{-800.0, 1e6, -1e6, 1e6}};
  EXPECT_TRUE(map->Apply(x).allFinite());
  EXPECT_TRUE(map->Pullback(x, Vector::Ones(4)).allFinite());
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
