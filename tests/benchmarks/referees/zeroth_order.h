// Two-point zeroth-order gradients of phi without its L1 penalty:
//
//   g = (1/k) sum_j g_j,   g_j = (phi(x + h u_j) - phi(x - h u_j)) / (2 h) u_j,   u_j ~ N(0, I) independent
//
// The mean of g is the gradient of phi smoothed by N(0, h^2 I): off by O(h^2). For quadratic phi it is unbiased, and
// E|g - E g|^2 = (n + 1) |grad phi|^2 / k.
//
// Nesterov, Spokoiny (2017), "Random Gradient-Free Minimization of Convex Functions".

#ifndef BILEVEL_TESTS_BENCHMARKS_REFEREES_ZEROTH_ORDER_H_
#define BILEVEL_TESTS_BENCHMARKS_REFEREES_ZEROTH_ORDER_H_

#include <cstdint>

#include "core/problem/bilevel_problem.h"

namespace bilevel::referees {

struct ZerothOrderOptions {
  double smoothing = 1e-2;  // h > 0
  int directions = 100;     // k >= 2
  uint64_t seed = 0;
};

struct ZerothOrderGradient {
  Vector mean;            // g [n]
  Vector standard_error;  // of each entry of g, from the spread of g_j [n]
  // (1/k) sum_j ((phi(x + h u_j) - phi(x - h u_j)) / (2 h) - u_j . reference) u_j: the mean of g minus `reference`,
  // with far less noise when `reference` is near the gradient.
  Vector bias;
};

// reference: [n], used for `bias` alone. Cost: 2 k objectives, each started from the one before.
ZerothOrderGradient EstimateByDifferences(const BilevelProblem& problem, const Vector& x, const Vector& reference,
                                          const ZerothOrderOptions& options);

}  // namespace bilevel::referees

#endif  // BILEVEL_TESTS_BENCHMARKS_REFEREES_ZEROTH_ORDER_H_
