// The arms of preference_gradient.h on the preferences that a session was given:
//
//   phi(x) = sum_c weight_c (n_c / n) E_c[ l ],   n_c of the n pairs used being of context c
//
// the mean over pairs where weights are 1. Fitting takes all pairs as they are, at any x, and needs neither transitions
// nor critics. The others ask where the follower of x goes: by critics that are exact on the estimated model, or
// learned, what the latter are off being told as bias; and weigh pairs by prod pi(a|s) / b(a|s), pi as in
// recorded_gradient.h, where their fragments say b. Fragments in which the follower acted itself count as they are, and
// are left out when it did so at another x; those that say nothing are taken to be its own.

#ifndef BILEVEL_CORE_STREAMING_RECORDED_PREFERENCES_H_
#define BILEVEL_CORE_STREAMING_RECORDED_PREFERENCES_H_

#include "core/streaming/session_estimate.h"

namespace bilevel {

// Whether these estimators can ever answer for the problem: FAILED_PRECONDITION with the reason.
absl::Status CheckPreferable(const BilevelProblem& problem, const EstimatorOptions& options, bool learns_gradient);

// options.kind: one that UsesPreferences; else as EstimateGradient, whose common assumptions are left to it. Cost: one
// solve and d linear solves for each context, and EstimateFromPreferences.
absl::StatusOr<GradientEstimate> EstimateFromRecordedPreferences(const BilevelProblem& problem, const SessionData& data,
                                                                 const Vector& x, const EstimatorOptions& options,
                                                                 const Interrupt& interrupt);

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_RECORDED_PREFERENCES_H_
