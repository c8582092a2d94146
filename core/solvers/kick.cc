#include "core/solvers/kick.h"

#include <algorithm>
#include <cmath>

namespace bilevel {
namespace {

using Scale = SearchSpace::Scale;

// What a segment's coordinates are like now.
struct Spread {
  double smallest, largest, mean, deviation;
  double unit;
};

Spread Measure(Scale scale, const Vector& z) {
  Spread spread{z.minCoeff(), z.maxCoeff(), z.mean(), 0, 1};
  spread.deviation = std::sqrt((z.array() - spread.mean).square().mean());
  if (scale == Scale::kNumbers && spread.deviation > 0) spread.unit = spread.deviation;
  return spread;
}

// A few coordinates: about n/10, down to one.
void Raise(Scale scale, const Spread& spread, double strength, Rng& rng, Vector& z) {
  const auto n = static_cast<double>(z.size());
  const int count = std::max(1, static_cast<int>(std::lround(std::pow(std::max(1.0, n / 10), strength))));
  for (int i = 0; i < count; ++i) {
    const auto at = static_cast<Eigen::Index>(rng.Below(static_cast<uint64_t>(z.size())));
    const bool low = scale != Scale::kShares && rng.Uniform() < 0.5;
    z[at] = low ? spread.smallest : spread.largest;
  }
}

void Clip(Scale scale, const Spread& spread, double strength, Rng& rng, Vector& z) {
  const double reach = spread.unit * (1 + 4 * strength);
  for (double& entry : z) {
    entry = scale == Scale::kSwitch ? std::clamp(entry, -reach, reach) : std::max(entry, spread.largest - reach);
    entry += 0.3 * spread.unit * rng.Normal();
  }
}

double Revived(Scale scale, const Spread& spread, Rng& rng) {
  switch (scale) {
    case Scale::kShares:
      return spread.largest - 2 * rng.Uniform();
    case Scale::kSwitch:
      return 4 * rng.Uniform() - 2;
    case Scale::kNumbers:
      return spread.smallest + (spread.largest - spread.smallest) * rng.Uniform();
  }
  return 0;
}

template <typename Draw>
void Replace(double probability, Rng& rng, Vector& z, Draw draw) {
  for (Eigen::Index i = 0; i < z.size(); ++i) {
    if (rng.Uniform() < probability) z[i] = draw(i);
  }
}

}  // namespace

Vector DrawStart(const SearchSpace& space, const Vector& origin, Rng& rng) {
  Vector z = space.ToCoordinates(origin);
  const double spread = std::pow(10.0, 2.5 * rng.Uniform() - 2);
  for (const SearchSpace::Segment& segment : space.segments()) {
    const Vector part = z.segment(segment.first, segment.size);
    const double unit = Measure(segment.scale, part).unit;
    for (Eigen::Index i = 0; i < segment.size; ++i) z[segment.first + i] += spread * unit * rng.Normal();
  }
  return space.ToParameters(z);
}

Vector ApplyKick(Kick kick, const SearchSpace& space, const Vector& x, const Vector& origin,
                 const std::vector<Vector>& others, Rng& rng) {
  if (kick == Kick::kFresh) return DrawStart(space, origin, rng);
  if (kick == Kick::kCross && others.empty()) kick = Kick::kRaise;
  Vector z = space.ToCoordinates(x);
  const Vector mate =
      kick == Kick::kCross ? space.ToCoordinates(others[rng.Below(static_cast<uint64_t>(others.size()))]) : Vector();
  const double strength = rng.Uniform();
  for (const SearchSpace::Segment& segment : space.segments()) {
    Vector part = z.segment(segment.first, segment.size);
    const Spread spread = Measure(segment.scale, part);
    switch (kick) {
      case Kick::kRaise:
        Raise(segment.scale, spread, strength, rng, part);
        break;
      case Kick::kClip:
        Clip(segment.scale, spread, strength, rng, part);
        break;
      case Kick::kRevive:
        Replace(0.05 + 0.25 * strength, rng, part, [&](Eigen::Index) { return Revived(segment.scale, spread, rng); });
        break;
      case Kick::kReset:
        Replace(0.05 + 0.35 * strength, rng, part, [&](Eigen::Index) {
          return spread.mean + std::max(spread.deviation, 1e-3 * spread.unit) * rng.Normal();
        });
        break;
      case Kick::kHeat:
        for (double& entry : part) entry += 0.3 * spread.unit * rng.Normal();
        break;
      case Kick::kCross:
        Replace(0.1 + 0.4 * strength, rng, part, [&](Eigen::Index i) { return mate[segment.first + i]; });
        break;
      case Kick::kFresh:
        break;
    }
    z.segment(segment.first, segment.size) = part;
  }
  return space.ToParameters(z);
}

}  // namespace bilevel
