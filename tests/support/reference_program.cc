#include "tests/support/reference_program.h"

#include <Eigen/LU>
#include <limits>
#include <utility>
#include <vector>

namespace bilevel::testing {
namespace {

constexpr double kTolerance = 1e-10;

Polyhedron WithRows(const Polyhedron& polyhedron, const Eigen::MatrixXd& rows, const Vector& bounds) {
  Polyhedron result{Eigen::MatrixXd(polyhedron.rows.rows() + rows.rows(), rows.cols()),
                    Vector(polyhedron.bounds.size() + bounds.size()), polyhedron.equalities};
  result.rows << polyhedron.rows, rows;
  result.bounds << polyhedron.bounds, bounds;
  return result;
}

// The minimiser with exactly these rows active, if it is feasible and its multipliers have the right sign.
std::optional<Vector> SolveActive(const Eigen::MatrixXd& hessian, const Vector& linear, const Polyhedron& polyhedron,
                                  const std::vector<Eigen::Index>& active) {
  const Eigen::Index n = linear.size(), k = static_cast<Eigen::Index>(active.size());
  Eigen::MatrixXd kkt = Eigen::MatrixXd::Zero(n + k, n + k);
  Vector right(n + k);
  kkt.topLeftCorner(n, n) = hessian;
  right.head(n) = linear;
  for (Eigen::Index i = 0; i < k; ++i) {
    kkt.row(n + i).head(n) = polyhedron.rows.row(active[static_cast<size_t>(i)]);
    kkt.col(n + i).head(n) = kkt.row(n + i).head(n).transpose();
    right[n + i] = polyhedron.bounds[active[static_cast<size_t>(i)]];
  }
  const Eigen::FullPivLU<Eigen::MatrixXd> lu(kkt);
  if (!lu.isInvertible()) return std::nullopt;
  const Vector solution = lu.solve(right), u = solution.head(n);
  const bool feasible = (polyhedron.rows * u - polyhedron.bounds).maxCoeff() <= kTolerance;
  const bool held = (solution.tail(k - polyhedron.equalities).array() >= -kTolerance).all();
  return feasible && held ? std::optional<Vector>(u) : std::nullopt;
}

std::optional<Vector> Enumerate(const Eigen::MatrixXd& hessian, const Vector& linear, const Polyhedron& polyhedron,
                                std::vector<Eigen::Index>& active, Eigen::Index next) {
  if (std::optional<Vector> u = SolveActive(hessian, linear, polyhedron, active); u.has_value()) return u;
  if (static_cast<Eigen::Index>(active.size()) == linear.size()) return std::nullopt;
  for (; next < polyhedron.rows.rows(); ++next) {
    active.push_back(next);
    std::optional<Vector> u = Enumerate(hessian, linear, polyhedron, active, next + 1);
    active.pop_back();
    if (u.has_value()) return u;
  }
  return std::nullopt;
}

std::optional<Vector> MinimizeSmooth(const Eigen::MatrixXd& hessian, const Vector& linear,
                                     const Polyhedron& polyhedron) {
  std::vector<Eigen::Index> active;
  for (Eigen::Index row = 0; row < polyhedron.equalities; ++row) active.push_back(row);
  return Enumerate(hessian, linear, polyhedron, active, polyhedron.equalities);
}

}  // namespace

Polyhedron PolyhedronOf(const FeasibleBlock& block) {
  const Eigen::Index n = block.size;
  const Eigen::MatrixXd identity = Eigen::MatrixXd::Identity(n, n);
  Polyhedron result{Eigen::MatrixXd(0, n), Vector(0)};
  const auto share = [&](double total, Eigen::Index equalities) {
    result.equalities = equalities;
    result = WithRows(result, Eigen::MatrixXd::Ones(1, n), Vector::Constant(1, total));
    result = WithRows(result, -identity, Vector::Zero(n));
  };
  if (const Box* box = std::get_if<Box>(&block.set)) {
    result = WithRows(result, identity, box->upper);
    result = WithRows(result, -identity, -box->lower);
  }
  if (const Simplex* simplex = std::get_if<Simplex>(&block.set)) share(simplex->total, 1);
  if (const Budget* budget = std::get_if<Budget>(&block.set)) share(budget->total, 0);
  return result;
}

std::optional<Vector> MinimizeQuadratic(const Eigen::MatrixXd& hessian, const Vector& linear, double weight,
                                        const Polyhedron& polyhedron) {
  if (weight == 0) return MinimizeSmooth(hessian, linear, polyhedron);
  const Eigen::Index n = linear.size();
  std::optional<Vector> best;
  double smallest = std::numeric_limits<double>::infinity();
  for (unsigned orthant = 0; orthant < (1U << n); ++orthant) {
    const Vector sign = Vector::NullaryExpr(n, [&](Eigen::Index i) { return (orthant >> i) & 1 ? 1.0 : -1.0; });
    const Eigen::MatrixXd outside = -Eigen::MatrixXd(sign.asDiagonal());
    const std::optional<Vector> u =
        MinimizeSmooth(hessian, linear - weight * sign, WithRows(polyhedron, outside, Vector::Zero(n)));
    if (!u.has_value()) continue;
    const double value = 0.5 * u->dot(hessian * *u) - linear.dot(*u) + weight * u->lpNorm<1>();
    if (value < smallest) {
      smallest = value;
      best = u;
    }
  }
  return best;
}

}  // namespace bilevel::testing
