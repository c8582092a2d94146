// How the optimum answers to the numbers of the problem: weights, discounts, temperatures, budgets, penalties.
//
//   d phi*/dp = the derivative of the Lagrangian at x*, x* held fixed       (envelope theorem)
//
//   dx*/dp    = -Z (Z^T (H + D) Z)^+ Z^T d(grad phi)/dp                     (implicit function theorem)
//
// Z spans the tangent space of the face on which first-order conditions hold x*, D is the curvature of its constraints
// (active_face.h), H the exact Hessian of phi, ^+ the pseudo-inverse: where phi does not curve along the face, as when
// a constant is added to a softmax group, the shortest dx is taken. Both hold to first order at a stationary point with
// strict complementarity. Under the worst case the Lagrangian is the sum by multipliers; where contexts tie, dx* would
// have to keep them tied, and is left out.
//
// Fiacco (1983), "Introduction to Sensitivity and Stability Analysis in Nonlinear Programming", chapters 2 and 3.

#ifndef BILEVEL_CORE_SOLVERS_SENSITIVITIES_H_
#define BILEVEL_CORE_SOLVERS_SENSITIVITIES_H_

#include <string>
#include <vector>

#include "core/hypergradient/hessian.h"

namespace bilevel {

// dx* needs n products with H and an n x n eigenvalue problem, and is left out above.
inline constexpr int kMaxSensitivityParameters = 500;

struct Sensitivity {
  double objective = 0;  // d phi*/dp
  Vector parameters;     // dx*/dp [n]; empty: not computed
};

struct ContextSensitivities {
  Sensitivity weight;       // of the context
  Sensitivity discount;     // of the context, and of its terms that have none of their own
  Sensitivity temperature;  // of the context
  std::vector<Sensitivity> term_weights;
};

struct Sensitivities {
  std::vector<ContextSensitivities> contexts;
  std::vector<Sensitivity> group_scales;  // of each parameter group: budgets of softmax groups
  std::vector<Sensitivity> limits;        // of each feasible block: total or radius; 0 where there is none
  Vector lower, upper;                    // d phi* / d bound of a box [n]; 0 where it does not bind
  Sensitivity squared_l2, l1;             // of the penalties' weights
  std::string note;                       // what was left out, and why
};

// At x, a stationary point. start: where inner solves begin. INVALID_ARGUMENT: see SolveLowerLevel. Cost: one
// evaluation, a product with H or less for each number, n for dx*; what an interruption leaves out, `note` says.
absl::StatusOr<Sensitivities> ComputeSensitivities(const BilevelProblem& problem, const LowerLevelOptions& options,
                                                   const Vector& x, const WarmStart& start, const Interrupt& interrupt);

}  // namespace bilevel

#endif  // BILEVEL_CORE_SOLVERS_SENSITIVITIES_H_
