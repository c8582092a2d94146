// grad Q - grad V from the walks that a session recorded (continuations.h), which may be an earlier policy's.
//
// With b(a|s) the probability that an action was drawn with, and pi the policy that is asked about, a walk counts
//
//   sum_k [ prod_{j <= k} pi(a_j|s_j) / b(a_j|s_j) ] grad r(s_k, a_k)      j: over the actions that were drawn
//
// so that its mean is that under pi, whatever b. The first action of kFromChoice was given.

#ifndef BILEVEL_CORE_STREAMING_RECORDED_WALKS_H_
#define BILEVEL_CORE_STREAMING_RECORDED_WALKS_H_

#include <optional>

#include "core/streaming/trajectory_gradient.h"
#include "core/streaming/trajectory_store.h"

namespace bilevel {

struct WalkedScore {
  SampledScore score;
  int64_t transitions = 0;    // of both walks
  bool other_policy = false;  // some weight is not 1
};

// features: ParametricReward::GradientFeatures() [S*A, d]; log_pi [S*A]. Nothing unless both walks are complete. Cost:
// O(steps d).
std::optional<WalkedScore> ScoreOfWalks(const RecordedTrajectory& trajectory, const SparseRows& features,
                                        const Vector& log_pi);

// Whether the environment ended one of them: then longer walks are missing.
bool HasCutWalks(const RecordedTrajectory& trajectory);

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_RECORDED_WALKS_H_
