#include "core/streaming/trajectory_gradient.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace bilevel {
namespace {

// Sums over one trajectory.
struct Sums {
  double loss = 0;        // l
  Vector leader;          // sum gamma_u^t of c's features, [d_u]
  Vector weighted_score;  // sum_h A_h (grad Q - grad V), [d]
  Vector score;           // sum_h (grad Q - grad V), [d]; of kReturn
};

class Estimator {
 public:
  Estimator(const TrajectoryModel& model, Horizon::Kind kind, TrajectoryEstimator estimator)
      : model_(model),
        estimator_(estimator),
        step_discount_(kind == Horizon::Kind::kGeometric ? 1 : model.leader_discount),
        cost_(model.leader_reward.Evaluate(model.x, model.map.Apply(model.x))),
        leader_features_(model.leader_reward.GradientFeatures()) {}

  Sums Add(const Trajectory& trajectory) const {
    Sums sums;
    sums.leader = Vector::Zero(leader_features_.cols());
    sums.weighted_score = Vector::Zero(model_.score.cols());
    sums.score = sums.weighted_score;
    double discount = 1;
    for (size_t t = 0; t < trajectory.rows.size(); ++t, discount *= step_discount_) {
      const int64_t row = trajectory.rows[t];
      sums.loss += discount * Reward(trajectory, t);
      for (SparseRows::InnerIterator entry(leader_features_, row); entry; ++entry) {
        sums.leader[entry.col()] += discount * entry.value();
      }
    }
    if (estimator_ == TrajectoryEstimator::kReturn) {
      for (const int64_t row : trajectory.rows) sums.score += model_.score.row(row).transpose();
      return sums;
    }
    AddScores(trajectory, sums);
    return sums;
  }

  // As gradients in x.
  Vector Exploitation(const Sums& sums) const {
    ParameterGradient gradient(model_.x.size());
    model_.leader_reward.AddFeatureGradient(sums.leader, model_.x, gradient);
    return ToParameters(gradient);
  }
  Vector Exploration(const Vector& features) const {
    ParameterGradient gradient(model_.x.size());
    model_.reward.AddFeatureGradient(features / model_.temperature, model_.x, gradient);
    return ToParameters(gradient);
  }

 private:
  double Reward(const Trajectory& trajectory, size_t t) const {
    return trajectory.leader_rewards.empty() ? cost_[trajectory.rows[t]] : trajectory.leader_rewards[t];
  }

  Vector ToParameters(const ParameterGradient& gradient) const {
    return model_.map.Pullback(model_.x, gradient.theta) + gradient.x;
  }

  // Backwards, so that the reward to go is at hand.
  void AddScores(const Trajectory& trajectory, Sums& sums) const {
    double to_go = 0;  // from this step on, discounted to it
    for (size_t t = trajectory.rows.size(); t-- > 0;) {
      const int64_t row = trajectory.rows[t];
      double worth;
      if (estimator_ == TrajectoryEstimator::kCritic) {
        worth = model_.leader_advantage[row];
      } else {
        to_go = Reward(trajectory, t) + step_discount_ * to_go;
        worth = to_go - (model_.leader_value.size() == 0 ? 0 : model_.leader_value[row / model_.num_actions]);
      }
      sums.weighted_score +=
          std::pow(step_discount_, static_cast<double>(t)) * worth * model_.score.row(row).transpose();
    }
  }

  const TrajectoryModel& model_;
  TrajectoryEstimator estimator_;
  double step_discount_;
  Vector cost_;
  SparseRows leader_features_;
};

// Weighted mean and, of independent terms, its standard error.
class Mean {
 public:
  explicit Mean(Eigen::Index n) : sum_(Vector::Zero(n)), weighted_(sum_), squares_(sum_) {}

  void Add(double weight, const Vector& value) {
    weights_ += weight;
    square_weights_ += weight * weight;
    sum_ += weight * value;
    weighted_ += weight * weight * value;
    squares_ += weight * weight * value.cwiseAbs2();
  }
  Vector mean() const { return sum_ / weights_; }
  double effective() const { return weights_ * weights_ / square_weights_; }
  // sqrt(sum w^2 (value - mean)^2) / sum w, as from effective() - 1 degrees of freedom.
  Vector standard_error() const {
    const Vector m = mean();
    const Vector spread = squares_ - 2 * m.cwiseProduct(weighted_) + square_weights_ * m.cwiseAbs2();
    const double freedom = effective() / std::max(effective() - 1, 1e-300);
    return (spread.cwiseMax(0) * freedom).cwiseSqrt() / weights_;
  }

 private:
  double weights_ = 0, square_weights_ = 0;
  Vector sum_, weighted_, squares_;
};

}  // namespace

SampledGradient EstimateFromTrajectories(const TrajectoryModel& model, std::span<const Trajectory> trajectories,
                                         Horizon::Kind kind, TrajectoryEstimator estimator) {
  const Estimator estimate(model, kind, estimator);
  const Eigen::Index n = model.x.size();
  SampledGradient result;
  std::vector<Sums> sums;
  sums.reserve(trajectories.size());
  Mean loss(1);
  double highest = -HUGE_VAL;
  for (const Trajectory& trajectory : trajectories) highest = std::max(highest, trajectory.log_weight);
  const auto weight = [&](size_t i) { return std::exp(trajectories[i].log_weight - highest); };
  for (size_t i = 0; i < trajectories.size(); ++i) {
    sums.push_back(estimate.Add(trajectories[i]));
    loss.Add(weight(i), Vector::Constant(1, sums.back().loss));
    result.transitions += static_cast<int64_t>(trajectories[i].rows.size());
  }
  result.trajectories = static_cast<int64_t>(trajectories.size());
  result.effective_sample_size = loss.effective();
  result.objective = loss.mean()[0];
  result.objective_standard_error = loss.standard_error()[0];
  // l_i less the mean of the others is l_i less the mean of all, times this.
  const double others = loss.effective() / std::max(loss.effective() - 1, 1e-300);
  Mean exploitation(n), exploration(n), total(n);
  for (size_t i = 0; i < sums.size(); ++i) {
    if (estimator == TrajectoryEstimator::kReturn) {
      sums[i].weighted_score = others * (sums[i].loss - result.objective) * sums[i].score;
    }
    const Vector direct = estimate.Exploitation(sums[i]), implicit = estimate.Exploration(sums[i].weighted_score);
    exploitation.Add(weight(i), direct);
    exploration.Add(weight(i), implicit);
    total.Add(weight(i), direct + implicit);
  }
  result.exploitation = exploitation.mean();
  result.exploration = exploration.mean();
  result.standard_error = total.standard_error();
  return result;
}

}  // namespace bilevel
