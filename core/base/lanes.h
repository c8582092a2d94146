// Eight doubles side by side, in registers of two, four or eight, and their exp and log.
//
// Written for GCC's and Clang's vector types, which every instruction set can run: the same operations in the same
// order, hence the same bits, whether a machine takes two, four or eight at a time. Registers are said, not left to the
// compiler: GCC 12 keeps vectors that are longer than the machine's in memory. Contraction into fused operations must
// be off where this is included (core's build sets it).
//
// Errors, measured against long double in tests/core/base/lanes_test.cc: Exp and Log within 2 units of roundoff.

#ifndef BILEVEL_CORE_BASE_LANES_H_
#define BILEVEL_CORE_BASE_LANES_H_

#include <cstdint>
#include <type_traits>

namespace bilevel {

inline constexpr int kLanes = 8;

#define BILEVEL_LANES_INLINE inline __attribute__((always_inline))

// A register of kWidth doubles and what has as many numbers of other kinds.
template <int kWidth>
struct Register {
  typedef double Doubles __attribute__((vector_size(kWidth * sizeof(double))));    // NOLINT: no `using` for dependent
  typedef float Floats __attribute__((vector_size(kWidth * sizeof(float))));       // NOLINT
  typedef int64_t Bits __attribute__((vector_size(kWidth * sizeof(int64_t))));     // NOLINT
  typedef uint64_t Words __attribute__((vector_size(kWidth * sizeof(uint64_t))));  // NOLINT
};
template <typename Doubles>
using RegisterOf = Register<sizeof(Doubles) / sizeof(double)>;

// Twice as many as one half has; 0, at first. Copied half by half: GCC 12 would copy it in smaller pieces through
// memory.
template <typename Half>
struct LanePair {
  BILEVEL_LANES_INLINE LanePair() : low{}, high{} {}
  BILEVEL_LANES_INLINE LanePair(const Half& its_low, const Half& its_high) : low(its_low), high(its_high) {}
  BILEVEL_LANES_INLINE LanePair(const LanePair& other) : low(other.low), high(other.high) {}
  BILEVEL_LANES_INLINE LanePair& operator=(const LanePair& other) {
    low = other.low;
    high = other.high;
    return *this;
  }

