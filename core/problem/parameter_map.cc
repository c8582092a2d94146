#include "core/problem/parameter_map.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/floating_point.h"
#include "core/base/text.h"

namespace bilevel {
namespace {

// In units of roundoff: of a componentwise map or of its slope, each a few operations and one library function.
constexpr double kMapRounding = 8;
constexpr double kSlopeRounding = 16;
// exp(-kLongestExponent) is 0 in double precision.
constexpr double kLongestExponent = 750;
// What underflows is wrong by no more than the smallest normal number.
constexpr double kUnderflow = std::numeric_limits<double>::min();

// Derivative of a componentwise map.
double Slope(MapKind kind, double x) {
  switch (kind) {
    case MapKind::kIdentity:
      return 1;
    case MapKind::kSigmoid: {
      const double e = std::exp(-std::abs(x));
      return e / ((1 + e) * (1 + e));
    }
    case MapKind::kExp:
      return std::exp(x);
    case MapKind::kTanh: {
      const double sech = 1 / std::cosh(x);
      return sech * sech;
    }
    case MapKind::kSoftmax:
      break;
  }
  return 0;
}

// Second derivative of a componentwise map.
double Bend(MapKind kind, double x) {
  switch (kind) {
    case MapKind::kSigmoid:
      return -std::tanh(0.5 * x) * Slope(kind, x);
    case MapKind::kExp:
      return std::exp(x);
    case MapKind::kTanh:
      return -2 * std::tanh(x) * Slope(kind, x);
    default:
      return 0;
  }
}

Vector ApplyKind(MapKind kind, const Vector& x) {
  switch (kind) {
    case MapKind::kIdentity:
      return x;
    case MapKind::kSigmoid:
      return x.unaryExpr([](double v) {
        const double e = std::exp(-std::abs(v));
        return v >= 0 ? 1 / (1 + e) : e / (1 + e);
      });
    case MapKind::kSoftmax:
      return Softmax(x);
    case MapKind::kExp:
      return x.array().exp();
    case MapKind::kTanh:
      return x.unaryExpr([](double v) { return std::tanh(v); });
  }
  return x;
}

// Relative rounding errors of softmax: x - max(x) has that of one operation, which exp turns into |x - max(x)| as many.
Vector SoftmaxRounding(const Vector& x) {
  const double others = kMapRounding + 2 * static_cast<double>(x.size());
  return kUnitRoundoff * ((x.maxCoeff() - x.array()).min(kLongestExponent) + others);
}

}  // namespace

Vector Softmax(const Vector& logits) {
  const Vector e = (logits.array() - logits.maxCoeff()).exp();
  return e / e.sum();
}

absl::StatusOr<ParameterMap> ParameterMap::Create(int num_parameters, std::vector<ParameterGroup> groups) {
  int64_t total = 0;
  for (size_t i = 0; i < groups.size(); ++i) {
    if (groups[i].size < 1) {
      return FieldError(absl::StrCat("[", i, "].size"), absl::StrCat("is ", groups[i].size, "; must be >= 1"));
    }
    if (!std::isfinite(groups[i].scale)) {
      return FieldError(absl::StrCat("[", i, "].scale"),
                        absl::StrCat("is ", ToText(groups[i].scale), "; must be finite"));
    }
    total += groups[i].size;
  }
  if (!groups.empty() && total != num_parameters) {
    return FieldError("", absl::StrCat("sizes sum to ", total, "; must sum to num_parameters = ", num_parameters));
  }
  ParameterMap map;
  map.num_parameters_ = num_parameters;
  map.groups_ = std::move(groups);
  return map;
}

Vector ParameterMap::Apply(const Vector& x) const {
  if (groups_.empty()) return x;
  Vector theta(x.size());
  Eigen::Index first = 0;
  for (const ParameterGroup& group : groups_) {
    theta.segment(first, group.size) = group.scale * ApplyKind(group.kind, x.segment(first, group.size));
    first += group.size;
  }
  return theta;
}

Vector ParameterMap::BoundRounding(const Vector& x, const Vector& theta) const {
  Vector result = Vector::Zero(x.size());
  Eigen::Index first = 0;
  for (const ParameterGroup& group : groups_) {
    const Vector relative = group.kind == MapKind::kSoftmax
                                ? SoftmaxRounding(x.segment(first, group.size))
                                : Vector::Constant(group.size, kMapRounding * kUnitRoundoff);
    result.segment(first, group.size) = relative.cwiseProduct(theta.segment(first, group.size).cwiseAbs()).array() +
                                        (1 + std::abs(group.scale)) * kUnderflow;
    first += group.size;
  }
  return result;
}

Vector ParameterMap::Pullback(const Vector& x, const Vector& theta_gradient) const {
  if (groups_.empty()) return theta_gradient;
  Vector result(x.size());
  Eigen::Index first = 0;
  for (const ParameterGroup& group : groups_) {
    const Vector gradient = theta_gradient.segment(first, group.size);
    if (group.kind == MapKind::kSoftmax) {
      const Vector p = ApplyKind(group.kind, x.segment(first, group.size));
      result.segment(first, group.size) = group.scale * p.array() * (gradient.array() - p.dot(gradient));
    } else {
      for (int i = 0; i < group.size; ++i) {
        result[first + i] = group.scale * Slope(group.kind, x[first + i]) * gradient[i];
      }
    }
    first += group.size;
  }
  return result;
}

Vector ParameterMap::ApplyUnscaled(const Vector& x) const { return WithoutScales().Apply(x); }

Vector ParameterMap::PullbackUnscaled(const Vector& x, const Vector& theta_gradient) const {
  return WithoutScales().Pullback(x, theta_gradient);
}

ParameterMap ParameterMap::WithoutScales() const {
  ParameterMap result = *this;
  for (ParameterGroup& group : result.groups_) group.scale = 1;
  return result;
}

Vector ParameterMap::Pushforward(const Vector& x, const Vector& x_tangent) const {
  // J is symmetric.
  return Pullback(x, x_tangent);
}

Vector ParameterMap::PullbackTangent(const Vector& x, const Vector& x_tangent, const Vector& theta_gradient) const {
  Vector result = Vector::Zero(x.size());
  Eigen::Index first = 0;
  for (const ParameterGroup& group : groups_) {
    const Vector at = x.segment(first, group.size), gradient = theta_gradient.segment(first, group.size);
    const Vector move = x_tangent.segment(first, group.size);
    if (group.kind == MapKind::kSoftmax) {
      const Vector p = ApplyKind(group.kind, at);
      const Vector p_tangent = p.array() * (move.array() - p.dot(move));
      result.segment(first, group.size) = group.scale * (p_tangent.array() * (gradient.array() - p.dot(gradient)) -
                                                         p.array() * p_tangent.dot(gradient));
    } else {
      for (int i = 0; i < group.size; ++i) {
        result[first + i] = group.scale * Bend(group.kind, at[i]) * move[i] * gradient[i];
      }
    }
    first += group.size;
  }
  return result;
}

Vector ParameterMap::SpreadInfluence(const Vector& theta_influence) const {
  Vector result = theta_influence;
  Eigen::Index first = 0;
  for (const ParameterGroup& group : groups_) {
    auto part = result.segment(first, group.size);
    if (group.kind == MapKind::kSoftmax) part.setConstant(part.sum());
    part *= std::abs(group.scale);
    first += group.size;
  }
  return result;
}

Vector ParameterMap::PullbackRadius(const Vector& x, const Vector& radius) const {
  if (groups_.empty()) return radius;
  Vector result(x.size());
  Eigen::Index first = 0;
  for (const ParameterGroup& group : groups_) {
    const Vector r = radius.segment(first, group.size);
    if (group.kind == MapKind::kSoftmax) {
      // |J| = |scale| (diag(p) - p p^T) with absolute values: p_i (1 - p_i) on the diagonal, p_i p_j elsewhere.
      const Vector p = ApplyKind(group.kind, x.segment(first, group.size));
      const double mean = p.dot(r);
      result.segment(first, group.size) =
          std::abs(group.scale) * p.array() * (r.array() * (1 - 2 * p.array()) + mean).max(0.0);
    } else {
      for (int i = 0; i < group.size; ++i) {
        result[first + i] = std::abs(group.scale * Slope(group.kind, x[first + i])) * r[i];
      }
    }
    first += group.size;
  }
  return result;
}

Vector ParameterMap::BoundPullbackRounding(const Vector& x, const Vector& magnitude) const {
  Vector result = Vector::Zero(x.size());
  Eigen::Index first = 0;
  for (const ParameterGroup& group : groups_) {
    const Vector g = magnitude.segment(first, group.size);
    if (group.kind == MapKind::kSoftmax) {
      const Vector part = x.segment(first, group.size);
      const Vector p = ApplyKind(group.kind, part), rounding = SoftmaxRounding(part);
      const Vector weighted = p.cwiseProduct(g);
      const double mean_rounding = weighted.dot(rounding) + group.size * kUnitRoundoff * weighted.sum();
      result.segment(first, group.size) =
          std::abs(group.scale) * p.array() *
          ((rounding.array() + 4 * kUnitRoundoff) * (g.array() + weighted.sum()) + mean_rounding);
    } else {
      for (int i = 0; i < group.size; ++i) {
        result[first + i] =
            kSlopeRounding * kUnitRoundoff * std::abs(group.scale * Slope(group.kind, x[first + i])) * g[i];
      }
    }
    result.segment(first, group.size).array() += (1 + std::abs(group.scale)) * (1 + g.sum()) * kUnderflow;
    first += group.size;
  }
  return result;
}

}  // namespace bilevel
