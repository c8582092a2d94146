// A live population's policy, as it was seen to act:
//
//   pi(a|s) = (n(s,a) + k / A(s)) / (n(s) + k),   A(s): actions available in s
//
// the mean of pi(.|s) under a Dirichlet prior of weight k spread evenly; uniform where nothing was seen.

#ifndef BILEVEL_CORE_STREAMING_OBSERVED_POLICY_H_
#define BILEVEL_CORE_STREAMING_OBSERVED_POLICY_H_

#include "core/streaming/estimated_model.h"

namespace bilevel {

struct ObservedPolicy {
  Vector pi;      // [S*A]
  Vector log_pi;  // [S*A]; 0 where unavailable, -infinity where pi is 0
};

// visits: n(s,a) [S*A]. strength: k >= 0.
ObservedPolicy EstimateObservedPolicy(const ModelFrame& frame, const Vector& visits, double strength);

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_OBSERVED_POLICY_H_
