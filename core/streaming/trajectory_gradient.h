// The hyper-gradient of the leader's return from trajectories of the follower                        (math.md (13))
//
//   grad phi = E[ sum_t gamma_u^t grad c ]                                       exploitation
//            + (1/tau) E[ sum_h A_h (grad Q - grad V)(s_h, a_h) ]                exploration
//
// where A_h is what the follower's choice in step h was worth to the leader. Estimators differ in it and in nothing
// else; with exact grad Q - grad V and on trajectories of pi itself all of them have the mean above:
//
//   kReturn      l - b, the whole return of the trajectory, as published; b: the mean return of the others
//   kRewardToGo  sum_{t >= h} gamma_u^t c_t - gamma_u^h V_u(s_h): rewards before a choice are not its doing
//   kCritic      gamma_u^h (Q_u - V_u)(s_h, a_h), from a critic of the leader; unbiased where the critic is exact
//
// V_u, Q_u: the leader's value of pi. grad Q - grad V must not come from the same trajectories: l depends on their
// tails, and the product of both is biased. Yang, Gao, Yuan (2025), arXiv:2405.19697; baselines and kCritic are ours.

#ifndef BILEVEL_CORE_STREAMING_TRAJECTORY_GRADIENT_H_
#define BILEVEL_CORE_STREAMING_TRAJECTORY_GRADIENT_H_

#include <span>

#include "core/hypergradient/value_gradient.h"
#include "core/problem/parameter_map.h"
#include "core/streaming/trajectory.h"

namespace bilevel {

// What is known at x. References must outlive the call.
struct TrajectoryModel {
  const ParameterMap& map;
  const Vector& x;                        // [n]
  const ParametricReward& reward;         // the follower's
  double temperature;                     // tau
  const RowMatrix& score;                 // grad Q - grad V [S*A, d]
  const ParametricReward& leader_reward;  // c; where trajectories carry samples, its features alone are used
  double leader_discount;                 // gamma_u
  Vector leader_value;                    // V_u [S]; kReward: the baseline, empty: none; kCritic: required
  Vector leader_advantage;                // Q_u - V_u [S*A]; of kCritic alone
  int num_actions;                        // A
};

enum class TrajectoryEstimator { kReturn, kRewardToGo, kCritic };

// Means over trajectories with weights exp(log_weight), normalised by their sum. Standard errors hold for independent
// trajectories, to first order in 1/sqrt(effective_sample_size).
struct SampledGradient {
  double objective = 0;  // the leader's return, penalties left out
  double objective_standard_error = 0;
  Vector exploitation;               // [n]
  Vector exploration;                // [n]
  Vector standard_error;             // of their sum [n]
  double effective_sample_size = 0;  // (sum w)^2 / sum w^2
  int64_t trajectories = 0;
  int64_t transitions = 0;

  Vector mean() const { return exploitation + exploration; }
};

// trajectories: two at least, of the horizon of `kind`. Cost: O(transitions d + trajectories n).
SampledGradient EstimateFromTrajectories(const TrajectoryModel& model, std::span<const Trajectory> trajectories,
                                         Horizon::Kind kind, TrajectoryEstimator estimator);

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_TRAJECTORY_GRADIENT_H_
