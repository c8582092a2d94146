#include "client/problems/seeded_problem.h"

#include <numeric>

#include "client/problems/sparse_rows.h"

namespace bilevel::client {

v1::Matrix RandomTransitions(int num_states, int num_actions, Random& random) {
  SparseRows transitions(num_states * num_actions, num_states);
  for (int row = 0; row < num_states * num_actions; ++row) {
    const int successors = 1 + random.Below(num_states - 1);
    const std::vector<int> support = random.Distinct(successors, num_states);
    const std::vector<double> weights = random.Uniforms(successors);
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    for (int i = 0; i < successors; ++i) transitions.Add(row, support[i], weights[i] / total);
  }
  return transitions.ToMatrix();
}

}  // namespace bilevel::client
