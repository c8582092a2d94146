// The negative mean log-likelihood of observed choices under the follower's policy: linear in log pi.
//
//   f = -sum_sa n(s,a) log pi(a|s) / N,   N = sum n,   y = -n / N
//
// Inverse reinforcement learning by maximum likelihood; with n(s,a) = weight(s) q(a|s), the cross-entropy to q.

#ifndef BILEVEL_CORE_PROBLEM_TERMS_DEMONSTRATIONS_H_
#define BILEVEL_CORE_PROBLEM_TERMS_DEMONSTRATIONS_H_

#include "core/problem/terms/term_evaluation.h"

namespace bilevel {

struct Demonstrations {
  Vector shares;  // n / N [S*A], >= 0, sums to 1, 0 where unavailable
};

// Cost: O(S*A).
TermValue EvaluateTerm(const Demonstrations& term, const TermInput& input, const TermValue* near);
TermRadius BoundTermError(const Demonstrations& term, const TermInput& input, const TermValue& value,
                          const TermErrorInput& errors);
TermTangent DifferentiateTerm(const Demonstrations& term, const TermInput& input, const TermValue& value,
                              const TermTangentInput& tangent);

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_TERMS_DEMONSTRATIONS_H_
