// The hyper-gradient with the future cut off: grad r - E_pi grad r in place of grad Q - grad V,
//
//   grad log pi(a|s) ~ (1/tau) (grad r(s,a) - sum_b pi(b|s) grad r(s,b)),
//
// so that lambda = yc / tau, yc = y - pi ybar; f, pi and y are exact. It has no parameter and converges to nothing: the
// error is what z' of core/hypergradient/adjoint.h carries. Exact at discount 0; zero where rewards depend on the state
// alone. Where dynamics move, gamma grad P V of the same step stays; df/dV is cut to grad V ~ E_pi grad r.
//
// The shortcut of the code that was published with Yang, Gao, Yuan (2025), arXiv:2405.19697.

#ifndef BILEVEL_TESTS_BENCHMARKS_REFEREES_ONE_STEP_H_
#define BILEVEL_TESTS_BENCHMARKS_REFEREES_ONE_STEP_H_

#include "tests/benchmarks/referees/referee.h"

namespace bilevel::referees {

// Cost: the follower's solve, and f.
RefereeGradient TruncateToOneStep(const BilevelProblem& problem, const Vector& x);

}  // namespace bilevel::referees

#endif  // BILEVEL_TESTS_BENCHMARKS_REFEREES_ONE_STEP_H_
