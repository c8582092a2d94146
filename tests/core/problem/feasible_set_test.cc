#include "core/problem/feasible_set.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/random_problem.h"

namespace bilevel::testing {
namespace {

using ::testing::HasSubstr;

FeasibleSet Make(int n, std::vector<FeasibleBlock> blocks) {
  auto set = FeasibleSet::Create(n, std::move(blocks));
  EXPECT_TRUE(set.ok()) << set.status();
  return *std::move(set);
}

TEST(FeasibleSet, ProjectionOntoTheSimplexIsFeasibleAndNoFeasiblePointIsNearer) {
  const FeasibleSet set = Make(6, {{6, Simplex{2.5}}});
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Rng rng(seed);
    const Vector x = DrawNormal(rng, 6, 3), p = set.Project(x);
    EXPECT_NEAR(p.sum(), 2.5, 1e-12);
    EXPECT_GE(p.minCoeff(), 0);
    // Variational inequality: (x - p).(q - p) <= 0 for all feasible q; vertices suffice.
    for (int i = 0; i < 6; ++i) EXPECT_LE((x - p).dot(2.5 * Vector::Unit(6, i) - p), 1e-11);
    EXPECT_LT((set.Project(p) - p).norm(), 1e-12);
  }
}

TEST(FeasibleSet, BoxAndProximalMapOfTheOneNormHaveTheirClosedForms) {
  const double inf = std::numeric_limits<double>::infinity();
  const FeasibleSet set = Make(5, {{2, Box{Vector{{-1.0, -inf}}, Vector{{1.0, 0.5}}}}, {3, Unconstrained{}}});
  EXPECT_FALSE(set.unconstrained());
  EXPECT_EQ(set.Project(Vector{{-4.0, 2.0, 9.0, -9.0, 0.1}}), (Vector{{-1.0, 0.5, 9.0, -9.0, 0.1}}));
  EXPECT_EQ(set.Prox(Vector{{-4.0, 2.0, 9.0, -9.0, 0.1}}, 1), (Vector{{-1.0, 0.5, 8.0, -8.0, 0.0}}));
}

TEST(FeasibleSet, RefusesBadBlocksByName) {
  auto message = [](int n, std::vector<FeasibleBlock> blocks) {
    return std::string(FeasibleSet::Create(n, std::move(blocks)).status().message());
  };
  EXPECT_THAT(message(2, {{2, Box{Vector{{1.0, 0.0}}, Vector{{0.0, 1.0}}}}}),
              HasSubstr("[0].box.lower: entry 0 is 1; must be <= upper = 0"));
  EXPECT_THAT(message(2, {{2, Box{Vector{{0.0, std::nan("")}}, Vector{{1.0, 1.0}}}}}), HasSubstr("entry 1 is nan"));
  EXPECT_THAT(message(2, {{2, Box{Vector{{0.0}}, Vector{{1.0, 1.0}}}}}), HasSubstr("has 1 entries"));
  EXPECT_THAT(message(2, {{2, Simplex{0}}}), HasSubstr("[0].simplex.total: is 0; must be finite and > 0"));
  EXPECT_THAT(message(3, {{2, Simplex{1}}}), HasSubstr("sizes sum to 2; must sum to num_parameters = 3"));
}

}  // namespace
}  // namespace bilevel::testing
