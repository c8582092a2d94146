// The leader's expected discounted reward under the follower's policy, without entropy: linear in the occupancy.
//
//   f = sum_sa d(s) pi(a|s) c(s,a),   d = (I - gamma_u P^pi)^{-T} rho_u,   V_c = (I - gamma_u P^pi)^{-1} sum_a pi c
//   y = d pi (Q_c - V_c),   df/dc = d pi,   df/dP(s2|s,a) = gamma_u d(s) pi(a|s) V_c(s2),   df/drho_u = V_c

#ifndef BILEVEL_CORE_PROBLEM_TERMS_LEADER_RETURN_H_
#define BILEVEL_CORE_PROBLEM_TERMS_LEADER_RETURN_H_

#include <optional>

#include "core/problem/parametric_reward.h"
#include "core/problem/terms/term_evaluation.h"

namespace bilevel {

struct LeaderReturn {
  ParametricReward reward;         // c
  std::optional<double> discount;  // gamma_u in [0, 1), gamma_u * mdp.max_row_sum() < 1; unset: the context's
  Vector initial;                  // rho_u [S], >= 0, sums to 1; empty: the environment's
};

// near: the term at a nearby policy, where the linear solves start; may be null. Cost: two linear solves.
TermValue EvaluateTerm(const LeaderReturn& term, const TermInput& input, const TermValue* near);

// Cost: two to three linear solves to a few digits.
TermRadius BoundTermError(const LeaderReturn& term, const TermInput& input, const TermValue& value,
                          const TermErrorInput& errors);

// Cost: two linear solves.
TermTangent DifferentiateTerm(const LeaderReturn& term, const TermInput& input, const TermValue& value,
                              const TermTangentInput& tangent);

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_TERMS_LEADER_RETURN_H_
