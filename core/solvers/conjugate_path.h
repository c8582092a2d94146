// The path of conjugate gradients towards the minimiser of a quadratic model, to its end or to the rim of a trust
// region:
//
//   q(p) = g^T p + 1/2 p^T B p,   B symmetric, of any inertia
//
//   p_0 = 0, r_0 = g, d_0 = -g;  alpha = r^T r / d^T B d,  p <- p + alpha d,  r <- r + alpha B d,
//   d <- -r + (r_new^T r_new / r^T r) d
//
// until |r|_2 <= tolerance |g|_2, or max_products are spent, or the path reaches |p|_2 = radius, or d^T B d <= 0; then
// it goes on along d to the rim. Along the path |p|_2 grows and q falls (Steihaug, theorem 2.1): At(t) for a smaller
// radius t is where the path for that radius would have ended, without a further product.
//
// Within a subspace: g in it, and `multiply` the model projected onto it.
//
// Steihaug (1983), "The conjugate gradient method and trust regions in large scale optimization"; Nocedal, Wright
// (2006), "Numerical Optimization", algorithm 7.2.

#ifndef BILEVEL_CORE_SOLVERS_CONJUGATE_PATH_H_
#define BILEVEL_CORE_SOLVERS_CONJUGATE_PATH_H_

#include <functional>
#include <optional>
#include <vector>

#include "core/mdp/tabular_mdp.h"

namespace bilevel {

class ConjugatePath {
 public:
  struct Options {
    double tolerance = 1e-6;
    int max_products = 50;
    double radius = 1;  // > 0
  };

  // multiply: B d, or nothing where it was interrupted, which ends the path; the same for products that are not finite.
  ConjugatePath(const Vector& gradient, const std::function<std::optional<Vector>(const Vector&)>& multiply,
                const Options& options);

  // |p|_2 at its end; 0 when not even the first product came.
  double length() const { return pieces_.empty() ? 0 : pieces_.back().length; }
  bool on_rim() const { return on_rim_; }
  bool met_negative_curvature() const { return met_negative_curvature_; }

  struct Point {
    Vector p;
    double value = 0;  // q(p) < 0
  };
  // 0 < length <= length().
  Point At(double length) const;

 private:
  // p_k + s along, 0 <= s <= 1, q = value + s slope + s^2/2 curvature.
  struct Piece {
    Vector along;
    double value, slope, curvature;
    double length;  // |p|_2 at its end
  };

  Eigen::Index size_;
  std::vector<Piece> pieces_;
  bool on_rim_ = false;
  bool met_negative_curvature_ = false;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_SOLVERS_CONJUGATE_PATH_H_
