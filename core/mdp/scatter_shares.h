// Shares of the states, for rows that add to wherever they lead: threads cannot add to one vector at the same time, so
// that each share has one of its own. There are as many whatever the number of threads: the same sums.

#ifndef BILEVEL_CORE_MDP_SCATTER_SHARES_H_
#define BILEVEL_CORE_MDP_SCATTER_SHARES_H_

#include <cstdint>

#include "core/base/parallel.h"

namespace bilevel {

inline constexpr int kMostScatterShares = 4;

// 1 where so few states are not worth cutting, else kMostScatterShares.
constexpr int NumScatterShares(int num_states) { return num_states < 65536 ? 1 : kMostScatterShares; }

// Calls work(share, first state, last state), the last not included.
template <typename Work>
void ForScatterShares(const ParallelFor& parallel_for, int num_states, const Work& work) {
  const int count = NumScatterShares(num_states);
  if (count == 1) {
    work(0, int64_t{0}, int64_t{num_states});
    return;
  }
  parallel_for(count, [&](int share) {
    work(share, int64_t{num_states} * share / count, int64_t{num_states} * (share + 1) / count);
  });
}

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_SCATTER_SHARES_H_
