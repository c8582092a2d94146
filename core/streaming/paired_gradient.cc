#include "core/streaming/paired_gradient.h"

#include <algorithm>
#include <cmath>

#include "core/streaming/trajectory_terms.h"

namespace bilevel {
namespace {

double LogWeight(const Trajectory& trajectory, const PairedPoint& current, const PairedPoint& previous) {
  double sum = 0;
  for (const int64_t row : trajectory.rows) {
    // Where neither goes, both are infinite.
    if (previous.log_pi[row] != current.log_pi[row]) sum += previous.log_pi[row] - current.log_pi[row];
  }
  return sum;
}

}  // namespace

PairedGradient EstimatePair(const PairedPoint& current, const PairedPoint& previous,
                            std::span<const Trajectory> trajectories, const PairedOptions& options) {
  const Eigen::Index n = current.model.x.size();
  const auto count = static_cast<Eigen::Index>(trajectories.size());
  const TrajectoryTerms at(current.model, options.horizon, options.estimator);
  const TrajectoryTerms before(previous.model, options.horizon, options.estimator);
  const Vector weights = RelativeWeights(trajectories);
  const Vector above = at.AboveOthers(trajectories, weights), above_before = before.AboveOthers(trajectories, weights);
  TermMeans means(n, current.model.expected != nullptr);
  const bool with_missing = previous.model.expected != nullptr;
  WeightedMean other(n), missing(n), innovation(n), cap_bias(n);
  PairedGradient result;
  double sum = 0, squares = 0;
  for (Eigen::Index i = 0; i < count; ++i) {
    const Trajectory& trajectory = trajectories[static_cast<size_t>(i)];
    const TrajectoryTerm here = at.Of(trajectory, nullptr, above[i]);
    const TrajectoryTerm there = before.Of(trajectory, nullptr, above_before[i]);
    const double log_weight = std::min(LogWeight(trajectory, current, previous), 700.0);
    const double weight = std::exp(log_weight), capped = std::min(weight, options.cap);
    const Vector gradient = there.exploitation + there.exploration;
    const double share = weights[i];
    means.Add(share, here);
    other.Add(share, capped * gradient);
    if (with_missing) missing.Add(share, capped * there.missing);
    innovation.Add(share, here.exploitation + here.exploration - options.kept_share * capped * gradient);
    cap_bias.Add(share, weight > capped ? Vector((capped - weight) * gradient) : Vector(Vector::Zero(n)));
    sum += share * capped;
    squares += std::pow(share * capped, 2);
    result.largest_weight = std::max(result.largest_weight, weight);
    if (weight > capped) result.capped_share += share / weights.sum();
  }
  result.current = means.Estimate();
  result.previous = other.mean();
  if (with_missing) result.previous_bias = -missing.mean();
  result.innovation_standard_error = innovation.standard_error();
  result.cap_bias = cap_bias.mean();
  result.cap_bias_standard_error = cap_bias.standard_error();
  result.effective_sample_size = squares > 0 ? sum * sum / squares : 0;
  result.mean_weight = sum / weights.sum();
  return result;
}

}  // namespace bilevel
