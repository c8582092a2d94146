#include "core/base/chi_square.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace bilevel {
namespace {

constexpr double kHalfLogTwoPi = 0.91893853320467274178;
constexpr double kUnit = std::numeric_limits<double>::epsilon();

// log Gamma(a) by Stirling's series, from where it is good to rounding. std::lgamma writes a global.
double LogGamma(double a) {
  double shift = 0;
  while (a < 16) {
    shift += std::log(a);
    a += 1;
  }
  const double i = 1 / a, i2 = i * i;
  const double series = i * (1.0 / 12 - i2 * (1.0 / 360 - i2 * (1.0 / 1260 - i2 * (1.0 / 1680 - i2 / 1188))));
  return (a - 0.5) * std::log(a) - a + kHalfLogTwoPi + series - shift;
}

// y^a e^-y / Gamma(a).
double Front(double a, double y) { return std::exp(a * std::log(y) - y - LogGamma(a)); }

double LowerBySeries(double a, double y) {
  double term = 1 / a, sum = term;
  for (double n = a + 1; term > sum * kUnit; n += 1) sum += term *= y / n;
  return Front(a, y) * sum;
}

// Lentz's method; y > a + 1, so that denominators stay positive.
double UpperByFraction(double a, double y) {
  double b = y + 1 - a, c = 1 / std::numeric_limits<double>::min(), d = 1 / b, value = d;
  for (double n = 1;; ++n) {
    const double numerator = -n * (n - a);
    b += 2;
    d = 1 / (numerator * d + b);
    c = b + numerator / c;
    const double factor = c * d;
    value *= factor;
    if (std::abs(factor - 1) <= 2 * kUnit || !(n < 1e7)) return Front(a, y) * value;
  }
}

}  // namespace

double ChiSquareTail(double x, int64_t degrees) {
  const double a = 0.5 * static_cast<double>(degrees), y = 0.5 * x;
  if (!(y > 0)) return 1;
  if (std::isinf(y)) return 0;
  return y < a + 1 ? std::max(0.0, 1 - LowerBySeries(a, y)) : UpperByFraction(a, y);
}

}  // namespace bilevel
