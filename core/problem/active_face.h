// The face of the feasible set, and of the kinks of the 1-norm, on which a point lies and to which first-order
// conditions hold it.
//
// F = f + l1 |x|_1 is to become small and g is the gradient of f. Steepest descent at x,
//
//   d = argmin over the tangent cone of 1/2 |d + g|_2^2 + l1 |.|_1'(x; d),
//
// decides: a constraint or kink that is active at x belongs to the face when d stays on it.
//
//   box      x_i at a bound and F does not fall inwards
//   1-norm   x_i = 0 and |g_i + mu (x - center)_i| <= l1
//   simplex  sum x = total; x_i = 0 and g_i + l1 >= nu, the mean of g_i + l1 over the other coordinates
//   budget   the same where that nu < 0; otherwise x_i = 0 and g_i + l1 >= 0
//   ball     |x - center|_2 = radius and mu > 0, the multiplier of 1/2 (|x - center|^2 - radius^2) <= 0
//
// At a stationary point the multipliers are those of the first-order conditions; elsewhere they are estimates. With
// strict complementarity x then stays minimal on the face while data change a little: with Z a basis of the face and D
// the curvature, dx = -Z (Z^T (H + D) Z)^{-1} Z^T dg.
//
// Robinson (1976), "First order conditions for general nonlinear optimization"; Fiacco (1983), "Introduction to
// Sensitivity and Stability Analysis in Nonlinear Programming", chapters 2 and 3.

#ifndef BILEVEL_CORE_PROBLEM_ACTIVE_FACE_H_
#define BILEVEL_CORE_PROBLEM_ACTIVE_FACE_H_

#include <vector>

#include "core/problem/feasible_set.h"

namespace bilevel {

class ActiveFace {
 public:
  // x, gradient: [n]. x: feasible up to rounding; what is within a relative 1e-9 of a constraint lies on it. gradient:
  // of f, which is minimised: the sense is applied already. l1 >= 0. Cost: O(n log n).
  ActiveFace(const FeasibleSet& set, const Vector& x, const Vector& gradient, double l1);

  // The orthogonal projection of a direction [n] onto the tangent space of the face. Cost: O(n).
  Vector Project(const Vector& v) const;

  // Of that tangent space.
  int dimension() const;

  // The shortest way [n] that keeps the face when the limit (total or radius) of the block that begins at parameter
  // `first` grows by 1; zeros where it does not bind.
  Vector FollowLimit(Eigen::Index first) const;

  // Whether steepest descent leaves no constraint or kink that is active at x: a small step within the face then stays
  // feasible, and F is smooth along it.
  bool settled() const { return settled_; }

  // [n]: what the curved constraints add to the diagonal of the Hessian of f, mu on the coordinates of a ball.
  const Vector& curvature() const { return curvature_; }

  // Derivatives of the smallest value of F, by the envelope theorem; 0 for what does not bind. Where a bound lies at a
  // kink of the 1-norm: for relaxing it.
  struct Multipliers {
    Vector lower;  // [n], d/d lower_i >= 0
    Vector upper;  // [n], d/d upper_i <= 0
    Vector limit;  // [blocks], d/d total of a simplex or budget, d/d radius of a ball
  };
  const Multipliers& multipliers() const { return multipliers_; }

 private:
  struct Part;  // what one block is decided from
  void HoldCoordinates(const Part& part, const FeasibleBlock& block);
  double HoldShares(const Part& part, double total, bool may_keep);
  double HoldSphere(const Part& part, const Ball& ball);
  // normal . dx = slope * d limit.
  void AddNormal(Eigen::Index first, Vector normal, double slope);

  struct Normal {
    Eigen::Index first;
    Vector unit;  // 0 where a coordinate is fixed
    double rate;  // of the limit: unit . dx = rate * d limit
  };
  std::vector<bool> fixed_;      // [n]
  std::vector<Normal> normals_;  // at most one for a block
  bool settled_ = true;
  Vector curvature_;
  Multipliers multipliers_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_ACTIVE_FACE_H_
