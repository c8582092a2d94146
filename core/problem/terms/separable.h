// A sum over states of a function of the policy there:  f = sum_s mu(s) h(pi(.|s)), with t = target(.|s),
//
//   kSquaredDistance  h = 1/2 sum_a (pi - t)^2                y = mu pi (pi - t)
//   kForwardKl        h = KL(t | pi) = sum_a t log(t / pi)    y = -mu t
//   kReverseKl        h = KL(pi | t) = sum_a pi log(pi / t)   y = mu pi log(pi / t)  (+ mu pi, which has no effect)
//   kEntropy          h = -sum_a pi log pi                    y = -mu pi log pi      (- mu pi)

#ifndef BILEVEL_CORE_PROBLEM_TERMS_SEPARABLE_H_
#define BILEVEL_CORE_PROBLEM_TERMS_SEPARABLE_H_

#include "core/problem/terms/term_evaluation.h"

namespace bilevel {

struct Separable {
  enum class Kind { kSquaredDistance, kForwardKl, kReverseKl, kEntropy };
  Kind kind = Kind::kSquaredDistance;
  // [S*A], finite. Squared distance: empty means 0. KL: rows are distributions over the available actions, without
  // zeros there for kReverseKl. Entropy: empty.
  Vector target;
  Vector state_weights;  // mu [S], finite, >= 0
};

// Cost: O(S*A).
TermValue EvaluateTerm(const Separable& term, const TermInput& input, const TermValue* near);
TermRadius BoundTermError(const Separable& term, const TermInput& input, const TermValue& value,
                          const TermErrorInput& errors);
TermTangent DifferentiateTerm(const Separable& term, const TermInput& input, const TermValue& value,
                              const TermTangentInput& tangent);

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_TERMS_SEPARABLE_H_
