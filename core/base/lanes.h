// Eight doubles side by side, and their exp and log.
//
// Written for GCC's and Clang's vector types, which every instruction set can run: the same operations in the same
// order, hence the same bits, whether a machine takes two, four or eight at a time. Contraction into fused operations
// must be off where this is included (core's build sets it).
//
// Errors, measured against long double in tests/core/base/lanes_test.cc: Exp and Log within 2 units of roundoff.

#ifndef BILEVEL_CORE_BASE_LANES_H_
#define BILEVEL_CORE_BASE_LANES_H_

#include <cstdint>

namespace bilevel {

inline constexpr int kLanes = 8;

using Lanes = double __attribute__((vector_size(kLanes * sizeof(double)), may_alias));
using FloatLanes = float __attribute__((vector_size(kLanes * sizeof(float)), may_alias));
using LaneBits = int64_t __attribute__((vector_size(kLanes * sizeof(double))));
using LaneWords = uint64_t __attribute__((vector_size(kLanes * sizeof(double))));

// Vectors go by reference: how they travel by value depends on the instruction set.
#define BILEVEL_LANES_INLINE inline __attribute__((always_inline))

// Eight numbers from memory and to it, at any address.
BILEVEL_LANES_INLINE void ReadLanes(const double* from, Lanes& lanes) { __builtin_memcpy(&lanes, from, sizeof lanes); }
BILEVEL_LANES_INLINE void ReadLanes(const float* from, Lanes& lanes) {
  FloatLanes floats;
  __builtin_memcpy(&floats, from, sizeof floats);
  lanes = __builtin_convertvector(floats, Lanes);
}
BILEVEL_LANES_INLINE void WriteLanes(const Lanes& lanes, double* to) { __builtin_memcpy(to, &lanes, sizeof lanes); }
BILEVEL_LANES_INLINE void WriteLanes(const Lanes& lanes, float* to) {
  const FloatLanes floats = __builtin_convertvector(lanes, FloatLanes);
  __builtin_memcpy(to, &floats, sizeof floats);
}

// x <- exp(x) for x <= 0; 0 below kLeastExponent, where the result would not be a normal number; NaN stays NaN.
inline constexpr double kLeastExponent = -708.3964;
BILEVEL_LANES_INLINE void Exp(Lanes& x) {
  // x = n log 2 + r with |r| <= (log 2)/2. Adding and subtracting 1.5 * 2^52 rounds to the nearest integer, which then
  // stands in the low bits. kLog2High has 33 significant bits: its products with n are exact.
  constexpr double kInverseLog2 = 1.4426950408889634, kLog2High = 0x1.62e42fefp-1, kLog2Low = 0x1.473de6af278edp-34;
  constexpr double kRound = 6755399441055744.0;
  const Lanes shifted = x * kInverseLog2 + kRound;
  const Lanes n = shifted - kRound;
  const Lanes r = (x - n * kLog2High) - n * kLog2Low;
  // Taylor: what is left out is below r^14/14! < 2^-57.
  const Lanes r2 = r * r, r4 = r2 * r2, r8 = r4 * r4;
  const Lanes p0 = 1.0 / 2 + r * (1.0 / 6), p1 = 1.0 / 24 + r * (1.0 / 120);
  const Lanes p2 = 1.0 / 720 + r * (1.0 / 5040), p3 = 1.0 / 40320 + r * (1.0 / 362880);
  const Lanes p4 = 1.0 / 3628800 + r * (1.0 / 39916800), p5 = 1.0 / 479001600 + r * (1.0 / 6227020800);
  const Lanes tail = (p0 + r2 * p1) + r4 * (p2 + r2 * p3) + r8 * (p4 + r2 * p5);
  const Lanes power = 1.0 + (r + r2 * tail);
  const LaneWords scale = ((LaneWords)shifted << 52) + (uint64_t{1023} << 52);
  const Lanes result = power * (Lanes)scale;
  x = x < kLeastExponent ? Lanes{} : result;
}

// x <- log(x) for normal x > 0.
BILEVEL_LANES_INLINE void Log(Lanes& x) {
  // x = 2^k m with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(t), t = (m - 1)/(m + 1), |t| < 0.1716.
  constexpr double kLog2High = 0x1.62e42fefp-1, kLog2Low = 0x1.473de6af278edp-34;
  constexpr int64_t kRootHalf = 0x3fe6a09e667f3bcd;
  constexpr double kRound = 6755399441055744.0;
  const LaneBits bits = (LaneBits)x;
  const LaneBits k = (bits - kRootHalf) >> 52;
  const Lanes m = (Lanes)(bits - (k << 52));
  const Lanes exponent = (Lanes)(k + (LaneBits)(Lanes{} + kRound)) - kRound;
  const Lanes f = m - 1.0;
  const Lanes t = f / (m + 1.0), t2 = t * t, t4 = t2 * t2, t8 = t4 * t4;
  // 2 atanh(t) = f - t (f - 2 (t^2/3 + t^4/5 + ...)), which keeps f exact; what is left out is below 2^-58.
  const Lanes p0 = 2.0 / 3 + t2 * (2.0 / 5), p1 = 2.0 / 7 + t2 * (2.0 / 9), p2 = 2.0 / 11 + t2 * (2.0 / 13);
  const Lanes p3 = 2.0 / 15 + t2 * (2.0 / 17), p4 = 2.0 / 19 + t2 * (2.0 / 21);
  const Lanes tail = t2 * ((p0 + t4 * p1) + t8 * ((p2 + t4 * p3) + t8 * p4));
  x = exponent * kLog2High + (f - (t * (f - tail) - exponent * kLog2Low));
}

}  // namespace bilevel

#endif  // BILEVEL_CORE_BASE_LANES_H_
