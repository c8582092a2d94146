#include "core/base/lanes.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/base/floating_point.h"
#include "core/base/rng.h"
#include "gtest/gtest.h"

namespace bilevel {
namespace {

using Numbers = std::array<double, kLanes>;

// function(lanes) by registers of each width: the same bits.
template <typename Function>
Numbers ByLanes(Function function, const Numbers& x) {
  const auto by = [&](auto lanes) {
    ReadLanes(x.data(), lanes);
    function(lanes);
    Numbers y;
    WriteLanes(lanes, y.data());
    return y;
  };
  const Numbers twos = by(LanesInTwos());
  const auto bits = [](const Numbers& numbers) { return std::bit_cast<std::array<uint64_t, kLanes>>(numbers); };
  EXPECT_EQ(bits(by(LanesInFours())), bits(twos));
  EXPECT_EQ(bits(by(LanesInEights())), bits(twos));
  return twos;
}

// Largest relative error, in units of roundoff, over many x that draw() gives.
template <typename Draw, typename Function, typename Exact>
double LargestRelativeError(Draw draw, Function function, Exact exact) {
  Rng rng(1);
  double largest = 0;
  for (int i = 0; i < 40000; ++i) {
    Numbers x;
    for (double& number : x) number = draw(rng);
    const Numbers y = ByLanes(function, x);
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const long double truth = exact(static_cast<long double>(x[lane]));
      const long double error = std::fabs(y[lane] - truth) / std::fabs(truth);
      largest = std::max(largest, truth == 0 ? std::fabs(y[lane]) : static_cast<double>(error / kUnitRoundoff));
    }
  }
  return largest;
}

TEST(Lanes, ExpErrsByLessThanTwoUnitsWhereverItIsNormal) {
  const auto exp = [](auto& x) { Exp(x); };
  const auto exact = [](long double x) { return std::exp(x); };
  EXPECT_LT(LargestRelativeError([](Rng& rng) { return -rng.Uniform(); }, exp, exact), 2);
  EXPECT_LT(LargestRelativeError([](Rng& rng) { return kLeastExponent * rng.Uniform(); }, exp, exact), 2);
  EXPECT_LT(LargestRelativeError([](Rng& rng) { return -std::exp(-40 * rng.Uniform()); }, exp, exact), 2);
}

TEST(Lanes, LogErrsByLessThanTwoUnits) {
  const auto log = [](auto& x) { Log(x); };
  const auto exact = [](long double x) { return std::log(x); };
  EXPECT_LT(LargestRelativeError([](Rng& rng) { return 1 + 3 * rng.Uniform(); }, log, exact), 2);
  EXPECT_LT(LargestRelativeError([](Rng& rng) { return 1 + std::exp(-30 * rng.Uniform()); }, log, exact), 2);
  EXPECT_LT(LargestRelativeError([](Rng& rng) { return std::exp(600 * (rng.Uniform() - 0.5)); }, log, exact), 2);
}

TEST(Lanes, SpecialNumbers) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Numbers numbers = {0,          -0.0, kLeastExponent, std::nextafter(kLeastExponent, -kInfinity), -1e5,
                           -kInfinity, nan,  -1e-300};
  const Numbers x = ByLanes([](auto& lanes) { Exp(lanes); }, numbers);
  EXPECT_EQ(x[0], 1);
  EXPECT_EQ(x[1], 1);
  EXPECT_GE(x[2], std::numeric_limits<double>::min());
  EXPECT_EQ(x[3], 0);
  EXPECT_EQ(x[4], 0);
  EXPECT_EQ(x[5], 0);
  EXPECT_TRUE(std::isnan(x[6]));
  EXPECT_EQ(x[7], 1);
  EXPECT_EQ(ByLanes([](auto& lanes) { Log(lanes); }, {1, 1, 1, 1, 1, 1, 1, 1}), Numbers());
}

}  // namespace
}  // namespace bilevel
