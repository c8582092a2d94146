// The policy that estimators from samples take the follower to have.

#ifndef BILEVEL_CORE_STREAMING_FOLLOWER_POLICY_H_
#define BILEVEL_CORE_STREAMING_FOLLOWER_POLICY_H_

#include "core/mdp/lower_level.h"
#include "core/problem/bilevel_problem.h"

namespace bilevel {

struct FollowerPolicy {
  Vector pi, log_pi;  // [S*A]
};

// Soft-optimal on `model`, in place of the context's environment. Interrupted: as far as it came.
absl::StatusOr<FollowerPolicy> SolvePolicy(const BilevelProblem& problem, size_t context, const TabularMdp& model,
                                           const Vector& x, LowerLevelOptions lower_level, const Interrupt& interrupt);

// As it is learned or seen [S*A].
FollowerPolicy KnownPolicy(Vector log_pi);

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_FOLLOWER_POLICY_H_
