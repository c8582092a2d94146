// f = 1/2 sum_s mu(s) sum_a (pi(a|s) - target(a|s))^2,   y(s,a) = mu(s) pi (pi - target).

#ifndef BILEVEL_CORE_PROBLEM_SEPARABLE_QUADRATIC_H_
#define BILEVEL_CORE_PROBLEM_SEPARABLE_QUADRATIC_H_

#include "core/problem/term_evaluation.h"

namespace bilevel {

struct SeparableQuadratic {
  Vector target;         // [S*A], finite
  Vector state_weights;  // mu [S], finite, >= 0
};

// Cost: O(S*A).
TermValue EvaluateTerm(const SeparableQuadratic& term, const TermInput& input, const TermValue* near);
TermRadius BoundTermError(const SeparableQuadratic& term, const TermInput& input, const TermValue& value,
                          const TermErrorInput& errors);

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_SEPARABLE_QUADRATIC_H_
