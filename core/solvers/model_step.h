// The minimiser of a quasi-Newton model over the feasible set:
//
//   d = argmin over feasible x + d of q(d) = g^T d + 1/2 d^T B d + l1 (|x + d|_1 - |x|_1)
//
// by spectral proximal gradient steps: e = prox(x + d - (g + B d)/alpha) - x - d with Barzilai and Borwein's alpha,
// then d + beta e, beta = min(1, alpha |e|^2 / e^T B e). By the proximal inequality q falls along e at least as fast as
// -alpha |e|^2, so this beta minimises an upper bound of q, and no difference of nearby values is taken. q falls in
// every step: wherever it stops, g^T d + l1 (|x + d|_1 - |x|_1) <= -1/2 d^T B d, and d is a direction of descent.
//
// x: feasible [n]; gradient: g [n]; model: B, with a pair. An interruption ends it after the first step. Cost: a step
// is one product with B and one proximal map, O(k n + n log n); tens of them, hundreds when B is ill-conditioned.
//
// Birgin, Martinez, Raydan (2000), "Nonmonotone spectral projected gradient methods on convex sets"; Schmidt et al.
// (2009), section 3.

#ifndef BILEVEL_CORE_SOLVERS_MODEL_STEP_H_
#define BILEVEL_CORE_SOLVERS_MODEL_STEP_H_

#include "core/base/interrupt.h"
#include "core/problem/feasible_set.h"
#include "core/solvers/limited_memory.h"

namespace bilevel {

struct ModelStepOptions {
  double tolerance = 1e-6;  // stops when |alpha e|_2 is at most this times its first value; >= 0
  int max_steps = 500;      // >= 0
};

Vector MinimizeModel(const LimitedMemory& model, const FeasibleSet& set, double l1, const Vector& x,
                     const Vector& gradient, const Interrupt& interrupt, const ModelStepOptions& options = {});

}  // namespace bilevel

#endif  // BILEVEL_CORE_SOLVERS_MODEL_STEP_H_
