// A seeded source of random numbers with a portable stream: the same seed gives the same numbers on every platform.
//
// xoshiro256++ (Blackman and Vigna 2019), seeded by splitmix64.

#ifndef BILEVEL_CORE_BASE_RNG_H_
#define BILEVEL_CORE_BASE_RNG_H_

#include <array>
#include <cstdint>

namespace bilevel {

class Rng {
 public:
  explicit Rng(uint64_t seed);
  // One of many independent streams of a seed.
  Rng(uint64_t seed, uint64_t stream);

  // 64 random bits.
  uint64_t Bits();

  // Uniform in [0, 1), a multiple of 2^-53.
  double Uniform();

  // Standard normal (Box-Muller; two uniforms for each call).
  double Normal();

  // Uniform in {0, .., n - 1}, n >= 1.
  uint64_t Below(uint64_t n);

 private:
  std::array<uint64_t, 4> state_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_BASE_RNG_H_
