#include "core/solvers/conjugate_path.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace bilevel {
namespace {

// s >= 0 with |p + s d|_2 = radius, for |p|_2 <= radius.
double ToRim(const Vector& p, const Vector& d, double radius) {
  const double a = d.squaredNorm(), b = p.dot(d), c = std::max(radius * radius - p.squaredNorm(), 0.0);
  const double root = std::sqrt(b * b + a * c);
  return b > 0 ? c / (b + root) : (root - b) / a;  // no cancellation
}

}  // namespace

ConjugatePath::ConjugatePath(const Vector& gradient,
                             const std::function<std::optional<Vector>(const Vector&)>& multiply,
                             const Options& options)
    : size_(gradient.size()) {
  Vector p = Vector::Zero(size_), r = gradient, d = -gradient;
  double value = 0, rr = r.squaredNorm();
  const double enough = options.tolerance * std::sqrt(rr);
  for (int product = 0; product < options.max_products && std::sqrt(rr) > enough; ++product) {
    const std::optional<Vector> bent = multiply(d);
    if (!bent.has_value() || !bent->allFinite()) return;
    const double curvature = d.dot(*bent);
    met_negative_curvature_ = curvature <= 0;
    const double to_rim = ToRim(p, d, options.radius);
    on_rim_ = met_negative_curvature_ || rr / curvature >= to_rim;
    const double step = on_rim_ ? to_rim : rr / curvature;
    const double slope = -step * rr, bend = step * step * curvature;  // r^T d = -r^T r
    p += step * d;
    pieces_.push_back({step * d, value, slope, bend, on_rim_ ? options.radius : p.norm()});
    if (on_rim_) return;
    value += slope + bend / 2;
    r += step * *bent;
    const double next = r.squaredNorm();
    d = -r + next / rr * d;
    rr = next;
  }
}

ConjugatePath::Point ConjugatePath::At(double length) const {
  Point point{Vector::Zero(size_), 0};
  for (const Piece& piece : pieces_) {
    const bool last = piece.length >= length;
    const double s = last ? std::min(ToRim(point.p, piece.along, length), 1.0) : 1.0;
    point.p += s * piece.along;
    point.value = piece.value + s * piece.slope + s * s / 2 * piece.curvature;
    if (last) break;
  }
  return point;
}

}  // namespace bilevel
