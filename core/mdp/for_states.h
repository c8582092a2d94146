// Loops over all states and their rows, in parts that threads may share. How they are cut depends on S alone, so
// results have the same bits at any number of threads.

#ifndef BILEVEL_CORE_MDP_FOR_STATES_H_
#define BILEVEL_CORE_MDP_FOR_STATES_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/base/parallel.h"
#include "core/mdp/tabular_mdp.h"

namespace bilevel {

// Calls work(s, first_row, end_row) for every state and its rows, first_row = s*A. What is computed for one state must
// not depend on another.
template <typename Work>
void ForStates(const ParallelFor& parallel_for, const TabularMdp& mdp, const Work& work) {
  const Eigen::Index A = mdp.num_actions();
  ForParts(parallel_for, mdp.num_states(), kStatesInPart, [&](int64_t begin, int64_t end) {
    for (Eigen::Index s = begin; s < end; ++s) work(s, s * A, (s + 1) * A);
  });
}

// The sum of part(s, first_row, end_row).
template <typename Part>
double SumStates(const ParallelFor& parallel_for, const TabularMdp& mdp, const Part& part) {
  const Eigen::Index A = mdp.num_actions();
  return SumParts(parallel_for, mdp.num_states(), kStatesInPart, [&](int64_t begin, int64_t end) {
    double sum = 0;
    for (Eigen::Index s = begin; s < end; ++s) sum += part(s, s * A, (s + 1) * A);
    return sum;
  });
}

// As ForStates; returns the largest of what work returns, 0 if all are smaller.
template <typename Work>
double MostOfStates(const ParallelFor& parallel_for, const TabularMdp& mdp, const Work& work) {
  const Eigen::Index A = mdp.num_actions();
  std::vector<double> most(static_cast<size_t>((mdp.num_states() + kStatesInPart - 1) / kStatesInPart), 0.0);
  ForParts(parallel_for, mdp.num_states(), kStatesInPart, [&](int64_t begin, int64_t end) {
    double& here = most[static_cast<size_t>(begin / kStatesInPart)];
    for (Eigen::Index s = begin; s < end; ++s) here = std::max(here, work(s, s * A, (s + 1) * A));
  });
  return *std::max_element(most.begin(), most.end());
}

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_FOR_STATES_H_
