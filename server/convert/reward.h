// bilevel.v1.Reward -> ParametricReward.

#ifndef BILEVEL_SERVER_CONVERT_REWARD_H_
#define BILEVEL_SERVER_CONVERT_REWARD_H_

#include "absl/status/statusor.h"
#include "bilevel/v1/problem.pb.h"
#include "core/problem/parametric_reward.h"

namespace bilevel::server {

// Rewards of transitions are folded: base(s,a) += sum_s2 P(s2|s,a) r(s,a,s2), with the probabilities that mdp holds; in
// rows that `dynamics` [entries, n] moves, features(s,a,.) += sum_s2 dynamics(entry,.) r(s,a,s2). Null: none move.
absl::StatusOr<ParametricReward> DecodeReward(const v1::Reward& reward, const TabularMdp& mdp,
                                              const SparseRows* dynamics, int num_parameters);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_REWARD_H_
