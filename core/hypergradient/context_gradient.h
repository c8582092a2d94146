// One context at one answer of its follower: f_c, the adjoint and the gradient, and how they move.

#ifndef BILEVEL_CORE_HYPERGRADIENT_CONTEXT_GRADIENT_H_
#define BILEVEL_CORE_HYPERGRADIENT_CONTEXT_GRADIENT_H_

#include "core/hypergradient/adjoint.h"
#include "core/mdp/lower_level.h"
#include "core/problem/bilevel_problem.h"
#include "core/problem/terms/context_objective.h"

namespace bilevel {

// Where. References must outlive the calls.
struct ContextRequest {
  const Context& context;
  const RegularizedMdp& follower;  // at x
  const Vector& x;                 // [n]
  const Vector& theta;             // [n]
  const Vector& slope;             // of the follower's reward, [n] or empty
  const LowerLevelOptions& options;
  const Interrupt& interrupt;
  PolicySystem& system;  // holds the answer's policy
};

struct ContextGradient {
  ContextObjective objective;  // without y, which became adjoint.centered_y
  Adjoint adjoint;
  ParameterGradient gradient;  // direct and implicit part
};

TermInput InputOf(const ContextRequest& request, const Answer& answer);

// start: the adjoint to begin with, [S], or empty. near: the objective at a nearby answer, or null.
ContextGradient DifferentiateContext(const ContextRequest& request, const Answer& answer, const Vector& start,
                                     const ContextObjective* near = nullptr);

// The gradient of one term, weight left out. value: DifferentiateContext of the same arguments. Cost: one linear solve.
ParameterGradient DifferentiateTermAlone(const ContextRequest& request, const Answer& answer,
                                         const ContextGradient& value, size_t term);

// Bounds on the distances to the exact objective and gradient.
struct ContextRadius {
  double objective;
  ParameterGradient gradient;
};
// Where the environment moves with x, effort is kSolves. Takes from `value` what TrimTerms does, and
// adjoint.centered_y: there is room for few vectors [S*A].
ContextRadius BoundContext(const ContextRequest& request, const Answer& answer, ContextGradient& value,
                           FollowerError error, const Vector& theta_rounding,
                           Majorant::Effort effort = Majorant::Effort::kSolves);

// A direction in which a context may move.
struct ContextDirection {
  Vector x;      // [n]
  Vector theta;  // J x [n]
  double discount = 0;
  double temperature = 0;
};

// How ContextGradient.gradient moves, exactly to first order (ours: forward over reverse).
//
//   (I - gamma P^pi) dV = sum_a pi (dr + dgamma P V + gamma dP V) + dtau H
//
//   dQ = dr + dgamma P V + gamma (dP V + P dV)
//
//   d log pi = (dQ - dV - dtau log pi) / tau
//
//   (I - gamma P^pi)^T dz' = -d[gamma P]^T yc - gamma P^T dyc - d[tau g_V] + d[gamma P^pi]^T z'
//
//   dlambda = (dyc - dpi z' - pi dz' - dtau lambda) / tau
//
// value: DifferentiateContext of the same arguments. Cost: two linear solves, and two for each term that has an
// occupancy.
ParameterGradient DifferentiateContextGradient(const ContextRequest& request, const Answer& answer,
                                               const ContextGradient& value, const ContextDirection& direction);

}  // namespace bilevel

#endif  // BILEVEL_CORE_HYPERGRADIENT_CONTEXT_GRADIENT_H_
