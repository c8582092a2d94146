// What temporal differences make of trajectories: grad Q - grad V and the leader's values, no model kept.

#ifndef BILEVEL_TESTS_SUPPORT_LEARNED_CRITIC_H_
#define BILEVEL_TESTS_SUPPORT_LEARNED_CRITIC_H_

#include <vector>

#include "tests/support/watched_follower.h"

namespace bilevel::testing {

struct LearnedCritic {
  RowMatrix score;          // grad Q - grad V [S*A, d], of mean 0 under the follower's policy
  Vector leader_value;      // V_u [S]
  Vector leader_advantage;  // Q_u - V_u [S*A]
};

// Every transition is learned from as it comes, and `replays` times another one drawn from those so far: soft Q and its
// gradient by SoftQLearner, which finds the policy by itself; Q_u by the same differences under the follower's policy.
LearnedCritic LearnCritic(const WatchedFollower& follower, const std::vector<Trajectory>& trajectories, int replays,
                          Rng& rng);

}  // namespace bilevel::testing

#endif  // BILEVEL_TESTS_SUPPORT_LEARNED_CRITIC_H_