  Half low, high;
};

using LanesInEights = Register<8>::Doubles;
using LanesInFours = LanePair<Register<4>::Doubles>;
using LanesInTwos = LanePair<LanePair<Register<2>::Doubles>>;

// What follows is for registers, then for pairs, half by half.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
// How vectors travel by value depends on the instruction set: these are always inlined.
#pragma GCC diagnostic ignored "-Wpsabi"
#endif

#define BILEVEL_LANE_OPERATOR(op)                                                                     \
  template <typename Half>                                                                            \
  BILEVEL_LANES_INLINE LanePair<Half> operator op(const LanePair<Half>& x, const LanePair<Half>& y) { \
    return {x.low op y.low, x.high op y.high};                                                        \
  }                                                                                                   \
  template <typename Half>                                                                            \
  BILEVEL_LANES_INLINE LanePair<Half> operator op(const LanePair<Half>& x, double y) {                \
    return {x.low op y, x.high op y};                                                                 \
  }                                                                                                   \
  template <typename Half>                                                                            \
  BILEVEL_LANES_INLINE LanePair<Half> operator op(double x, const LanePair<Half>& y) {                \
    return {x op y.low, x op y.high};                                                                 \
  }
BILEVEL_LANE_OPERATOR(+)
BILEVEL_LANE_OPERATOR(-)
BILEVEL_LANE_OPERATOR(*)
BILEVEL_LANE_OPERATOR(/)
#undef BILEVEL_LANE_OPERATOR

template <typename Half>
BILEVEL_LANES_INLINE LanePair<Half>& operator+=(LanePair<Half>& x, const LanePair<Half>& y) {
  x.low += y.low;
  x.high += y.high;
  return x;
}

// Numbers from memory and to it, at any address.
template <typename Doubles, typename Real>
BILEVEL_LANES_INLINE void ReadLanes(const Real* from, Doubles& lanes) {
  if constexpr (std::is_same_v<Real, double>) {
    __builtin_memcpy(&lanes, from, sizeof lanes);
  } else {
    typename RegisterOf<Doubles>::Floats floats;
    __builtin_memcpy(&floats, from, sizeof floats);
    lanes = __builtin_convertvector(floats, Doubles);
  }
}
template <typename Doubles, typename Real>
BILEVEL_LANES_INLINE void WriteLanes(const Doubles& lanes, Real* to) {
  if constexpr (std::is_same_v<Real, double>) {
    __builtin_memcpy(to, &lanes, sizeof lanes);
  } else {
    const auto floats = __builtin_convertvector(lanes, typename RegisterOf<Doubles>::Floats);
    __builtin_memcpy(to, &floats, sizeof floats);
  }
}
template <typename Half, typename Real>
BILEVEL_LANES_INLINE void ReadLanes(const Real* from, LanePair<Half>& lanes) {
  ReadLanes(from, lanes.low);
  ReadLanes(from + sizeof(Half) / sizeof(double), lanes.high);
}
template <typename Half, typename Real>
BILEVEL_LANES_INLINE void WriteLanes(const LanePair<Half>& lanes, Real* to) {
  WriteLanes(lanes.low, to);
  WriteLanes(lanes.high, to + sizeof(Half) / sizeof(double));
}

// x <- the larger or smaller of x and y, x where they cannot be compared.
template <typename Doubles>
BILEVEL_LANES_INLINE void KeepLarger(const Doubles& y, Doubles& x) {
  x = y > x ? y : x;
}
template <typename Half>
BILEVEL_LANES_INLINE void KeepLarger(const LanePair<Half>& y, LanePair<Half>& x) {
  KeepLarger(y.low, x.low);
  KeepLarger(y.high, x.high);
}
template <typename Doubles>
BILEVEL_LANES_INLINE void KeepSmaller(const Doubles& y, Doubles& x) {
  x = y < x ? y : x;
}
template <typename Half>
BILEVEL_LANES_INLINE void KeepSmaller(const LanePair<Half>& y, LanePair<Half>& x) {
  KeepSmaller(y.low, x.low);
  KeepSmaller(y.high, x.high);
}

// x <- 0 where y is that number.
template <typename Doubles>
BILEVEL_LANES_INLINE void ClearWhere(const Doubles& y, double number, Doubles& x) {
  x = y == number ? Doubles{} : x;
}
template <typename Half>
BILEVEL_LANES_INLINE void ClearWhere(const LanePair<Half>& y, double number, LanePair<Half>& x) {
  ClearWhere(y.low, number, x.low);
  ClearWhere(y.high, number, x.high);
}

// x <- exp(x) for x <= 0; 0 below kLeastExponent, where the result would not be a normal number; NaN stays NaN.
inline constexpr double kLeastExponent = -708.3964;
template <typename Doubles>
BILEVEL_LANES_INLINE void Exp(Doubles& x) {
  using Words = typename RegisterOf<Doubles>::Words;
  // x = n log 2 + r with |r| <= (log 2)/2. Adding and subtracting 1.5 * 2^52 rounds to the nearest integer, which then
  // stands in the low bits. kLog2High has 33 significant bits: its products with n are exact.
  constexpr double kInverseLog2 = 1.4426950408889634, kLog2High = 0x1.62e42fefp-1, kLog2Low = 0x1.473de6af278edp-34;
  constexpr double kRound = 6755399441055744.0;
  const Doubles shifted = x * kInverseLog2 + kRound;
  const Doubles n = shifted - kRound;
  const Doubles r = (x - n * kLog2High) - n * kLog2Low;
  // Taylor: what is left out is below r^14/14! < 2^-57.
  const Doubles r2 = r * r, r4 = r2 * r2, r8 = r4 * r4;
  const Doubles p0 = 1.0 / 2 + r * (1.0 / 6), p1 = 1.0 / 24 + r * (1.0 / 120);
  const Doubles p2 = 1.0 / 720 + r * (1.0 / 5040), p3 = 1.0 / 40320 + r * (1.0 / 362880);
  const Doubles p4 = 1.0 / 3628800 + r * (1.0 / 39916800), p5 = 1.0 / 479001600 + r * (1.0 / 6227020800);
  const Doubles tail = (p0 + r2 * p1) + r4 * (p2 + r2 * p3) + r8 * (p4 + r2 * p5);
  const Doubles power = 1.0 + (r + r2 * tail);
  const Words scale = ((Words)shifted << 52) + (uint64_t{1023} << 52);
  const Doubles result = power * (Doubles)scale;
  x = x < kLeastExponent ? Doubles{} : result;
}
template <typename Half>
BILEVEL_LANES_INLINE void Exp(LanePair<Half>& x) {
  Exp(x.low);
  Exp(x.high);
}

// x <- log(x) for normal x > 0.
template <typename Doubles>
BILEVEL_LANES_INLINE void Log(Doubles& x) {
  using Bits = typename RegisterOf<Doubles>::Bits;
  // x = 2^k m with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(t), t = (m - 1)/(m + 1), |t| < 0.1716.
  constexpr double kLog2High = 0x1.62e42fefp-1, kLog2Low = 0x1.473de6af278edp-34;
  constexpr int64_t kRootHalf = 0x3fe6a09e667f3bcd;
  constexpr double kRound = 6755399441055744.0;
  const Bits bits = (Bits)x;
  const Bits k = (bits - kRootHalf) >> 52;
  const Doubles m = (Doubles)(bits - (k << 52));
  const Doubles exponent = (Doubles)(k + (Bits)(Doubles{} + kRound)) - kRound;
  const Doubles f = m - 1.0;
  const Doubles t = f / (m + 1.0), t2 = t * t, t4 = t2 * t2, t8 = t4 * t4;
  // 2 atanh(t) = f - t (f - 2 (t^2/3 + t^4/5 + ...)), which keeps f exact; what is left out is below 2^-58.
  const Doubles p0 = 2.0 / 3 + t2 * (2.0 / 5), p1 = 2.0 / 7 + t2 * (2.0 / 9), p2 = 2.0 / 11 + t2 * (2.0 / 13);
  const Doubles p3 = 2.0 / 15 + t2 * (2.0 / 17), p4 = 2.0 / 19 + t2 * (2.0 / 21);
  const Doubles tail = t2 * ((p0 + t4 * p1) + t8 * ((p2 + t4 * p3) + t8 * p4));
  x = exponent * kLog2High + (f - (t * (f - tail) - exponent * kLog2Low));
}
template <typename Half>
BILEVEL_LANES_INLINE void Log(LanePair<Half>& x) {
  Log(x.low);
  Log(x.high);
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

}  // namespace bilevel

#endif  // BILEVEL_CORE_BASE_LANES_H_
