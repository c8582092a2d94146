// grad V and grad Q of a policy: value functions of the vector reward grad r, without entropy        (math.md (11))
//
//   grad V = (I - gamma P^pi)^{-1} sum_a pi F,   grad Q = F + gamma P grad V,   F = grad r [S*A, d]
//
//   grad log pi = (grad Q - grad V) / tau                                                             (math.md (12))
//
// What the adjoint gets by one solve for one objective, this has for every state and action, as an estimator from
// trajectories needs it. Yang, Gao, Yuan (2025), arXiv:2405.19697.

#ifndef BILEVEL_CORE_HYPERGRADIENT_VALUE_GRADIENT_H_
#define BILEVEL_CORE_HYPERGRADIENT_VALUE_GRADIENT_H_

#include "core/mdp/policy_evaluation.h"
#include "core/problem/parametric_reward.h"

namespace bilevel {

using RowMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

struct ValueGradient {
  RowMatrix value;      // grad V [S, d]
  RowMatrix advantage;  // grad Q - grad V [S*A, d]; where unavailable it means nothing, and pi is 0
};

// features: ParametricReward::GradientFeatures(). Cost: d linear solves; memory: (S*A + S) d numbers. Interrupted: what
// is missing is 0.
ValueGradient SolveValueGradient(const PolicyInput& input, double gamma, const SparseRows& features);
// The same for any vector reward F [S*A, d].
ValueGradient SolveValueGradient(const PolicyInput& input, double gamma, const RowMatrix& features);

}  // namespace bilevel

#endif  // BILEVEL_CORE_HYPERGRADIENT_VALUE_GRADIENT_H_
