// What a model expects of the leader's gradient from each state and choice on                                  (ours)
//
//   rho_x(s,a) = grad c(s,a) + (1/tau) (Q_u - V_u)(s,a) (grad Q - grad V)(s,a)
//   Gamma_q = rho_x + gamma_u P Gamma,   Gamma(s) = sum_a pi Gamma_q
//
// so that the hyper-gradient of the leader's return is grad phi = sum_s rho(s) Gamma(s): (13) with exact critics, by
// the recursion of value_gradient.h. On an estimated model it is the plug-in gradient, told apart by where one is: a
// control variate for estimators from trajectories, and what a trajectory that was cut has missed
// (trajectory_gradient.h).

#ifndef BILEVEL_CORE_STREAMING_EXPECTED_GRADIENT_H_
#define BILEVEL_CORE_STREAMING_EXPECTED_GRADIENT_H_

#include "core/hypergradient/value_gradient.h"

namespace bilevel {

// Both parts of Gamma as features of a reward, which ParametricReward::AddFeatureGradient turns into gradients.
struct ExpectedGradient {
  PolicyValue leader;          // V_u, Q_u - V_u
  ValueGradient exploitation;  // of c's features [., d_u]
  ValueGradient exploration;   // of (Q_u - V_u)(grad Q - grad V) [., d]; 1/tau is left out
};

// cost: c at x [S*A]; leader_features: c's GradientFeatures(); score: grad Q - grad V [S*A, d], or what an estimator
// uses in its place. Cost: 1 + d_u + d linear solves; memory: (S*A + S) (d_u + d) numbers. Interrupted: what is missing
// is 0.
ExpectedGradient SolveExpectedGradient(const PolicyInput& input, double leader_discount, const Vector& cost,
                                       const SparseRows& leader_features, const RowMatrix& score);

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_EXPECTED_GRADIENT_H_
