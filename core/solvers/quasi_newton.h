// Projected (proximal) quasi-Newton descent on the exact hyper-gradient.
//
//   z = argmin over feasible z of g^T (z - x) + 1/2 (z - x)^T B (z - x) + l1 |z|_1,   d = z - x                     (1)
//   x+ = x + t d,  t = 1, 0.3, 0.09, ... until F(x+) <= F(x) + c t (g^T d + l1 |x + d|_1 - l1 |x|_1),               (2)
//
// with F = sign * objective, g the gradient of F without its 1-norm, B the limited-memory BFGS model of the last steps.
// x+ is feasible, since the set is convex, and (2) is Armijo's rule, since the 1-norm is. Without constraints and
// 1-norm d = -B^{-1} g; otherwise (1) is solved by spectral proximal gradient steps, each one product with B and one
// proximal map, no evaluation of F. A model needs a pair: the first step is a projected gradient step.
//
// [D1] Steps with s^T y <= 1e-10 |s| |y| bring no pair, since phi is not convex. Powell's damping, which would bend y
// instead, takes a fifth fewer evaluations on Four-Rooms and ends at worse optima: 0.71 instead of 1.13 on average over
// 24 starts at temperature 0.001, beta 1.
// [D2] A step moves x by at most 0.3 max(1, |x|).
// [D3] When d is no direction of descent, or (2) fails 20 times, the pairs are dropped and a projected gradient step is
// taken. The result's notes count these and the steps of [D1].
// [D4] (1) is solved to a tolerance relative to where it starts, `model_step.h`.
//
// Monotone. While the eigenvalues of B stay away from zero and infinity, every limit point is stationary; which one
// depends on the start.
//
// Schmidt, van den Berg, Friedlander, Murphy (2009), "Optimizing costly functions with simple constraints: a
// limited-memory projected quasi-Newton algorithm", AISTATS; with the 1-norm: Lee, Sun, Saunders (2014), "Proximal
// Newton-type methods for minimizing composite functions", arXiv:1206.1623.

#ifndef BILEVEL_CORE_SOLVERS_QUASI_NEWTON_H_
#define BILEVEL_CORE_SOLVERS_QUASI_NEWTON_H_

#include "core/solvers/limited_memory.h"
#include "core/solvers/outer_loop.h"

namespace bilevel {

struct QuasiNewtonOptions {
  static constexpr int kMaxMemory = 100;

  int memory = 10;  // pairs kept, in [1, kMaxMemory]; more make better models of phi, at O(memory n) for a product
  // Where an earlier run ended, which then goes on as if it had not. None: starts afresh, as the worst case always
  // does.
  QuasiNewtonState state;

  // Whether the state fits the problem is seen when it runs: field error "state.steps".
  absl::Status Validate() const;
};

// start: projected onto the feasible set. The result holds the state in which the method ended.
absl::StatusOr<OuterResult> SolveQuasiNewton(const BilevelProblem& problem, const Vector& start,
                                             const QuasiNewtonOptions& method, const OuterOptions& options,
                                             const Interrupt& interrupt, ProgressReporter& reporter);

}  // namespace bilevel

#endif  // BILEVEL_CORE_SOLVERS_QUASI_NEWTON_H_
