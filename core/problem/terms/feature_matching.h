// Half the squared distance between the features that the follower meets and a target: quadratic in the occupancy.
//
//   f = 1/2 |m - target|_2^2,   m = sum_sa d(s) pi(a|s) F(s,a,.),   d = (I - gamma_u P^pi)^{-T} rho_u
//
// Derivatives are those of a leader's return with the cost c = F (m - target).
//
// Abbeel, Ng (2004), "Apprenticeship learning via inverse reinforcement learning".

#ifndef BILEVEL_CORE_PROBLEM_TERMS_FEATURE_MATCHING_H_
#define BILEVEL_CORE_PROBLEM_TERMS_FEATURE_MATCHING_H_

#include <optional>

#include "core/problem/parametric_reward.h"
#include "core/problem/terms/term_evaluation.h"

namespace bilevel {

struct FeatureMatching {
  SparseRows features;             // F [S*A, k], finite
  Vector target;                   // [k], finite
  std::optional<double> discount;  // gamma_u in [0, 1), gamma_u * mdp.max_row_sum() < 1; unset: the context's
  Vector initial;                  // rho_u [S], >= 0, sums to 1; empty: the environment's
};

// near: the term at a nearby policy, where the linear solves start; may be null. Cost: two linear solves.
TermValue EvaluateTerm(const FeatureMatching& term, const TermInput& input, const TermValue* near);

// Cost: two to three linear solves to a few digits.
TermRadius BoundTermError(const FeatureMatching& term, const TermInput& input, const TermValue& value,
                          const TermErrorInput& errors);

// Cost: two linear solves.
TermTangent DifferentiateTerm(const FeatureMatching& term, const TermInput& input, const TermValue& value,
                              const TermTangentInput& tangent);

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_TERMS_FEATURE_MATCHING_H_
