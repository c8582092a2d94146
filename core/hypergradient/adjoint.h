// The vector-Jacobian product of the soft-optimal answer (math.md section 3, advantage form).
//
// Objectives hand over y = pi o df/dpi, g_Q = df/dQ and g_V = df/dV. With ybar(s) = sum_a y(s,a), yc = y - pi ybar:
//
//   (I - gamma P^pi)^T z' = -gamma P^T (yc + tau g_Q) - tau g_V                                     (6')
//   lambda = g_Q + (yc - pi z') / tau  =  d f / d r(s,a)                                             (7)
//
// The paper's w is z' + ybar. One S x S linear solve; no derivative beyond the first of f and r.
// Yang, Gao, Yuan (2025), arXiv:2405.19697; advantage form: ours, derived in core/README.md.

#ifndef BILEVEL_CORE_HYPERGRADIENT_ADJOINT_H_
#define BILEVEL_CORE_HYPERGRADIENT_ADJOINT_H_

#include "core/base/interrupt.h"
#include "core/mdp/follower_error.h"
#include "core/mdp/majorant.h"
#include "core/mdp/policy_system.h"
#include "core/problem/parametric_dynamics.h"

namespace bilevel {

struct Cotangents {
  Vector y;      // pi o df/dpi [S*A]; 0 where unavailable
  Vector q;      // df/dQ [S*A]; 0 where unavailable; empty means 0
  Vector value;  // df/dV [S]; empty means 0
};

struct Adjoint {
  Vector z;                // z' [S]
  Vector centered_y;       // yc [S*A]
  Vector reward_gradient;  // lambda [S*A]; 0 where unavailable
  Vector residual;         // right-hand side - (I - gamma P^pi)^T z' [S]
  double residual_l1 = 0;
  bool converged = false;  // residual_l1 <= tolerance * |right-hand side|_1, or at rounding level
};

// y - pi ybar.
Vector CenterCotangent(const TabularMdp& mdp, const Vector& pi, Vector y, const ParallelFor& parallel_for = RunInOrder);

// pi: the follower's policy, which `system` holds. start: z' to begin with, [S], or empty.
// |lambda - exact lambda of the same pi|_1 <= residual_l1 / (tau (1 - gamma)).
Adjoint SolveAdjoint(const RegularizedMdp& follower, const Vector& pi, Cotangents cotangents, double tolerance,
                     const Vector& start, const Interrupt& interrupt, PolicySystem& system);

// lambda = (yc - pi z') / tau + q, [S*A], to `result`, which may be centered_y itself. q: [S*A], or empty.
void FormRewardGradient(const RegularizedMdp& follower, const Vector& pi, const Vector& centered_y, const Vector& z,
                        const Vector& q, Vector& result);

// Through the environment that the follower lives in: d f / d P(s2|s,a) = gamma lambda(s,a) V(s2)         (math.md (9))
EnvironmentDerivative ImplicitDerivative(const RegularizedMdp& follower, const Vector& lambda, const Vector& value);

// Entrywise bounds on the distance to z', lambda of the exact soft-optimal policy, and on the sums of what may come on
// top, nobody knows where; these are 0 if the majorant solves.
struct AdjointError {
  Vector z;                // [S]; empty means 0
  Vector reward_gradient;  // [S*A]
  double z_mass = 0;
  double reward_gradient_mass = 0;
};

// centered_y_radius, centered_y_mass: |yc - yc at pi*|, [S*A]. Cotangents q and value are taken as exact; y is not
// used, nor is lambda.
AdjointError BoundAdjointError(const RegularizedMdp& follower, const Vector& pi, const Cotangents& cotangents,
                               const Adjoint& adjoint, const FollowerError& error, Vector centered_y_radius,
                               double centered_y_mass, Majorant& majorant, const PolicySystem& system);

}  // namespace bilevel

#endif  // BILEVEL_CORE_HYPERGRADIENT_ADJOINT_H_
