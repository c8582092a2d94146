// f_c(x, pi): the weighted sum of one context's objective terms, with y = pi o df/dpi, df/dV and the direct derivative.

#ifndef BILEVEL_CORE_PROBLEM_TERMS_CONTEXT_OBJECTIVE_H_
#define BILEVEL_CORE_PROBLEM_TERMS_CONTEXT_OBJECTIVE_H_

#include <vector>

#include "core/problem/bilevel_problem.h"
#include "core/problem/terms/term_evaluation.h"

namespace bilevel {

struct ContextObjective {
  double value = 0;
  Vector y;                      // [S*A]
  Vector follower_value;         // df/dV [S]; empty: 0
  ParameterGradient direct;      // df/dx at fixed pi, Q, V
  std::vector<TermValue> terms;  // one for each term
};

// near: the same at a nearby policy, where linear solves start; may be null.
ContextObjective EvaluateContextObjective(const Context& context, const TermInput& input,
                                          const ContextObjective* near = nullptr);

// Lets go of the vectors [S*A] of single terms, which EvaluateContextObjective does not need of `near`.
void TrimTerms(ContextObjective& objective);

// Adds weight times one term's direct derivative.
void AddDirectPart(const Context& context, const TermInput& input, size_t term, double weight, const TermValue& value,
                   ParameterGradient& gradient);

// Bounds on the distances to the same quantities at the exact answer, rounding included.
struct ContextObjectiveRadius {
  double value = 0;
  Vector centered_y;  // of y - pi ybar
  double centered_y_mass = 0;
  ParameterGradient direct;
};

ContextObjectiveRadius BoundContextObjective(const Context& context, const TermInput& input,
                                             const ContextObjective& objective, const TermErrorInput& errors);

// How y, df/dV and the direct derivative move.
struct ContextObjectiveTangent {
  Vector y;
  Vector follower_value;
  ParameterGradient direct;
};

ContextObjectiveTangent DifferentiateContextObjective(const Context& context, const TermInput& input,
                                                      const ContextObjective& objective,
                                                      const TermTangentInput& tangent);

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_TERMS_CONTEXT_OBJECTIVE_H_
