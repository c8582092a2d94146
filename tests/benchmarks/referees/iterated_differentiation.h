// Iterated differentiation: the exact derivative of an inexact answer, K soft sweeps from V_0 = 0.
//
//   V_k = T V_{k-1},   pi_K = softmax(Q_K / tau),   Q_K = r + gamma P V_K,   phi_K(x) = f(x, pi_K(x))
//
// Reverse mode, with y = pi_K o df/dpi and g_V = df/dV:
//
//   lambda <- yc / tau,   v <- gamma P^T yc / tau + g_V
//   k = K..1:   lambda_k = pi_{k-1} o v,   lambda <- lambda + lambda_k,   v <- gamma P^T lambda_k
//
// pi_{k-1} the policy at V_{k-1}. phi_K and its gradient tend to the exact ones like K gamma^K or faster. Memory: K + 1
// policies.
//
// Franceschi, Donini, Frasconi, Pontil (2017), "Forward and Reverse Gradient-Based Hyperparameter Optimization",
// arXiv:1703.01785.

#ifndef BILEVEL_TESTS_BENCHMARKS_REFEREES_ITERATED_DIFFERENTIATION_H_
#define BILEVEL_TESTS_BENCHMARKS_REFEREES_ITERATED_DIFFERENTIATION_H_

#include "tests/benchmarks/referees/referee.h"

namespace bilevel::referees {

// sweeps: K >= 0. Cost: 2 K + 2 products with P or its transpose, and f.
RefereeGradient DifferentiateSweeps(const BilevelProblem& problem, const Vector& x, int sweeps);

}  // namespace bilevel::referees

#endif  // BILEVEL_TESTS_BENCHMARKS_REFEREES_ITERATED_DIFFERENTIATION_H_
