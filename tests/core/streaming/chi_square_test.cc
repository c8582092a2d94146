#include "core/base/chi_square.h"

#include <cmath>

#include "gtest/gtest.h"

namespace bilevel::testing {
namespace {

double Relative(double found, double exact) { return std::abs(found - exact) / exact; }

TEST(ChiSquareTail, IsTheClosedFormOfOneDegree) {
  for (const double x : {1e-8, 0.01, 0.5, 1.0, 2.9, 3.1, 10.0, 100.0, 1000.0}) {
    EXPECT_LT(Relative(ChiSquareTail(x, 1), std::erfc(std::sqrt(x / 2))), 1e-11) << x;
  }
}

// Of k = 2 m degrees: the probability that a Poisson variable of mean x/2 is below m.
TEST(ChiSquareTail, IsPoissonsSumForEvenDegrees) {
  for (const int64_t degrees : {2, 4, 10, 40, 200}) {
    for (const double share : {0.1, 0.7, 0.99, 1.01, 1.5, 3.0}) {
      const double y = share * static_cast<double>(degrees) / 2;
      double term = std::exp(-y), sum = 0;
      for (int64_t m = 0; m < degrees / 2; ++m) {
        sum += term;
        term *= y / static_cast<double>(m + 1);
      }
      EXPECT_LT(Relative(ChiSquareTail(2 * y, degrees), sum), 1e-11) << degrees << " " << y;
    }
  }
}

// Gamma(a + 1, y) = a Gamma(a, y) + y^a e^-y.
TEST(ChiSquareTail, FollowsTheRecursionOverDegrees) {
  for (const int64_t degrees : {1, 3, 15, 99, 1001}) {
    for (const double share : {0.5, 0.9, 1.2, 2.0}) {
      const double a = static_cast<double>(degrees) / 2, y = share * a;
      const double step = std::exp(a * std::log(y) - y - std::lgamma(a + 1));
      EXPECT_NEAR(ChiSquareTail(2 * y, degrees + 2) - ChiSquareTail(2 * y, degrees), step, 1e-11) << degrees;
    }
  }
}

// Abramowitz, Stegun (1964), table 26.8.
TEST(ChiSquareTail, IsAsTabulated) {
  EXPECT_NEAR(ChiSquareTail(3.84146, 1), 0.05, 1e-6);
  EXPECT_NEAR(ChiSquareTail(18.3070, 10), 0.05, 1e-6);
  EXPECT_NEAR(ChiSquareTail(124.342, 100), 0.05, 1e-6);
  EXPECT_NEAR(ChiSquareTail(20.5150, 5), 0.001, 1e-6);
}

TEST(ChiSquareTail, IsNormalForManyDegreesAndHasLimits) {
  const double k = 1e6;
  for (const double z : {-2.0, 0.0, 2.0}) {
    // Wilson and Hilferty (1931).
    const double x = k * std::pow(1 - 2 / (9 * k) + z * std::sqrt(2 / (9 * k)), 3);
    EXPECT_NEAR(ChiSquareTail(x, 1'000'000), 0.5 * std::erfc(z / std::sqrt(2.0)), 1e-5);
  }
  EXPECT_EQ(ChiSquareTail(0, 3), 1);
  EXPECT_EQ(ChiSquareTail(1e6, 3), 0);
}

}  // namespace
}  // namespace bilevel::testing
