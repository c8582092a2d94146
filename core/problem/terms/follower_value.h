// The follower's own soft value, entropy included: how well off it is.
//
//   f = sum_s rho(s) V(s),   df/dV = rho,   df/drho = V

#ifndef BILEVEL_CORE_PROBLEM_TERMS_FOLLOWER_VALUE_H_
#define BILEVEL_CORE_PROBLEM_TERMS_FOLLOWER_VALUE_H_

#include "core/problem/terms/term_evaluation.h"

namespace bilevel {

struct FollowerValue {
  Vector initial;  // rho [S], >= 0, sums to 1; empty: the environment's
};

// Cost: O(S).
TermValue EvaluateTerm(const FollowerValue& term, const TermInput& input, const TermValue* near);
TermRadius BoundTermError(const FollowerValue& term, const TermInput& input, const TermValue& value,
                          const TermErrorInput& errors);
TermTangent DifferentiateTerm(const FollowerValue& term, const TermInput& input, const TermValue& value,
                              const TermTangentInput& tangent);

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_TERMS_FOLLOWER_VALUE_H_
