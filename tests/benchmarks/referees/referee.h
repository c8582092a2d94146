// What the gradient estimators here have in common: one problem, one x, context after context from a cold start.
//
// They are referees: what others use in place of the exact hyper-gradient, kept to be measured against it, and not
// offered by the service. No options of theirs are checked.

#ifndef BILEVEL_TESTS_BENCHMARKS_REFEREES_REFEREE_H_
#define BILEVEL_TESTS_BENCHMARKS_REFEREES_REFEREE_H_

#include <functional>

#include "core/hypergradient/context_gradient.h"

namespace bilevel::referees {

// What a referee takes for phi, and its derivative: at a fixed answer of the followers, and through their answers.
struct RefereeGradient {
  double objective = 0;
  Vector direct;    // [n], with the derivative of the L2 penalty
  Vector implicit;  // [n]

  Vector total() const { return direct + implicit; }
};

// The same in one context.
struct ContextShare {
  double objective = 0;
  ParameterGradient direct;
  ParameterGradient implicit;
};

// The sum of `share` over the contexts, each followed by the penalties and the parameter map.
RefereeGradient SumOverContexts(const BilevelProblem& problem, const Vector& x,
                                const std::function<ContextShare(const ContextRequest&)>& share);

// Adds J_r^T lambda and, where dynamics move, what comes with it: df/dP(s2|s,a) = gamma lambda(s,a) value(s2).
void AddThroughReward(const ContextRequest& request, const Vector& lambda, ParameterGradient& gradient);
void AddThroughDynamics(const ContextRequest& request, const Vector& lambda, const Vector& value,
                        ParameterGradient& gradient);

// The exact hyper-gradient in this form.
RefereeGradient ExactGradient(const BilevelProblem& problem, const Vector& x);

// The follower's exact answer, cold; request.system is left with its policy.
LowerLevelSolution SolveFollower(const ContextRequest& request);

}  // namespace bilevel::referees

#endif  // BILEVEL_TESTS_BENCHMARKS_REFEREES_REFEREE_H_
