#include "core/streaming/homogeneity.h"

#include <algorithm>
#include <cmath>

#include "core/base/chi_square.h"
#include "core/base/rng.h"
#include "gtest/gtest.h"

namespace bilevel::testing {
namespace {

Homogeneity::Result Compare(const std::vector<PairedCount>& kinds) {
  Homogeneity test;
  test.Add(kinds);
  return test.Find();
}

double Choose(int n, int k) { return std::exp(std::lgamma(n + 1.0) - std::lgamma(k + 1.0) - std::lgamma(n - k + 1.0)); }

// Both samples against 18 to 12 of 30: N (ad - bc)^2 / (products of margins), times (N - 1)/N.
TEST(Homogeneity, IsPearsonsStatisticOfAFourfoldTable) {
  const auto found = Compare({{12, 6}, {4, 8}});
  EXPECT_EQ(found.degrees, 1);
  EXPECT_NEAR(found.statistic, 29.0 * (12 * 8 - 6 * 4) * (12 * 8 - 6 * 4) / (18.0 * 12 * 16 * 14), 1e-12);
  EXPECT_GE(found.p_value, ChiSquareTail(found.statistic, 1));
}

// Given the margins, over all tables by their hypergeometric law.
TEST(Homogeneity, HasItsDegreesAsMeanGivenTheMargins) {
  constexpr int kFirst = 14, kSecond = 12, kThird = 16, kNow = 18;
  double mean = 0, all = 0;
  for (int i = 0; i <= kFirst; ++i) {
    for (int j = 0; j <= kSecond; ++j) {
      const int k = kNow - i - j;
      if (k < 0 || k > kThird) continue;
      const double p = Choose(kFirst, i) * Choose(kSecond, j) * Choose(kThird, k) / Choose(42, kNow);
      const auto found =
          Compare({{double(kFirst - i), double(i)}, {double(kSecond - j), double(j)}, {double(kThird - k), double(k)}});
      ASSERT_EQ(found.degrees, 2);
      mean += p * found.statistic;
      all += p;
    }
  }
  EXPECT_NEAR(all, 1, 1e-9);
  EXPECT_NEAR(mean, 2, 1e-8);
}

TEST(Homogeneity, PutsRareKindsTogetherByMarginsAlone) {
  // 60 and 40; a kind needs 12.5 in both samples together: 3 + 10 become one, the last 2 join the rarest.
  const std::vector<PairedCount> kinds = {{30, 20}, {1, 2}, {8, 2}, {20, 15}, {1, 1}};
  const auto pooled = Compare({{30, 20}, {10, 5}, {20, 15}});
  EXPECT_EQ(Compare(kinds).degrees, 2);
  EXPECT_NEAR(Compare(kinds).statistic, pooled.statistic, 1e-12);
}

TEST(Homogeneity, IsTheSameForEitherOrderOfSamples) {
  Rng rng(1);
  Homogeneity one, other;
  for (int stratum = 0; stratum < 50; ++stratum) {
    std::vector<PairedCount> kinds(4), swapped(4);
    for (size_t j = 0; j < 4; ++j) {
      kinds[j] = {double(rng.Below(20)), double(rng.Below(5))};
      swapped[j] = {kinds[j].now, kinds[j].before};
    }
    one.Add(kinds);
    other.Add(swapped);
  }
  EXPECT_EQ(one.Find().degrees, other.Find().degrees);
  EXPECT_NEAR(one.Find().statistic, other.Find().statistic, 1e-10);
  EXPECT_NEAR(one.Find().p_value, other.Find().p_value, 1e-12);
}

// 100 strata of 4 and 4, in which the likelier kind is all of what came before and half of what is now: given 6 of 8,
// expected 3 now, variance 4 4 6 2 / (64 7).
TEST(Homogeneity, ThinStrataShareOneDegree) {
  Homogeneity test;
  for (int stratum = 0; stratum < 100; ++stratum) test.Add(std::vector<PairedCount>{{4, 2}, {0, 2}});
  const double variance = 100.0 * 4 * 4 * 6 * 2 / (64 * 7);
  EXPECT_EQ(test.Find().degrees, 1);
  EXPECT_NEAR(test.Find().statistic, 99.5 * 99.5 / variance, 1e-10);
  // Too few of them tell nothing.
  EXPECT_EQ(Compare({{4, 2}, {0, 2}}).degrees, 0);
  EXPECT_EQ(Compare({{4, 2}, {0, 2}}).p_value, 1);
  EXPECT_EQ(Compare({{50, 0}, {50, 0}}).degrees, 0);
  EXPECT_EQ(Compare({}).degrees, 0);
}

// Strata of every size at once. By Hoeffding's inequality the share of 4000 draws exceeds its mean by more than 0.0294
// with probability 1e-3.
TEST(Homogeneity, PValuesAreUniformOrLarger) {
  constexpr int kDraws = 4000;
  int below_half = 0, below_tenth = 0, below_hundredth = 0;
  for (int draw = 0; draw < kDraws; ++draw) {
    Rng rng(2, static_cast<uint64_t>(draw));
    Homogeneity test;
    for (const int now : {1, 2, 3, 3, 4, 6, 10, 20, 40}) {
      const double p = 0.2 + 0.6 * rng.Uniform(), q = (1 - p) * 0.8 * rng.Uniform();
      const auto kind = [&] {
        const double u = rng.Uniform();
        return u < p ? 0 : u < p + q ? 1 : 2;
      };
      std::vector<PairedCount> kinds(3);
      for (int i = 0; i < now; ++i) kinds[kind()].now += 1;
      for (int i = 0; i < 3 * now; ++i) kinds[kind()].before += 1;
      test.Add(kinds);
    }
    const double p_value = test.Find().p_value;
    below_half += p_value < 0.5 ? 1 : 0;
    below_tenth += p_value < 0.1 ? 1 : 0;
    below_hundredth += p_value < 0.01 ? 1 : 0;
  }
  EXPECT_LT(below_half, kDraws * (0.5 + 0.0294));
  EXPECT_LT(below_tenth, kDraws * 0.1 + 3.1 * std::sqrt(kDraws * 0.09));
  EXPECT_LT(below_hundredth, kDraws * 0.01 + 3.1 * std::sqrt(kDraws * 0.0099));
  EXPECT_GT(below_half, kDraws * 0.3);  // and not so much larger that nothing would be seen
}

}  // namespace
}  // namespace bilevel::testing
