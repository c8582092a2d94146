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
// tails, and the product of both is biased.
//
// **Control variate** (ours). With Gamma of expected_gradient.h and Z_t = (1/tau) sum_{h < t} (grad Q - grad V)(s_h,
// a_h), what a model expects of a trajectory moves with each choice by
//
//   gamma_u^t [ (Gamma_q - Gamma)(s_t, a_t) + (Q_u - V_u)(s_t, a_t) Z_t ]                      (kCritic: without Z)
//
// with Q_u, V_u the model's; where a geometric horizon ends the trajectory by a coin, with each coin by (1{goes on} -
// gamma_u) (Gamma + V_u Z_{t+1})(s_{t+1}); and with the start, where rho is known, by Gamma(s_0) - sum rho Gamma. All
// have mean 0 when choices are pi's, coins are fair and the model is asked about pi, right or wrong: subtracting them
// leaves the mean and, of a good model, the spread that the world's own transitions make. With importance weights of
// whole trajectories they are weighted like everything else and keep mean 0; when choices are not pi's and weights do
// not say so, they do not. A model estimated from the same trajectories costs a bias of O(1 / trajectories); where it
// is their frequencies, kCritic under a geometric horizon becomes its plug-in gradient. For kReturn and kRewardToGo the
// model's V_u is the baseline then, and the two are the same: what is past, too, is no choice's doing.
//
// **Cut trajectories.** A fixed horizon that ends in s_H, not in a termination, misses gamma_u^H (Gamma + V_u Z_H)(s_H)
// (kCritic: without Z) and gamma_u^H V_u(s_H) of the return. Nothing is filled in: the mean of what is missing is the
// `bias`, up to the sign, and the estimate less it is as right as the model.
//
// Yang, Gao, Yuan (2025), arXiv:2405.19697; baselines, kCritic and the last two paragraphs are ours.

#ifndef BILEVEL_CORE_STREAMING_TRAJECTORY_GRADIENT_H_
#define BILEVEL_CORE_STREAMING_TRAJECTORY_GRADIENT_H_

#include <span>

#include "core/problem/parameter_map.h"
#include "core/streaming/expected_gradient.h"
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
  Vector leader_value;                    // V_u [S], the baseline of kRewardToGo; empty: none
  Vector leader_advantage;                // Q_u - V_u [S*A]; of kCritic alone
  int num_actions;                        // A
  // Of a model, under pi, for `score`; null: no bias and no control variate. Must outlive the call.
  const ExpectedGradient* expected = nullptr;
  bool control_variate = false;  // subtract it; needs `expected`
  Vector initial_distribution;   // rho [S], of the control variate; empty: not known
  Vector sample_shift;           // added to samples of the leader's reward [S*A]; empty: nothing
};

enum class TrajectoryEstimator { kReturn, kRewardToGo, kCritic };

// Means over trajectories with weights exp(log_weight), normalised by their sum. Standard errors hold for independent
// trajectories, to first order in 1/sqrt(effective_sample_size) (infinite where that is 1), and for critics as they
// are: what chance made of learned or estimated ones is not in them. For kCritic with a model of the same trajectories
// that is most of the error; plug_in.h has error bars for it.
struct SampledGradient {
  double objective = 0;  // the leader's return, penalties left out
  double objective_standard_error = 0;
  double objective_bias = 0;        // estimate, as `bias`
  Vector exploitation;              // [n]
  Vector exploration;               // [n]
  Vector standard_error;            // of their sum [n]
  Vector bias;                      // estimate, of cut trajectories; the mean less this is nearer the truth on average;
                                    // empty without `expected`
  Vector corrected_standard_error;  // of the mean less the bias, the model taken as exact [n]; empty likewise
  double effective_sample_size = 0;  // (sum w)^2 / sum w^2
  int64_t trajectories = 0;
  int64_t transitions = 0;

  Vector mean() const { return exploitation + exploration; }
  Vector corrected() const { return mean() - bias; }
};

// What stands for the scores of all steps of one trajectory: of the row (s_h, a_h) of one of them, h uniform, the
// number of steps times a draw of mean grad Q - grad V there (continuations.h). Steps with that row share it alike.
struct SampledScore {
  int64_t row;
  Vector score;  // number of steps / number of them with this row, times the draw [d]
};

// trajectories: two at least, of the horizon of `kind`, which its bound on steps does not cut where it is geometric.
// scores: one for each trajectory in place of model.score, of which columns alone are used; empty: model.score. Cost:
// O(transitions (d + d_u) + trajectories n).
SampledGradient EstimateFromTrajectories(const TrajectoryModel& model, std::span<const Trajectory> trajectories,
                                         Horizon::Kind kind, TrajectoryEstimator estimator,
                                         std::span<const SampledScore> scores = {});

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_TRAJECTORY_GRADIENT_H_
