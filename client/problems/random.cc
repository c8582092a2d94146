#include "client/problems/random.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace bilevel::client {

std::uint64_t Random::Bits() {
  state_ += 0x9e3779b97f4a7c15U;
  std::uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

double Random::Uniform() { return static_cast<double>(Bits() >> 11) * 0x1p-53; }

double Random::Normal() {
  if (std::exchange(has_spare_, false)) return spare_normal_;
  double u = 0.0;
  double v = 0.0;
  double square = 0.0;
  do {
    u = 2.0 * Uniform() - 1.0;
    v = 2.0 * Uniform() - 1.0;
    square = u * u + v * v;
  } while (square >= 1.0 || square == 0.0);
  const double factor = std::sqrt(-2.0 * std::log(square) / square);
  spare_normal_ = v * factor;
  has_spare_ = true;
  return u * factor;
}

int Random::Below(int n) {
  const auto range = static_cast<std::uint64_t>(n);
  const std::uint64_t reject_below = (0 - range) % range;  // 2^64 mod n: what is left is a multiple of n
  std::uint64_t bits = Bits();
  while (bits < reject_below) bits = Bits();
  return static_cast<int>(bits % range);
}

std::vector<int> Random::Distinct(int k, int n) {
  std::vector<int> members(static_cast<std::size_t>(n));
  std::iota(members.begin(), members.end(), 0);
  for (int i = 0; i < k; ++i) std::swap(members[i], members[i + Below(n - i)]);
  members.resize(k);
  std::sort(members.begin(), members.end());
  return members;
}

std::vector<double> Random::Uniforms(int count) {
  std::vector<double> draws(static_cast<std::size_t>(count));
  for (double& draw : draws) draw = Uniform();
  return draws;
}

std::vector<double> Random::Normals(int count) {
  std::vector<double> draws(static_cast<std::size_t>(count));
  for (double& draw : draws) draw = Normal();
  return draws;
}

std::vector<double> NormalStart(int n, double sigma, std::uint64_t seed) {
  std::vector<double> x = Random(seed).Normals(n);
  for (double& entry : x) entry *= sigma;
  return x;
}

}  // namespace bilevel::client
