// grad Q - grad V by walking on from a step of a trajectory: no critic, no model, no bias.
//
// Walk twice from s, once choosing a and once as pi does, and stop before each further step with probability 1 - gamma:
// sums of grad r along the walks, undiscounted, have means grad Q(s,a) and grad V(s)               (math.md (11), 7).
// Of a trajectory with H steps one, drawn uniformly, is walked on from, and counts H times:
//
//   E[ H A_h (grad Q - grad V)(s_h, a_h) ] = E[ sum_h A_h (grad Q - grad V)(s_h, a_h) ]
//
// Given the row (s_h, a_h), h is any of the steps that have it: the mean of A over them takes A_h's place, with less
// spread.
//
// The walks are independent of the trajectory's own tail, which A_h depends on, and that is what (13) asks for. Needs
// an environment that can be set to any state. Yang, Gao, Yuan (2025), arXiv:2405.19697; one step for each trajectory
// is ours.

#ifndef BILEVEL_CORE_STREAMING_CONTINUATIONS_H_
#define BILEVEL_CORE_STREAMING_CONTINUATIONS_H_

#include <span>
#include <vector>

#include "core/streaming/trajectory_gradient.h"

namespace bilevel {

// A draw at `row` in place of the scores of all these steps, which it is one of. Cost: O(steps).
SampledScore ShareScore(std::span<const int64_t> rows, int64_t row, const Vector& draw);

// The follower, where it can be started anywhere. References must outlive the calls.
struct Continuations {
  const Simulator& simulator;
  const Vector& pi;            // [S*A]
  int num_actions;             // A
  double discount;             // gamma, the follower's
  const SparseRows& features;  // ParametricReward::GradientFeatures() [S*A, d]

  // A draw of mean grad Q - grad V of this row, [d]. Cost: 2 / (1 - gamma) steps on average.
  Vector DrawScore(int64_t row, Rng& rng) const;

  // For EstimateFromTrajectories, which takes them in place of TrajectoryModel::score: one for each trajectory.
  std::vector<SampledScore> DrawScores(std::span<const Trajectory> trajectories, Rng& rng) const;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_CONTINUATIONS_H_
