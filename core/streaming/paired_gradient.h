// Estimates at two points from the same trajectories, for recursive momentum (solvers/stochastic_descent.h)     (ours)
//
//   g_k  = mean of G(x_k; xi)                      xi: trajectories of pi_k, the follower's policy at x_k
//   g'_k = mean of W(xi) G(x_{k-1}; xi),           W = product over all steps h of pi_{k-1}(a_h|s_h) / pi_k(a_h|s_h)
//
// G: the estimators of trajectory_gradient.h with critics of pi_k and pi_{k-1}. With W the mean of g'_k is the gradient
// at x_{k-1}, so that g_k - g'_k is an unbiased estimate of how far the gradient moved, of a spread that vanishes with
// x_k - x_{k-1}; without W it is off by as much as trajectories themselves moved. W has mean 1 and is not normalised,
// which would bias it. Trajectories of others than pi_k have weights w of their own, over whose sum both means are.
//
// **Cap.** W's variance grows exponentially with the steps of a trajectory, so min(W, cap) takes its place; what that
// costs in the mean, E[(min(W, cap) - W) G(x_{k-1})], is estimated on the same trajectories and told. Rare large
// weights that the batch has not met are not in the estimate of a single batch, and are in its mean over batches.
//
// For kReturn without a control variate the baseline is the mean return of the others, which W does not weight: it is
// independent of the trajectory, and so changes no mean.

#ifndef BILEVEL_CORE_STREAMING_PAIRED_GRADIENT_H_
#define BILEVEL_CORE_STREAMING_PAIRED_GRADIENT_H_

#include "core/streaming/trajectory_gradient.h"

namespace bilevel {

// Somewhere the follower has been. References must outlive the call.
struct PairedPoint {
  const TrajectoryModel& model;
  const Vector& log_pi;  // of the follower's policy [S*A]; finite where the other's is
};

struct PairedOptions {
  TrajectoryEstimator estimator = TrajectoryEstimator::kRewardToGo;
  Horizon::Kind horizon = Horizon::Kind::kGeometric;
  double kept_share = 1;  // of g'_k in the difference whose error is told, [0, 1]
  double cap = 10;        // of W, > 0; infinite: none
};

struct PairedGradient {
  SampledGradient current;           // g_k
  Vector previous;                   // g'_k, capped [n]
  Vector previous_bias;              // of g'_k, as SampledGradient::bias [n]; empty without `expected`
  Vector innovation_standard_error;  // of g_k - kept_share g'_k [n]
  Vector cap_bias;                   // estimate of what the cap adds to the mean of g'_k [n]
  Vector cap_bias_standard_error;    // [n]
  double effective_sample_size = 0;  // (sum w W)^2 / sum (w W)^2, W capped
  double largest_weight = 0;         // before the cap; e^700 at most, as in `cap_bias`
  double mean_weight = 0;            // of W, capped; 1 where nothing is
  double capped_share = 0;           // of trajectories, by w

  // Whether the trajectories tell of x_{k-1}: where they never go what pi_{k-1} does, W is next to 0 or that of a few,
  // and neither error bars nor the bias show it. False: a batch of which `previous` should not be used.
  bool overlaps() const { return mean_weight >= 0.5 && effective_sample_size >= 2; }
};

// trajectories: two at least, with log_weight towards current's policy; of the horizon of `options`. Cost: that of
// EstimateFromTrajectories twice.
PairedGradient EstimatePair(const PairedPoint& current, const PairedPoint& previous,
                            std::span<const Trajectory> trajectories, const PairedOptions& options);

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_PAIRED_GRADIENT_H_
