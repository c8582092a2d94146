// Vector-Jacobian product of the soft-optimal answer for a caller's own objective F(pi, Q, V) (math.md (7), (9), (10)).
//
// With lambda = dF/dr from the adjoint, H(s) the entropy of pi_s:
//
//   dF/dP(s2|s,a) = gamma lambda(s,a) V(s2)
//   dF/dgamma     = sum_sa lambda(s,a) (P V)(s,a)
//   dF/dtau       = -(1/tau) [ sum_s z'(s) H(s) + sum_sa yc(s,a) log pi(a|s) ]
//
// Bounds hold the cotangents fixed and are proven, rounding included.

#ifndef BILEVEL_CORE_HYPERGRADIENT_PULLBACK_H_
#define BILEVEL_CORE_HYPERGRADIENT_PULLBACK_H_

#include "core/base/interrupt.h"
#include "core/hypergradient/adjoint.h"
#include "core/mdp/lower_level.h"

namespace bilevel {

// dF/dpi [S*A], dF/dQ [S*A], dF/dV [S]; 0 where an action is unavailable; empty means 0.
struct OutputCotangents {
  Vector policy;
  Vector q;
  Vector value;
};

struct PullbackResult {
  Vector reward;       // [S*A]
  Vector transitions;  // [entries] in storage order; empty unless asked for
  double discount = 0;
  double temperature = 0;
  // Bounds on the 2-norm of the distances to the gradients at the exact soft-optimal answer.
  double reward_error_bound = 0;
  double transitions_error_bound = 0;
  double discount_error_bound = 0;
  double temperature_error_bound = 0;
  double reward_error_estimate = 0;  // 2-norm, from one further Newton step; not a bound
  Adjoint adjoint;
};

struct PullbackOptions {
  double adjoint_tolerance = 1e-12;
  bool want_transitions = false;
};

// `error` is BoundFollowerError of this solution. `system` must hold solution.backup.pi; on return it holds another
// policy. start: z' to begin with, or empty. Cost: one linear solve, three more to a few digits for the bounds.
PullbackResult Pullback(const RegularizedMdp& follower, const LowerLevelSolution& solution, const FollowerError& error,
                        const OutputCotangents& cotangents, const PullbackOptions& options, const Vector& start,
                        const Interrupt& interrupt, PolicySystem& system);

}  // namespace bilevel

#endif  // BILEVEL_CORE_HYPERGRADIENT_PULLBACK_H_
