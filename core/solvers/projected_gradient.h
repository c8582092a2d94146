// Projected (proximal) gradient descent on the exact hyper-gradient.
//
//   x+ = prox(x - t grad),  t by Barzilai and Borwein (1988), safeguarded by backtracking until
//   F(x+) <= max of the last 8 F - c/t |x+ - x|^2 (+ what double precision cannot tell apart),  F = sign * objective.
//
// Every limit point is stationary (Birgin, Martinez, Raydan 2000); which one depends on the start. The best point along
// the way comes back.

#ifndef BILEVEL_CORE_SOLVERS_PROJECTED_GRADIENT_H_
#define BILEVEL_CORE_SOLVERS_PROJECTED_GRADIENT_H_

#include <optional>

#include "core/solvers/outer_loop.h"

namespace bilevel {

struct ProjectedGradientOptions {
  std::optional<double> step_size;  // > 0: fixed, no line search. Unset: automatic.

  absl::Status Validate() const;
};

// x: start, projected onto the feasible set.
absl::StatusOr<OuterResult> SolveProjectedGradient(const BilevelProblem& problem, const Vector& x,
                                                   const ProjectedGradientOptions& method, const OuterOptions& options,
                                                   const Interrupt& interrupt, ProgressReporter& reporter);

}  // namespace bilevel

#endif  // BILEVEL_CORE_SOLVERS_PROJECTED_GRADIENT_H_
