#include "core/streaming/simulator.h"

#include <algorithm>

namespace bilevel {

Simulator::Simulator(const TabularMdp& mdp) : num_actions_(mdp.num_actions()) {
  offsets_.assign(static_cast<size_t>(mdp.num_rows()) + 1, 0);
  columns_.reserve(mdp.num_entries());
  cumulative_.reserve(mdp.num_entries());
  Eigen::Index current = -1;
  double sum = 0;
  mdp.ForEachEntry([&](Eigen::Index row, uint64_t, uint32_t column, double probability) {
    if (row != current) sum = 0;
    current = row;
    sum += probability;
    columns_.push_back(column);
    cumulative_.push_back(sum);
    ++offsets_[static_cast<size_t>(row) + 1];
  });
  for (size_t row = 1; row < offsets_.size(); ++row) offsets_[row] += offsets_[row - 1];
  // What rounding leaves of a row that never ends must not end it.
  for (size_t row = 0; row + 1 < offsets_.size(); ++row) {
    if (offsets_[row] < offsets_[row + 1] && cumulative_[offsets_[row + 1] - 1] > 1 - 1e-9) {
      cumulative_[offsets_[row + 1] - 1] = 1;
    }
  }
  sum = 0;
  for (const double p : mdp.initial_distribution()) starts_.push_back(sum += p);
}

int Simulator::DrawStart(Rng& rng) const {
  const auto found = std::upper_bound(starts_.begin(), starts_.end(), rng.Uniform() * starts_.back());
  return static_cast<int>(found - starts_.begin());
}

int Simulator::DrawAction(const Vector& pi, int state, Rng& rng) const {
  const Eigen::Index first = Eigen::Index{state} * num_actions_;
  double left = rng.Uniform() * pi.segment(first, num_actions_).sum();
  int last = 0;
  for (int a = 0; a < num_actions_; ++a) {
    if (pi[first + a] <= 0) continue;
    last = a;
    left -= pi[first + a];
    if (left < 0) break;
  }
  return last;
}

int Simulator::DrawNext(int64_t row, Rng& rng) const {
  const auto begin = cumulative_.begin() + static_cast<int64_t>(offsets_[static_cast<size_t>(row)]);
  const auto end = cumulative_.begin() + static_cast<int64_t>(offsets_[static_cast<size_t>(row) + 1]);
  const auto found = std::upper_bound(begin, end, rng.Uniform());
  return found == end ? kEnded : static_cast<int>(columns_[static_cast<size_t>(found - cumulative_.begin())]);
}

}  // namespace bilevel
