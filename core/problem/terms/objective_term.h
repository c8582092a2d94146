// What the leader measures: f(x, pi), one weighted term after another.
//
// Every term can do three things: say its value with y = pi o df/dpi, df/dV and its direct derivatives; say how far
// these can be off when the policy is only known to be near pi*; and say how they move with x. A new term is a file
// with these three functions and an alternative of the variant below.

#ifndef BILEVEL_CORE_PROBLEM_TERMS_OBJECTIVE_TERM_H_
#define BILEVEL_CORE_PROBLEM_TERMS_OBJECTIVE_TERM_H_

#include <variant>

#include "core/problem/terms/demonstrations.h"
#include "core/problem/terms/feature_matching.h"
#include "core/problem/terms/follower_value.h"
#include "core/problem/terms/leader_return.h"
#include "core/problem/terms/separable.h"

namespace bilevel {

struct ObjectiveTerm {
  double weight = 1;  // finite
  std::variant<LeaderReturn, FeatureMatching, Demonstrations, Separable, FollowerValue> measure;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_TERMS_OBJECTIVE_TERM_H_
