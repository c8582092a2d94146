// grad Q - grad V cut to one step, as in the authors' code, and what a wrong score costs.
//
//   score(s,a) = grad r(s,a) - sum_b pi(b|s) grad r(s,b)
//
// in place of grad Q - grad V: nothing to learn, and biased. Zero wherever the follower's reward depends on the state
// alone; at long horizons its direction can be nearly orthogonal to the true one. A referee, never a default.
//
// Yang, Gao, Yuan (2025), arXiv:2405.19697, code; the bias is ours.

#ifndef BILEVEL_CORE_STREAMING_ONE_STEP_SCORE_H_
#define BILEVEL_CORE_STREAMING_ONE_STEP_SCORE_H_

#include "core/streaming/trajectory_gradient.h"

namespace bilevel {

// features: ParametricReward::GradientFeatures(). The score [S*A, d], 0 where unavailable.
RowMatrix OneStepScore(const TabularMdp& mdp, const Vector& pi, const SparseRows& features);

// The bias of every estimator of trajectory_gradient.h that uses `score` in place of model.score, cut ones apart:
//
//   (1/tau) sum_sa visits (Q_u - V_u) (score - model.score)   as a gradient, [n]
//
// exact on the model that model.score, model.leader_advantage and visits = EvaluateOccupancy(gamma_u, rho).visits are
// of. score: [S*A, d], one-step or learned, of mean 0 under pi in each state.
Vector ScoreBias(const TrajectoryModel& model, const RowMatrix& score, const Vector& visits);

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_ONE_STEP_SCORE_H_
