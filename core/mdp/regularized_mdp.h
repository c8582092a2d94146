// The follower's problem at one x: an MDP with a fixed reward, discount and entropy bonus.

#ifndef BILEVEL_CORE_MDP_REGULARIZED_MDP_H_
#define BILEVEL_CORE_MDP_REGULARIZED_MDP_H_

#include "core/base/parallel.h"
#include "core/mdp/tabular_mdp.h"

namespace bilevel {

struct RegularizedMdp {
  const TabularMdp* mdp = nullptr;  // must outlive this
  Vector reward;                    // r [S*A], finite; ignored where an action is unavailable
  // |reward - exact reward| [S*A]: rounding in the evaluation of r(x). Empty means the rewards are exact.
  Vector reward_rounding;
  double discount = 0;     // gamma in [0, 1), gamma * max_row_sum < 1
  double temperature = 1;  // tau > 0
  // For work on all states. Affects only the time.
  ParallelFor parallel_for = RunInOrder;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_REGULARIZED_MDP_H_
