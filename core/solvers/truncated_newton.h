// Newton-CG descent on the exact hyper-gradient, with exact products of phi's Hessian, on the active face.
//
//   face of x from g (active_face.h): Z its tangent space, D the curvature of its spheres, n the normal part of g
//
//   not settled:  (1)  x+ = prox(x - t g, t l1),  t by Barzilai and Borwein, backtracked until Armijo's rule holds
//
//   settled:      (2)  p in Z by conjugate gradients on Z^T (H + D) Z p = -Z^T (g + l1 sign x), to a residual of
//                      min(0.5, |Z^T g|^0.5) |Z^T g|, within |p| <= radius; negative curvature is followed to the rim
//
//                 (3)  x+ = prox(x + p - n, l1),  radius <- 0.3 |p| until F(x+) <= F(x) + 1e-4 q(p)
//
// with F = sign * objective, g the gradient of F without its 1-norm, q the model of (2). x - n maps to x under the
// proximal map, so that (3) stays on the face, bends with a sphere (exactly to second order: D), and stops at bounds
// and kinks that p runs into; they belong to the next face. Each trial of (3) is one evaluation of F; shorter p are
// read from the path that conjugate gradients took (conjugate_path.h), without further products.
//
// [D1] A trust region, not a line search: where phi curves down a line search has no natural length, and a shorter step
// should turn towards steepest descent.
// [D2] radius is at most 0.6 max(1, |x|), which it is at first: longer steps end on plateaus of saturated maps.
// [D3] After kMaxRadii of (3) the step is one of (1).
// [D4] When the trust region has shrunk so far that its rim, along the negative gradient, promises less than the
// rounding of F, no step helps: MonotoneDescent solves the followers more exactly, goes to the next stage of the worst
// case, or ends.
//
// Monotone. Near a minimum that is strict and strictly complementary the face is found and |g| falls like |g|^1.5 from
// step to step. Saddles repel it, but a start exactly on one is stationary and ends the run. Products are not
// evaluations; those of one step share one factorisation of each follower's system, taken at x from its warm start.
//
// Steihaug (1983); Nocedal, Wright (2006), "Numerical Optimization", algorithms 7.1 and 7.2; the alternation with
// gradient steps: More, Toraldo (1991), "On the solution of large quadratic programming problems with bound
// constraints". The face of sets and 1-norm, and (3), are ours.

#ifndef BILEVEL_CORE_SOLVERS_TRUNCATED_NEWTON_H_
#define BILEVEL_CORE_SOLVERS_TRUNCATED_NEWTON_H_

#include "core/solvers/outer_loop.h"

namespace bilevel {

struct TruncatedNewtonOptions {
  static constexpr int kMaxProducts = 1000;

  // Products with the Hessian that one step may take, in [1, kMaxProducts]. More solve (2) better; a path keeps
  // 8 n bytes for each.
  int max_products = 50;

  absl::Status Validate() const;
};

// start: projected onto the feasible set. The result counts its products.
absl::StatusOr<OuterResult> SolveTruncatedNewton(const BilevelProblem& problem, const Vector& start,
                                                 const TruncatedNewtonOptions& method, const OuterOptions& options,
                                                 const Interrupt& interrupt, ProgressReporter& reporter);

}  // namespace bilevel

#endif  // BILEVEL_CORE_SOLVERS_TRUNCATED_NEWTON_H_
