// The hyper-gradient from differences of the objective along random directions: nothing of it is differentiated.
//
//   g = (1/k) sum_j g_j,   g_j = n (phi(x + h u_j) - phi(x - h u_j)) / (2 h) u_j,   u_j uniform on the unit sphere
//
// The mean of g is the gradient of phi averaged over the ball of radius h: off by O(h^2), and by nothing for quadratic
// phi. There E|g - E g|^2 = (n - 1) |grad phi|^2 / k: k counts in units of n. (Normal directions: n + 1.) With the same
// directions at h/2,
//
//   bias estimate = (4/3) (g(h) - g(h/2)),   right but for O(h^4), and to a share of about sqrt(n/k)
//
// Directions stand for everything that is random here: where the problem is an estimated model, its own error is not in
// the standard errors. phi is the objective without its l1 penalty, as gradients are everywhere.
//
// Nesterov, Spokoiny (2017), "Random Gradient-Free Minimization of Convex Functions"; Flaxman, Kalai, McMahan (2005).

#ifndef BILEVEL_CORE_STREAMING_ZEROTH_ORDER_GRADIENT_H_
#define BILEVEL_CORE_STREAMING_ZEROTH_ORDER_GRADIENT_H_

#include "core/hypergradient/hypergradient.h"

namespace bilevel {

struct ZerothOrderOptions {
  double radius = 0.01;  // h > 0; errors of phi enter g by about n / h times them
  int directions = 64;   // k in [2, 10'000]
  uint64_t seed = 0;     // of the directions; the first k do not depend on k
  LowerLevelOptions lower_level;

  // A field error names the option out of range.
  absl::Status Validate() const;
};

struct ZerothOrderGradient {
  Vector gradient;        // g [n]; 0 without directions
  Vector standard_error;  // over directions [n]; empty with less than two
  Vector bias;            // estimate; the gradient less this is nearer the truth on average [n]
  double objective = 0;   // phi(x), l1 penalty included; exact
  int directions = 0;     // made before a limit
  Termination termination;
};

// problem: must pass CheckObjective. Cost: 1 + 4 k objectives, each started from the one before; an interruption, or a
// lower level at its limits, ends it with the directions made so far. INVALID_ARGUMENT: options, and see
// SolveLowerLevel.
absl::StatusOr<ZerothOrderGradient> EstimateZerothOrder(const BilevelProblem& problem, const Vector& x,
                                                        const ZerothOrderOptions& options, const Interrupt& interrupt);

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_ZEROTH_ORDER_GRADIENT_H_
