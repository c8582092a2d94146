// f_c(x, pi): the weighted sum of one context's objective terms, with y = pi o df/dpi and the direct derivative.

#ifndef BILEVEL_CORE_PROBLEM_CONTEXT_OBJECTIVE_H_
#define BILEVEL_CORE_PROBLEM_CONTEXT_OBJECTIVE_H_

#include <vector>

#include "core/problem/bilevel_problem.h"
#include "core/problem/term_evaluation.h"

namespace bilevel {

struct ContextObjective {
  double value = 0;
  Vector y;                      // [S*A]
  ParameterGradient direct;      // df/dx at fixed pi
  std::vector<TermValue> terms;  // one for each term
};

// near: the same at a nearby policy, where linear solves start; may be null.
ContextObjective EvaluateContextObjective(const Context& context, const TermInput& input,
                                          const ContextObjective* near = nullptr);

// Bounds on the distances to the same quantities at pi*, rounding included.
struct ContextObjectiveRadius {
  double value = 0;
  Vector centered_y;  // of y - pi ybar
  ParameterGradient direct;
};

ContextObjectiveRadius BoundContextObjective(const Context& context, const TermInput& input,
                                             const ContextObjective& objective, const TermErrorInput& errors);

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_CONTEXT_OBJECTIVE_H_
