// Seeded random numbers for example problems: the same numbers on every machine and with every standard library, which
// std::*_distribution does not promise. (Normals use std::log, so they agree to its last bit.)
//
// Vigna (2015), splitmix64, public domain, https://prng.di.unimi.it/splitmix64.c; Marsaglia's polar method.

#ifndef BILEVEL_CLIENT_PROBLEMS_RANDOM_H_
#define BILEVEL_CLIENT_PROBLEMS_RANDOM_H_

#include <cstdint>
#include <vector>

namespace bilevel::client {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  // 64 uniform bits.
  std::uint64_t Bits();
  // U[0, 1): 53 bits.
  double Uniform();
  // N(0, 1).
  double Normal();
  // Uniform on {0, ..., n - 1}; n >= 1.
  int Below(int n);
  // k distinct members of {0, ..., n - 1}, every set equally likely, in increasing order; 0 <= k <= n.
  std::vector<int> Distinct(int k, int n);

  // `count` draws in order.
  std::vector<double> Uniforms(int count);
  std::vector<double> Normals(int count);

 private:
  std::uint64_t state_;
  double spare_normal_ = 0.0;
  bool has_spare_ = false;
};

// A starting point x ~ sigma * N(0, 1), [n].
std::vector<double> NormalStart(int n, double sigma, std::uint64_t seed);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_PROBLEMS_RANDOM_H_
