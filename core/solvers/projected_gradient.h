// Projected (proximal) gradient descent on the exact hyper-gradient.
//
//   x+ = prox(x - t grad),  t by Barzilai and Borwein (1988), safeguarded by backtracking until
//   F(x+) <= F(x) - c/t |x+ - x|^2 (+ what double precision cannot tell apart),  F = sign * objective.
//
// Monotone: a non-monotone search, otherwise common with these steps, walked off good optima onto plateaus of saturated
// parameter maps (Four-Rooms: 2 of 8 starts). Every limit point is stationary; which one depends on the start.

#ifndef BILEVEL_CORE_SOLVERS_PROJECTED_GRADIENT_H_
#define BILEVEL_CORE_SOLVERS_PROJECTED_GRADIENT_H_

#include <optional>

#include "core/solvers/outer_loop.h"

namespace bilevel {

struct ProjectedGradientOptions {
  std::optional<double> step_size;  // > 0: fixed, no line search. Unset: automatic.

  absl::Status Validate() const;
};

// start: projected onto the feasible set.
absl::StatusOr<OuterResult> SolveProjectedGradient(const BilevelProblem& problem, const Vector& start,
                                                   const ProjectedGradientOptions& method, const OuterOptions& options,
                                                   const Interrupt& interrupt, ProgressReporter& reporter);

}  // namespace bilevel

#endif  // BILEVEL_CORE_SOLVERS_PROJECTED_GRADIENT_H_
