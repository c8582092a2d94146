// M-SoBiRL, the model-based single-loop method (Yang, Gao, Yuan 2025, arXiv:2405.19697, algorithm 1).
//
//   V_1 = T^N 0, w_0 = 0; for k = 1, 2, ...:
//     A_k = (I - gamma P^{pi_k})^T,  b_k = U^T y_k
//     w_k follows A_k w = b_k by one step (see AdjointStep)
//     h_k = df/dx + (1/tau) sum y_k grad r - (1/tau) (sum_a pi_k grad r)^T w_k
//     x_{k+1} = Project(x_k - beta h_k),  V_{k+1} = T_{x_{k+1}}^N V_k
//
// Neither V nor w is ever solved for. Under the paper's assumptions (f, r smooth, steps small enough) the smallest
// |grad phi(x_k)|^2 falls like O(1/k). Terms with an inner evaluation of their own (leader's return) are evaluated at
// pi_k by linear solves; the paper's objectives are functions of pi alone and need none.

#ifndef BILEVEL_CORE_SOLVERS_M_SOBIRL_H_
#define BILEVEL_CORE_SOLVERS_M_SOBIRL_H_

#include <optional>

#include "core/solvers/outer_loop.h"

namespace bilevel {

struct MSobirlOptions {
  enum class AdjointStep {
    kGradient,  // w <- w - zeta A^T (A w - b), the paper's
    kL1,        // w <- b + gamma (P^pi)^T w: contracts by gamma in the 1-norm (ours)
    kKrylov,    // a warm-started linear solve to adjoint_tolerance (ours)
  };
  double step_size = 0.1;  // beta > 0
  int sweeps = 1;          // N >= 1
  AdjointStep adjoint_step = AdjointStep::kGradient;
  // zeta > 0. Unset: 1 / lambda_max(A^T A), followed along the run. A value that reaches 2 / lambda_max at the first
  // policy must diverge and is refused; one that a later policy makes too large is lowered, with a note.
  std::optional<double> zeta;

  absl::Status Validate() const;
};

// x: start, projected onto the feasible set. The result is the better of the last iterate and the one with the best
// objective along the way, both re-evaluated by the exact hyper-gradient; CONVERGED is decided by that too.
absl::StatusOr<OuterResult> SolveMSobirl(const BilevelProblem& problem, const Vector& x, const MSobirlOptions& method,
                                         const OuterOptions& options, const Interrupt& interrupt,
                                         ProgressReporter& reporter);

}  // namespace bilevel

#endif  // BILEVEL_CORE_SOLVERS_M_SOBIRL_H_
