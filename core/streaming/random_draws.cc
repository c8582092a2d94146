#include "core/streaming/random_draws.h"

#include <cmath>

namespace bilevel {

double DrawGamma(Rng& rng, double shape) {
  // Below one the density has a pole: shape + 1, times a power of a uniform.
  if (shape < 1) return DrawGamma(rng, shape + 1) * std::pow(1 - rng.Uniform(), 1 / shape);
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  while (true) {
    const double normal = rng.Normal(), cube = 1 + c * normal;
    if (cube <= 0) continue;
    const double v = cube * cube * cube, u = 1 - rng.Uniform();
    if (std::log(u) < 0.5 * normal * normal + d - d * v + d * std::log(v)) return d * v;
  }
}

}  // namespace bilevel
