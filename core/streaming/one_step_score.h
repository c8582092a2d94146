// Scores in place of the exact grad Q - grad V, and the bias that they cost: learned ones, and the one cut to one step
// as in the authors' code,
//
//   score(s,a) = grad r(s,a) - sum_b pi(b|s) grad r(s,b)
//
// with nothing to learn, and biased for ever. Zero wherever the follower's reward depends on the state alone; at long
// horizons its direction can be nearly orthogonal to the true one. A referee, never a default.
//
// Yang, Gao, Yuan (2025), arXiv:2405.19697, code; the bias is ours.

#ifndef BILEVEL_CORE_STREAMING_ONE_STEP_SCORE_H_
#define BILEVEL_CORE_STREAMING_ONE_STEP_SCORE_H_

#include "core/streaming/trajectory_gradient.h"

namespace bilevel {

// q(s,a) - sum_b pi(b|s) q(s,b) [S*A, d], 0 where unavailable. q: grad Q as SoftQLearner::gradient() has it, or any
// other [S*A, d]. pi: of whoever acts, so that scores have mean 0, which baselines and returns rely on.
RowMatrix CenteredScore(const TabularMdp& mdp, const Vector& pi, RowMatrix q);

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
