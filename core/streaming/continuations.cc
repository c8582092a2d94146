#include "core/streaming/continuations.h"

#include <algorithm>

namespace bilevel {
namespace {

// Sum of features from `row` on, times sign.
void AddWalk(const Continuations& follower, int64_t row, double sign, Rng& rng, Vector& sum) {
  while (true) {
    for (SparseRows::InnerIterator entry(follower.features, row); entry; ++entry) {
      sum[entry.col()] += sign * entry.value();
    }
    const int state = follower.simulator.DrawNext(row, rng);
    if (state == Simulator::kEnded || rng.Uniform() >= follower.discount) return;
    row = int64_t{state} * follower.num_actions + follower.simulator.DrawAction(follower.pi, state, rng);
  }
}

}  // namespace

SampledScore ShareScore(std::span<const int64_t> rows, int64_t row, const Vector& draw) {
  const auto alike = static_cast<double>(std::count(rows.begin(), rows.end(), row));
  return {row, static_cast<double>(rows.size()) / alike * draw};
}

Vector Continuations::DrawScore(int64_t row, Rng& rng) const {
  Vector score = Vector::Zero(features.cols());
  const auto state = static_cast<int>(row / num_actions);
  AddWalk(*this, row, 1, rng, score);
  AddWalk(*this, int64_t{state} * num_actions + simulator.DrawAction(pi, state, rng), -1, rng, score);
  return score;
}

std::vector<SampledScore> Continuations::DrawScores(std::span<const Trajectory> trajectories, Rng& rng) const {
  std::vector<SampledScore> scores;
  scores.reserve(trajectories.size());
  for (const Trajectory& trajectory : trajectories) {
    const int64_t row = trajectory.rows[rng.Below(trajectory.rows.size())];
    scores.push_back(ShareScore(trajectory.rows, row, DrawScore(row, rng)));
  }
  return scores;
}

}  // namespace bilevel
