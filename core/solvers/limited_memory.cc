#include "core/solvers/limited_memory.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/text.h"

namespace bilevel {
namespace {

// Pairs that curve less would make B nearly singular, or indefinite.
constexpr double kLeastCurvature = 1e-10;

bool CurvesUp(const Vector& s, const Vector& y) {
  const double sy = s.dot(y);
  return sy > kLeastCurvature * s.norm() * y.norm();
}

absl::Status CheckFinite(std::string_view field, const Eigen::MatrixXd& pairs) {
  for (Eigen::Index pair = 0; pair < pairs.cols(); ++pair) {
    if (!pairs.col(pair).allFinite()) {
      return FieldError(field, absl::StrCat("pair ", pair, " is not finite; must be finite"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status QuasiNewtonState::Validate() const {
  if (steps.rows() != gradient_changes.rows() || steps.cols() != gradient_changes.cols()) {
    return FieldError("gradient_changes",
                      absl::StrCat("is [", gradient_changes.cols(), ", ", gradient_changes.rows(),
                                   "]; must have the shape of steps, [", steps.cols(), ", ", steps.rows(), "]"));
  }
  if (absl::Status status = CheckFinite("steps", steps); !status.ok()) return status;
  if (absl::Status status = CheckFinite("gradient_changes", gradient_changes); !status.ok()) return status;
  for (Eigen::Index pair = 0; pair < steps.cols(); ++pair) {
    if (CurvesUp(steps.col(pair), gradient_changes.col(pair))) continue;
    return FieldError("gradient_changes", absl::StrCat("pair ", pair, ": its product with the step is ",
                                                       ToText(steps.col(pair).dot(gradient_changes.col(pair))),
                                                       "; must be > ", ToText(kLeastCurvature), " times both norms"));
  }
  return absl::OkStatus();
}

LimitedMemory::LimitedMemory(int memory, QuasiNewtonState state) : memory_(memory), state_(std::move(state)) {
  if (!empty()) Factorize();
}

bool LimitedMemory::Add(const Vector& s, const Vector& y) {
  if (!CurvesUp(s, y)) return false;
  const Eigen::Index k = state_.steps.cols(), kept = std::min<Eigen::Index>(k, memory_ - 1);
  const auto append = [&](Eigen::MatrixXd& pairs, const Vector& newest) {
    Eigen::MatrixXd next(newest.size(), kept + 1);
    if (kept > 0) next.leftCols(kept) = pairs.rightCols(kept);
    next.col(kept) = newest;
    pairs = std::move(next);
  };
  append(state_.steps, s);
  append(state_.gradient_changes, y);
  Factorize();
  return true;
}

void LimitedMemory::Clear() { state_ = {}; }

// A pair may be scaled without changing B. With steps of length one the middle matrix is not ill-conditioned for their
// lengths' sake.
void LimitedMemory::Factorize() {
  const Eigen::VectorXd lengths = state_.steps.colwise().norm();
  const Eigen::MatrixXd S = state_.steps * lengths.cwiseInverse().asDiagonal();
  const Eigen::MatrixXd Y = state_.gradient_changes * lengths.cwiseInverse().asDiagonal();
  const Eigen::Index k = S.cols();
  scale_ = Y.col(k - 1).squaredNorm() / S.col(k - 1).dot(Y.col(k - 1));
  const Eigen::MatrixXd products = S.transpose() * Y;
  Eigen::MatrixXd middle(2 * k, 2 * k);
  middle.topLeftCorner(k, k) = scale_ * S.transpose() * S;
  middle.topRightCorner(k, k) = products.triangularView<Eigen::StrictlyLower>();
  middle.bottomLeftCorner(k, k) = middle.topRightCorner(k, k).transpose();
  middle.bottomRightCorner(k, k) = Eigen::MatrixXd((-products.diagonal()).asDiagonal());
  core_.compute(middle);
  wide_.resize(S.rows(), 2 * k);
  wide_ << scale_ * S, Y;
}

Vector LimitedMemory::Multiply(const Vector& v) const {
  const Vector inner = core_.solve(Vector(wide_.transpose() * v));
  return scale_ * v - wide_ * inner;
}

Vector LimitedMemory::Solve(const Vector& v) const {
  const Eigen::MatrixXd& S = state_.steps;
  const Eigen::MatrixXd& Y = state_.gradient_changes;
  const Eigen::Index k = S.cols();
  Vector q = v, alpha(k);
  for (Eigen::Index i = k - 1; i >= 0; --i) {
    alpha[i] = S.col(i).dot(q) / S.col(i).dot(Y.col(i));
    q -= alpha[i] * Y.col(i);
  }
  q /= scale_;
  for (Eigen::Index i = 0; i < k; ++i) {
    q += (alpha[i] - Y.col(i).dot(q) / S.col(i).dot(Y.col(i))) * S.col(i);
  }
  return q;
}

}  // namespace bilevel
