#include "core/base/rng.h"

#include <bit>
#include <cmath>
#include <numbers>

namespace bilevel {

Rng::Rng(uint64_t seed) {
  for (uint64_t& word : state_) {
    seed += 0x9e3779b97f4a7c15u;
    uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    word = z ^ (z >> 31);
  }
}

// The words of neighbouring seeds are unrelated: splitmix64 scrambles them.
Rng::Rng(uint64_t seed, uint64_t stream) : Rng(Rng(seed).Bits() + stream) {}

uint64_t Rng::Bits() {
  const uint64_t bits = std::rotl(state_[0] + state_[3], 23) + state_[0];
  const uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = std::rotl(state_[3], 45);
  return bits;
}

double Rng::Uniform() { return static_cast<double>(Bits() >> 11) * 0x1p-53; }

double Rng::Normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - Uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * Uniform());
}

uint64_t Rng::Below(uint64_t n) {
  const uint64_t rejected = (0 - n) % n;  // 2^64 mod n: the numbers below it would make small results likelier
  uint64_t bits = Bits();
  while (bits < rejected) bits = Bits();
  return bits % n;
}

}  // namespace bilevel
