#include "core/solvers/stationarity.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "Eigen/Eigenvalues"
#include "core/base/rng.h"
#include "core/base/status_macros.h"
#include "core/hypergradient/hessian.h"
#include "core/problem/active_face.h"
#include "core/solvers/worst_case_stages.h"

namespace bilevel {
namespace {

// What is left of a product beside the space, relative to the largest, when the space is exhausted.
constexpr double kExhausted = 1e-9;
// Of a unit vector or of a curvature: rounding.
constexpr double kRounding = 1e-12;
// Curvatures found in part of the face are trusted when a true one lies this near, relative to them.
constexpr double kConverged = 0.1;

// The space in which curvature is looked for.
class Face {
 public:
  Face(const BilevelProblem& problem, const HypergradientPoint& point)
      : face_(problem.feasible_set, point.x, problem.sign() * point.gradient, problem.penalties.l1) {
    if (problem.penalties.squared_l2 != 0 || problem.HasQuadraticReward()) return;
    Eigen::Index first = 0;
    for (const ParameterGroup& group : problem.map.groups()) {
      if (group.kind == MapKind::kSoftmax) MaybeTakeOut(first, group.size, point.x.size());
      first += group.size;
    }
  }

  int dimension() const { return face_.dimension() - static_cast<int>(taken_out_.size() + ties_.size()); }
  const Vector& curvature() const { return face_.curvature(); }

  Vector Project(const Vector& v) const {
    Vector result = face_.Project(v);
    for (const auto& [first, size] : taken_out_) {
      result.segment(first, size).array() -= result.segment(first, size).mean();
    }
    for (const Vector& tie : ties_) result -= tie.dot(result) * tie;
    return result;
  }

  // Leaves the directions along which contexts that are the worst together stay level.
  void KeepTies(const BilevelProblem& problem, const Hessian& hessian) {
    std::optional<Vector> first;
    for (size_t c = 0; c < hessian.weights().size(); ++c) {
      if (hessian.weights()[c] == 0) continue;
      const Vector gradient = problem.contexts[c].weight * hessian.ContextGradientOf(c);
      if (!first.has_value()) {
        first = gradient;
        continue;
      }
      // Twice, for orthogonality up to rounding.
      const Vector apart = Project(Project(gradient - *first));
      if (apart.norm() > kExhausted * (gradient.norm() + first->norm())) ties_.push_back(apart.normalized());
    }
  }

 private:
  struct Group {
    Eigen::Index first, size;
  };

  void MaybeTakeOut(Eigen::Index first, Eigen::Index size, Eigen::Index n) {
    Vector shift = Vector::Zero(n);
    shift.segment(first, size).setConstant(1 / std::sqrt(static_cast<double>(size)));
    const bool inside = (face_.Project(shift) - shift).norm() <= kRounding;
    if (inside && face_.curvature().segment(first, size).isZero(0)) taken_out_.push_back({first, size});
  }

  ActiveFace face_;
  std::vector<Group> taken_out_;
  std::vector<Vector> ties_;  // orthonormal
};

// An orthonormal basis Q that grows with the products M q, and T = Q^T M Q.
class KrylovSpace {
 public:
  KrylovSpace(const Face& face, Eigen::Index n, int most, uint64_t seed)
      : face_(face), rng_(seed), Q_(n, most), T_(Eigen::MatrixXd::Zero(most, most)) {
    DrawNext();
  }

  int size() const { return size_; }
  auto next() const { return Q_.col(size_); }

  // M next(), within the face.
  void Add(Vector product) {
    const Eigen::Index last = size_++;
    const auto Q = Q_.leftCols(size_);
    for (int pass = 0; pass < 2; ++pass) {
      const Vector components = Q.transpose() * product;
      product -= Q * components;
      T_.col(last).head(size_) += components;
    }
    largest_ = std::max(largest_, T_.col(last).head(size_).cwiseAbs().maxCoeff());
    remainder_ = product.norm();
    if (size_ == Q_.cols()) return;
    if (remainder_ > kExhausted * largest_) {
      Q_.col(size_) = product / remainder_;
      Orthonormalise();
    } else {
      remainder_ = 0;
      DrawNext();
    }
  }

