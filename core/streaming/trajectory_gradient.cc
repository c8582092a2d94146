#include "core/streaming/trajectory_gradient.h"

#include <algorithm>
#include <cmath>

#include "core/streaming/weighted_mean.h"

namespace bilevel {
namespace {

// A gradient as features: of c [d_u], and of the follower's reward [d] before 1/tau.
struct Parts {
  Vector leader, follower;

  Parts(Eigen::Index leader_features, Eigen::Index features)
      : leader(Vector::Zero(leader_features)), follower(Vector::Zero(features)) {}
  void Subtract(const Parts& other) {
    leader -= other.leader;
    follower -= other.follower;
  }
};

// Sums over one trajectory.
struct Sums {
  double loss = 0;  // l
  Parts gradient;   // sum gamma_u^t of c's features; sum_h A_h (grad Q - grad V)
  Vector score;     // sum_h (grad Q - grad V), [d]
  // Control variates of both, and what a cut left out.
  double control = 0;
  Parts gradient_control;
  double missing = 0;
  Parts gradient_missing;
};

class Estimator {
 public:
  Estimator(const TrajectoryModel& model, Horizon::Kind kind, TrajectoryEstimator estimator)
      : model_(model),
        estimator_(estimator),
        geometric_(kind == Horizon::Kind::kGeometric),
        step_discount_(geometric_ ? 1 : model.leader_discount),
        baseline_(model.control_variate ? model.expected->leader.value : model.leader_value),
        cost_(model.leader_reward.Evaluate(model.x, model.map.Apply(model.x))),
        leader_features_(model.leader_reward.GradientFeatures()) {}

  // kReturn without its baseline b needs the other trajectories, and is left to the caller.
  bool needs_others() const { return estimator_ == TrajectoryEstimator::kReturn && !model_.control_variate; }

  double Return(const Trajectory& trajectory) const {
    double sum = 0, discount = 1;
    for (size_t t = 0; t < trajectory.rows.size(); ++t, discount *= step_discount_) {
      sum += discount * Reward(trajectory, t);
    }
    return sum;
  }

  // sampled: may be null.
  Sums Add(const Trajectory& trajectory, const SampledScore* sampled) const {
    const Parts zero(leader_features_.cols(), model_.score.cols());
    Sums sums{.loss = Return(trajectory),
              .gradient = zero,
              .score = zero.follower,
              .gradient_control = zero,
              .gradient_missing = zero};
    if (model_.control_variate) ControlStart(StateOf(trajectory.rows.front()), sums);
    double discount = 1;
    for (size_t t = 0; t < trajectory.rows.size(); ++t, discount *= step_discount_) {
      const int64_t row = trajectory.rows[t];
      for (SparseRows::InnerIterator entry(leader_features_, row); entry; ++entry) {
        sums.gradient.leader[entry.col()] += discount * entry.value();
      }
      if (model_.control_variate) ControlChoice(row, discount, sums);
      AddScore(row, sampled, 1, sums.score);
      if (model_.control_variate && geometric_) ControlCoin(trajectory, t, sums);
    }
    if (model_.expected != nullptr && !geometric_ && trajectory.final_state >= 0) {
      AddValue(trajectory.final_state, discount, sums.score, sums.missing, sums.gradient_missing);
    }
    if (!needs_others()) AddScores(trajectory, sampled, sums);
    sums.loss -= sums.control;
    sums.gradient.Subtract(sums.gradient_control);
    return sums;
  }

  // As gradients in x.
  Vector Exploitation(const Parts& parts) const {
    ParameterGradient gradient(model_.x.size());
    model_.leader_reward.AddFeatureGradient(parts.leader, model_.x, gradient);
    return ToParameters(gradient);
  }
  Vector Exploration(const Parts& parts) const {
    ParameterGradient gradient(model_.x.size());
    model_.reward.AddFeatureGradient(parts.follower / model_.temperature, model_.x, gradient);
    return ToParameters(gradient);
  }

 private:
  int StateOf(int64_t row) const { return static_cast<int>(row / model_.num_actions); }
  bool crosses() const { return estimator_ != TrajectoryEstimator::kCritic; }

  double Reward(const Trajectory& trajectory, size_t t) const {
    return trajectory.leader_rewards.empty() ? cost_[trajectory.rows[t]] : trajectory.leader_rewards[t];
  }

  Vector ToParameters(const ParameterGradient& gradient) const {
    return model_.map.Pullback(model_.x, gradient.theta) + gradient.x;
  }

  // Adds weight (Gamma + V_u Z)(state): what is expected from there on; score: tau Z.
  void AddValue(int state, double weight, const Vector& score, double& loss, Parts& gradient) const {
    const ExpectedGradient& expected = *model_.expected;
    loss += weight * expected.leader.value[state];
    gradient.leader += weight * expected.exploitation.value.row(state).transpose();
    gradient.follower += weight * expected.exploration.value.row(state).transpose();
    if (crosses()) gradient.follower += weight * expected.leader.value[state] * score;
  }

  // Gamma(s_0) - sum rho Gamma.
  void ControlStart(int state, Sums& sums) const {
    const Vector& rho = model_.initial_distribution;
    if (rho.size() == 0) return;
    const ExpectedGradient& expected = *model_.expected;
    AddValue(state, 1, sums.score, sums.control, sums.gradient_control);
    sums.control -= rho.dot(expected.leader.value);
    sums.gradient_control.leader -= expected.exploitation.value.transpose() * rho;
    sums.gradient_control.follower -= expected.exploration.value.transpose() * rho;
  }

