// What the leader measures: f(x, pi), one weighted term after another.
//
// Every term can do two things: say its value with y = pi o df/dpi and its direct derivative, and say how far these can
// be off when the policy is only known to be near pi*. A new term is a file with these two functions and an
// alternative of the variant below.

#ifndef BILEVEL_CORE_PROBLEM_OBJECTIVE_TERM_H_
#define BILEVEL_CORE_PROBLEM_OBJECTIVE_TERM_H_

#include <variant>

#include "core/problem/leader_return.h"
#include "core/problem/separable_quadratic.h"

namespace bilevel {

struct ObjectiveTerm {
  double weight = 1;  // finite
  std::variant<LeaderReturn, SeparableQuadratic> measure;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_OBJECTIVE_TERM_H_
