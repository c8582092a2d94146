#include "core/streaming/trajectory_gradient.h"

#include "core/streaming/trajectory_terms.h"

namespace bilevel {

SampledGradient EstimateFromTrajectories(const TrajectoryModel& model, std::span<const Trajectory> trajectories,
                                         Horizon::Kind kind, TrajectoryEstimator estimator,
                                         std::span<const SampledScore> scores) {
  const Vector weights = RelativeWeights(trajectories);
  const TrajectoryTerms terms(model, kind, estimator);
  const Vector above = terms.AboveOthers(trajectories, weights);
  TermMeans means(model.x.size(), model.expected != nullptr);
  for (size_t i = 0; i < trajectories.size(); ++i) {
    const auto at = static_cast<Eigen::Index>(i);
    means.Add(weights[at], terms.Of(trajectories[i], scores.empty() ? nullptr : &scores[i], above[at]));
  }
  return means.Estimate();
}

}  // namespace bilevel
