#include "core/mdp/majorant.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace bilevel {
namespace {

constexpr double kUnitRoundoff = 0x1p-53;
constexpr double kSolveTolerance = 1e-4;  // relative; what is missing is made up for by the correction
constexpr double kPadding = 1 + 1e-12;    // covers the roundings of the correction itself

}  // namespace

Majorant::Majorant(const TabularMdp& mdp, PolicySystem& system, double gamma, double kappa, const Interrupt& interrupt)
    : system_(system),
      gamma_(gamma),
      inflated_(gamma * (1 + kappa)),
      contraction_(gamma * mdp.max_row_sum() * (1 + mdp.row_steps() * kUnitRoundoff)),
      interrupt_(interrupt) {}

Vector Majorant::LowerImage(const Vector& w, bool transposed) {
  const Vector pushed = inflated_ * (transposed ? system_.MultiplyTransposed(w) : system_.Multiply(w));
  const double steps = 4 + (transposed ? system_.column_steps() : system_.row_steps());
  return w - pushed - steps * kUnitRoundoff * (w + pushed);
}

Vector Majorant::Bound(const Vector& g) {
  const double largest = g.size() == 0 ? 0.0 : g.maxCoeff<Eigen::PropagateNaN>();
  const double uniform = kPadding * largest / (1 - contraction_);
  Vector w = Vector::Zero(g.size());
  if (largest == 0) return w;
  if (!std::isfinite(largest)) return Vector::Constant(g.size(), std::numeric_limits<double>::infinity());
  // 1 is mapped to at least 1 - inflated * b.
  const double image_of_ones = 1 - inflated_ * (contraction_ / std::max(gamma_, 1e-300)) - 4 * kUnitRoundoff;
  if (!(image_of_ones > 0) || gamma_ == 0 || interrupt_.Check().has_value()) {
    return gamma_ == 0 ? Vector(kPadding * g) : Vector::Constant(g.size(), uniform);
  }
  system_.Solve(gamma_, g, kSolveTolerance * largest, interrupt_, w);
  w = w.cwiseMax(0.0);
  const double missing = std::max(0.0, (g - LowerImage(w, false)).maxCoeff());
  w.array() += kPadding * missing / image_of_ones;
  if (!w.allFinite()) return Vector::Constant(g.size(), uniform);
  return w.cwiseMin(uniform);
}

Vector Majorant::BoundTransposed(const Vector& g) {
  const double total = g.sum();
  const double uniform = kPadding * total / (1 - contraction_);
  Vector w = Vector::Zero(g.size());
  if (total == 0) return w;
  if (!std::isfinite(total)) return Vector::Constant(g.size(), std::numeric_limits<double>::infinity());
  if (gamma_ == 0) return kPadding * g;
  if (!std::isfinite(inflated_) || interrupt_.Check().has_value()) return Vector::Constant(g.size(), uniform);
  if (visits_.size() == 0) {
    visits_ = Vector::Zero(g.size());
    const Vector ones = Vector::Ones(g.size());
    system_.SolveTransposed(gamma_, ones, kSolveTolerance, interrupt_, visits_);
    visits_ = visits_.cwiseMax(0.0);
    visits_image_ = LowerImage(visits_, true).minCoeff();
  }
  if (!(visits_image_ > 0)) return Vector::Constant(g.size(), uniform);
  system_.SolveTransposed(gamma_, g, kSolveTolerance * total, interrupt_, w);
  w = w.cwiseMax(0.0);
  const double missing = std::max(0.0, (g - LowerImage(w, true)).maxCoeff());
  w += (kPadding * missing / visits_image_) * visits_;
  if (!w.allFinite()) return Vector::Constant(g.size(), uniform);
  return w.cwiseMin(uniform);
}

}  // namespace bilevel
