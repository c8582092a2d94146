#include "core/problem/parametric_reward.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "core/base/field_error.h"
#include "core/base/floating_point.h"
#include "core/base/text.h"

namespace bilevel {
namespace {

constexpr double kSumPadding = 1 + 1e-12;

absl::Status CheckFinite(std::string_view field, const double* values, Eigen::Index count) {
  for (Eigen::Index i = 0; i < count; ++i) {
    if (!std::isfinite(values[i])) {
      return FieldError(field, absl::StrCat("entry ", i, " is ", ToText(values[i]), "; must be finite"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckVector(std::string_view field, const Vector& values, Eigen::Index expected) {
  if (values.size() != expected) {
    return FieldError(field, absl::StrCat("has ", values.size(), " entries; must have ", expected));
  }
  return CheckFinite(field, values.data(), values.size());
}

}  // namespace

absl::StatusOr<ParametricReward> ParametricReward::Create(Eigen::Index num_rows, int num_parameters,
                                                          ParametricRewardSpec spec) {
  ParametricReward reward;
  reward.num_rows_ = num_rows;
  if (spec.base.size() != 0) {
    if (absl::Status status = CheckVector("base", spec.base, num_rows); !status.ok()) return status;
    reward.base_ = std::move(spec.base);
  }
  if (spec.features.rows() != 0 || spec.features.cols() != 0) {
    if (spec.features.rows() != num_rows || spec.features.cols() != num_parameters) {
      return FieldError("features", absl::StrCat("is ", spec.features.rows(), " x ", spec.features.cols(),
                                                 "; must be num_states * num_actions x num_parameters = ", num_rows,
                                                 " x ", num_parameters));
    }
    spec.features.makeCompressed();
    absl::Status status = CheckFinite("features", spec.features.valuePtr(), spec.features.nonZeros());
    if (!status.ok()) return status;
    if (spec.features.nonZeros() > FeatureRows::kMaxEntries) {
      return FieldError("features", absl::StrCat("has ", spec.features.nonZeros(), " entries; must have at most ",
                                                 FeatureRows::kMaxEntries));
    }
    reward.features_ = FeatureRows(spec.features);
  }
  if (spec.coefficient.size() != 0 || spec.matrix.size() != 0) {
    absl::Status status = CheckVector("quadratic.coefficient", spec.coefficient, num_rows);
    if (!status.ok()) return status;
    if (spec.matrix.rows() != num_parameters || spec.matrix.cols() != num_parameters) {
      return FieldError("quadratic.matrix", absl::StrCat("is ", spec.matrix.rows(), " x ", spec.matrix.cols(),
                                                         "; must be num_parameters x num_parameters = ", num_parameters,
                                                         " x ", num_parameters));
    }
    status = CheckFinite("quadratic.matrix", spec.matrix.data(), spec.matrix.size());
    if (!status.ok()) return status;
    reward.coefficient_ = std::move(spec.coefficient);
    reward.matrix_ = 0.5 * spec.matrix + 0.5 * spec.matrix.transpose();
    reward.matrix_norm_ = reward.matrix_.stableNorm();
  }
  return reward;
}

Vector ParametricReward::Slope(const Vector& x) const { return has_quadratic() ? Vector(2 * (matrix_ * x)) : Vector(); }

Vector ParametricReward::EvaluateAt(const Vector& x, const Vector& theta, const Vector& slope) const {
  Vector r = base_.size() == 0 ? Vector::Zero(num_rows_) : base_;
  AddIncentive(x, theta, slope, r);
  return r;
}

Vector ParametricReward::EvaluateIncentive(const Vector& x, const Vector& theta) const {
  Vector r = Vector::Zero(num_rows_);
  AddIncentive(x, theta, Slope(x), r);
  return r;
}

void ParametricReward::AddIncentive(const Vector& x, const Vector& theta, const Vector& slope, Vector& r) const {
  features_.AddProduct(theta, r);
  if (has_quadratic()) r += 0.5 * x.dot(slope) * coefficient_;
}

Vector ParametricReward::BoundRounding(const Vector& x, const Vector& theta, const Vector& theta_rounding) const {
  Vector bound = Vector::Zero(num_rows_);
  if (!features_.empty()) {
    const double steps = static_cast<double>(features_.max_row_entries()) + 4;
    features_.AddAbsProduct(steps * kUnitRoundoff * theta.cwiseAbs() + theta_rounding, bound);
  }
  if (has_quadratic()) {
    // At least |x|^T |matrix_| |x|.
    const double size = (1 + 1e-12) * matrix_norm_ * x.squaredNorm();
    bound += (2 * static_cast<double>(x.size()) + 6) * kUnitRoundoff * size * coefficient_.cwiseAbs();
  }
  if (depends_on_parameters() && base_.size() != 0) bound += 2 * kUnitRoundoff * base_.cwiseAbs();
  return bound;
}

void ParametricReward::AddInfluence(ParameterGradient& influence) const {
  if (!features_.empty()) influence.theta += features_.AbsTransposedProduct(Vector::Ones(num_rows_));
  if (has_quadratic()) {
    influence.x += 2 * coefficient_.lpNorm<1>() * matrix_.cwiseAbs().rowwise().sum();
  }
}

void ParametricReward::AddPullbackAt(const Vector& weight, const Vector& slope, ParameterGradient& gradient) const {
  if (!features_.empty()) gradient.theta += features_.TransposedProduct(weight);
  if (has_quadratic()) gradient.x += coefficient_.dot(weight) * slope;
}

SparseRows ParametricReward::GradientFeatures() const {
  const Eigen::Index n = std::max(features_.cols(), matrix_.cols());
  SparseRows features = features_.cols() == 0 ? SparseRows(num_rows_, n) : features_.ToSparse();
  if (!has_quadratic()) return features;
  std::vector<Eigen::Triplet<double, int64_t>> entries;
  for (Eigen::Index row = 0; row < features.outerSize(); ++row) {
    for (SparseRows::InnerIterator entry(features, row); entry; ++entry) {
      entries.emplace_back(row, entry.col(), entry.value());
    }
  }
  for (Eigen::Index row = 0; row < coefficient_.size(); ++row) {
    if (coefficient_[row] != 0) entries.emplace_back(row, n, coefficient_[row]);
  }
  SparseRows result(num_rows_, n + 1);
  result.setFromTriplets(entries.begin(), entries.end());
  return result;
}

void ParametricReward::AddFeatureGradient(const Vector& features, const Vector& x, ParameterGradient& gradient) const {
  const Eigen::Index n = features.size() - (has_quadratic() ? 1 : 0);
  gradient.theta.head(n) += features.head(n);
  if (has_quadratic()) gradient.x += 2 * features[n] * (matrix_ * x);
}

Vector ParametricReward::Pushforward(const Vector& x, const Vector& x_tangent, const Vector& theta_tangent) const {
  Vector r = Vector::Zero(num_rows_);
  features_.AddProduct(theta_tangent, r);
  if (has_quadratic()) r += 2 * x_tangent.dot(matrix_ * x) * coefficient_;
  return r;
}

void ParametricReward::AddPullbackTangent(const Vector& weight, const Vector& weight_tangent, const Vector& x,
                                          const Vector& x_tangent, ParameterGradient& gradient) const {
  AddPullback(weight_tangent, x, gradient);
  if (has_quadratic()) {
    gradient.x += 2 * coefficient_.dot(weight) * (matrix_ * x_tangent);
  }
}

void ParametricReward::AddPullbackRadius(Vector radius, double mass, const Vector& magnitude, const Vector& x,
                                         ParameterGradient& gradient_radius) const {
  if (has_quadratic()) {
    const double steps = static_cast<double>(x.size() + radius.size()) + 16;
    const Vector abs_x = x.cwiseAbs();
    const double beyond = mass > 0 ? kSumPadding * mass * coefficient_.lpNorm<Eigen::Infinity>() : 0.0;
    gradient_radius.x += 2 * (coefficient_.cwiseAbs().dot(radius) + beyond) * (matrix_ * x).cwiseAbs() +
                         2 * steps * kUnitRoundoff *
                             (coefficient_.cwiseAbs().dot(magnitude.cwiseAbs() + radius) + beyond) *
                             (matrix_.cwiseAbs() * abs_x);
  }
  if (!features_.empty()) {
    const double steps = static_cast<double>(features_.max_column_entries()) + 16;
    radius += steps * kUnitRoundoff * magnitude.cwiseAbs();
    gradient_radius.theta += features_.AbsTransposedProduct(radius);
    if (mass > 0) gradient_radius.theta += kSumPadding * mass * features_.LargestInColumns();
  }
}

}  // namespace bilevel