  // gamma_u^t [ (Gamma_q - Gamma) + (Q_u - V_u) Z_t ](s_t, a_t).
  void ControlChoice(int64_t row, double discount, Sums& sums) const {
    const ExpectedGradient& expected = *model_.expected;
    sums.control += discount * expected.leader.advantage[row];
    sums.gradient_control.leader += discount * expected.exploitation.advantage.row(row).transpose();
    sums.gradient_control.follower += discount * expected.exploration.advantage.row(row).transpose();
    if (crosses()) sums.gradient_control.follower += discount * expected.leader.advantage[row] * sums.score;
  }

  // (1{goes on} - gamma_u) (Gamma + V_u Z_{t+1})(s_{t+1}).
  void ControlCoin(const Trajectory& trajectory, size_t t, Sums& sums) const {
    const bool goes_on = t + 1 < trajectory.rows.size();
    const int next = goes_on ? StateOf(trajectory.rows[t + 1]) : trajectory.final_state;
    if (next < 0) return;
    AddValue(next, (goes_on ? 1 : 0) - model_.leader_discount, sums.score, sums.control, sums.gradient_control);
  }

  void AddScore(int64_t row, const SampledScore* sampled, double weight, Vector& sum) const {
    if (sampled == nullptr) {
      sum += weight * model_.score.row(row).transpose();
    } else if (sampled->row == row) {
      sum += weight * sampled->score;
    }
  }

  // Backwards, so that the reward to go is at hand.
  void AddScores(const Trajectory& trajectory, const SampledScore* sampled, Sums& sums) const {
    double to_go = 0;  // from this step on, discounted to it
    for (size_t t = trajectory.rows.size(); t-- > 0;) {
      const int64_t row = trajectory.rows[t];
      double worth;
      if (estimator_ == TrajectoryEstimator::kCritic) {
        worth = model_.leader_advantage[row];
      } else {
        to_go = Reward(trajectory, t) + step_discount_ * to_go;
        worth = to_go - (baseline_.size() == 0 ? 0 : baseline_[StateOf(row)]);
      }
      const double discount = std::pow(step_discount_, static_cast<double>(t));
      AddScore(row, sampled, discount * worth, sums.gradient.follower);
    }
  }

  const TrajectoryModel& model_;
  TrajectoryEstimator estimator_;
  bool geometric_;
  double step_discount_;
  Vector baseline_;
  Vector cost_;
  SparseRows leader_features_;
};

}  // namespace

SampledGradient EstimateFromTrajectories(const TrajectoryModel& model, std::span<const Trajectory> trajectories,
                                         Horizon::Kind kind, TrajectoryEstimator estimator,
                                         std::span<const SampledScore> scores) {
  const Estimator estimate(model, kind, estimator);
  const Eigen::Index n = model.x.size();
  double highest = -HUGE_VAL;
  for (const Trajectory& trajectory : trajectories) highest = std::max(highest, trajectory.log_weight);
  const auto weight = [&](const Trajectory& trajectory) { return std::exp(trajectory.log_weight - highest); };
  WeightedMean returns(1);
  for (const Trajectory& trajectory : trajectories) {
    returns.Add(weight(trajectory), Vector::Constant(1, estimate.Return(trajectory)));
  }
  // l_i less the mean of the others is l_i less the mean of all, times this.
  const double others = std::isinf(returns.others()) ? 0 : returns.others();
  SampledGradient result;
  WeightedMean loss(1), exploitation(n), exploration(n), total(n), missing_loss(1), missing(n), corrected(n);
  for (size_t i = 0; i < trajectories.size(); ++i) {
    const Trajectory& trajectory = trajectories[i];
    Sums sums = estimate.Add(trajectory, scores.empty() ? nullptr : &scores[i]);
    if (estimate.needs_others()) sums.gradient.follower = others * (sums.loss - returns.mean()[0]) * sums.score;
    const double w = weight(trajectory);
    const Vector direct = estimate.Exploitation(sums.gradient), implicit = estimate.Exploration(sums.gradient);
    loss.Add(w, Vector::Constant(1, sums.loss));
    exploitation.Add(w, direct);
    exploration.Add(w, implicit);
    total.Add(w, direct + implicit);
    result.transitions += static_cast<int64_t>(trajectory.rows.size());
    if (model.expected == nullptr) continue;
    const Vector cut = estimate.Exploitation(sums.gradient_missing) + estimate.Exploration(sums.gradient_missing);
    missing_loss.Add(w, Vector::Constant(1, sums.missing));
    missing.Add(w, cut);
    corrected.Add(w, direct + implicit + cut);
  }
  result.trajectories = static_cast<int64_t>(trajectories.size());
  result.effective_sample_size = loss.effective();
  result.objective = loss.mean()[0];
  result.objective_standard_error = loss.standard_error()[0];
  result.exploitation = exploitation.mean();
  result.exploration = exploration.mean();
  result.standard_error = total.standard_error();
  if (model.expected != nullptr) {
    result.objective_bias = -missing_loss.mean()[0];
    result.bias = -missing.mean();
    result.corrected_standard_error = corrected.standard_error();
  }
  return result;
}

}  // namespace bilevel
