// The estimators of trajectory_gradient.h on the trajectories that a session recorded.
//
// Used are those that are complete and were made at x. Where whoever acted is known by log-probabilities, a trajectory
// weighs prod pi(a|s) / b(a|s), pi being the follower's policy: the estimated model's solution; where the critic is
// learned or walks (recorded_walks.h), the learned one if there is one; or the observed one, which weighs 1. Critics
// are exact on the estimated model, learned, or walks, which the leader's values stay the model's beside; c is the mean
// of the leader's sampled rewards where there are any. What critics are off is told as bias, as far as the estimated
// model knows it.

#ifndef BILEVEL_CORE_STREAMING_RECORDED_GRADIENT_H_
#define BILEVEL_CORE_STREAMING_RECORDED_GRADIENT_H_

#include "core/streaming/session_estimate.h"

namespace bilevel {

// Whether these estimators answer for the problem at all: FAILED_PRECONDITION with the reason.
absl::Status CheckRecordable(const BilevelProblem& problem, const EstimatorOptions& options, bool learns_gradient);

// options.kind: one that UsesTrajectories; else as EstimateGradient, whose common assumptions are left to it. Cost: one
// solve and 2 + d_u + 2 d linear solves for each context, and its trajectories.
absl::StatusOr<GradientEstimate> EstimateFromRecords(const BilevelProblem& problem, const SessionData& data,
                                                     const Vector& x, const EstimatorOptions& options,
                                                     const Interrupt& interrupt);

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_RECORDED_GRADIENT_H_
