// The leader's expected discounted reward under the follower's policy, without entropy:
//
//   f = sum_sa d(s) pi(a|s) c(s,a),   d = (I - gamma_u P^pi)^{-T} rho_u,   V_c = (I - gamma_u P^pi)^{-1} sum_a pi c
//   y(s,a) = d(s) pi(a|s) Q_c(s,a),   Q_c = c + gamma_u P V_c,   direct derivative J_c^T (d pi)

#ifndef BILEVEL_CORE_PROBLEM_LEADER_RETURN_H_
#define BILEVEL_CORE_PROBLEM_LEADER_RETURN_H_

#include "core/problem/parametric_reward.h"
#include "core/problem/term_evaluation.h"

namespace bilevel {

struct LeaderReturn {
  ParametricReward reward;  // c
  double discount = 0;      // gamma_u in [0, 1), gamma_u * mdp.max_row_sum() < 1
  Vector initial;           // rho_u [S], >= 0, sums to 1
};

// near: the term at a nearby policy, where the linear solves start; may be null. Cost: two linear solves.
TermValue EvaluateTerm(const LeaderReturn& term, const TermInput& input, const TermValue* near);

// Cost: two to three linear solves to a few digits.
TermRadius BoundTermError(const LeaderReturn& term, const TermInput& input, const TermValue& value,
                          const TermErrorInput& errors);

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_LEADER_RETURN_H_