  struct Ritz {
    double smallest, largest;
    Vector direction;
    double remainder;  // an eigenvalue of M is this near the smallest
  };
  Ritz Solve() const {
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> eigen(
        T_.topLeftCorner(size_, size_).selfadjointView<Eigen::Upper>());
    const Vector weights = eigen.eigenvectors().col(0);
    Vector direction = (Q_.leftCols(size_) * weights).normalized();
    Eigen::Index at;
    direction.cwiseAbs().maxCoeff(&at);
    if (direction[at] < 0) direction = -direction;
    return {eigen.eigenvalues()[0], eigen.eigenvalues()[size_ - 1], std::move(direction),
            remainder_ * std::abs(weights[size_ - 1])};
  }

 private:
  void DrawNext() {
    Vector v = Vector::NullaryExpr(Q_.rows(), [this] { return rng_.Normal(); });
    Q_.col(size_) = v;
    Orthonormalise();
    Orthonormalise();
  }

  void Orthonormalise() {
    Vector v = face_.Project(Q_.col(size_));
    const auto Q = Q_.leftCols(size_);
    v -= Q * (Q.transpose() * v).eval();
    Q_.col(size_) = v.normalized();
  }

  const Face& face_;
  Rng rng_;
  Eigen::MatrixXd Q_, T_;
  int size_ = 0;
  double largest_ = 0, remainder_ = 0;
};

Stationarity::Kind KindOf(const Stationarity& found, double remainder) {
  using Kind = Stationarity::Kind;
  if (found.smallest < -found.tolerance) return Kind::kSaddle;
  const bool settled = found.exact || remainder <= std::max(found.tolerance, kConverged * found.smallest);
  if (!settled) return Kind::kUnknown;
  return found.smallest <= found.tolerance ? Kind::kFlat : Kind::kOptimum;
}

// As many products as the face calls for and time allows, beginning at `start`.
KrylovSpace Explore(const BilevelProblem& problem, const Face& face, const StationarityOptions& options,
                    const Interrupt& interrupt, Hessian& hessian) {
  const int dimension = face.dimension();
  const int most = dimension <= Stationarity::kDenseDimension ? dimension : Stationarity::kMaxProducts;
  KrylovSpace space(face, hessian.x().size(), most, options.seed);
  while (space.size() < most && !interrupt.Check().has_value()) {
    const Vector q = space.next();
    const Vector bent = problem.sign() * hessian.Multiply(q, interrupt) + face.curvature().cwiseProduct(q);
    if (!bent.allFinite() || interrupt.Check().has_value()) break;  // an interrupted product is of no use
    space.Add(face.Project(bent));
  }
  return space;
}

}  // namespace

absl::StatusOr<Stationarity> DescribeStationarity(const BilevelProblem& problem, const HypergradientPoint& point,
                                                  const StationarityOptions& options, const WarmStart& start,
                                                  const Interrupt& interrupt) {
  Stationarity result;
  result.gradient_norm = point.gradient_norm;
  if (!std::isfinite(point.objective) || !point.gradient.allFinite()) return result;
  Face face(problem, point);
  result.face_dimension = face.dimension();
  if (!(point.gradient_norm <= options.gradient_tolerance) ||
      !MultipliersFit(problem, point.multipliers, point.context_objectives)) {
    result.kind = Stationarity::Kind::kNotStationary;
    return result;
  }
  if (point.termination.reason != StopReason::kConverged || interrupt.Check().has_value()) return result;
  LowerLevelOptions lower_level = options.lower_level;
  lower_level.refuse_unreachable = false;  // decided when the point was evaluated
  ASSIGN_OR_RETURN(const std::unique_ptr<Hessian> hessian,
                   Hessian::Create(problem, lower_level, point.x, start, interrupt));
  if (interrupt.Check().has_value()) return result;
  if (problem.aggregation == Aggregation::kWorstCase) face.KeepTies(problem, *hessian);
  result.face_dimension = face.dimension();
  result.exact = face.dimension() == 0;
  if (result.exact) {
    result.kind = Stationarity::Kind::kOptimum;
    return result;
  }
  const KrylovSpace space = Explore(problem, face, options, interrupt, *hessian);
  if (space.size() == 0) return result;
  KrylovSpace::Ritz ritz = space.Solve();
  result.smallest = ritz.smallest;
  result.largest = ritz.largest;
  result.tolerance = Stationarity::kRelativeTolerance * std::max(std::abs(ritz.smallest), std::abs(ritz.largest));
  result.direction = std::move(ritz.direction);
  result.products = space.size();
  result.exact = space.size() == face.dimension();
  result.kind = KindOf(result, ritz.remainder);
  return result;
}

}  // namespace bilevel
