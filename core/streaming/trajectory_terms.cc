#include "core/streaming/trajectory_terms.h"

#include <algorithm>
#include <cmath>

namespace bilevel {

TrajectoryTerms::TrajectoryTerms(const TrajectoryModel& model, Horizon::Kind kind, TrajectoryEstimator estimator)
    : model_(model),
      estimator_(estimator),
      geometric_(kind == Horizon::Kind::kGeometric),
      step_discount_(geometric_ ? 1 : model.leader_discount),
      baseline_(model.control_variate ? model.expected->leader.value : model.leader_value),
      cost_(model.leader_reward.Evaluate(model.x, model.map.Apply(model.x))),
      leader_features_(model.leader_reward.GradientFeatures()) {}

Vector TrajectoryTerms::AboveOthers(std::span<const Trajectory> trajectories, const Vector& weights) const {
  Vector above = Vector::Zero(weights.size());
  if (!needs_others()) return above;
  WeightedMean returns(1);
  for (Eigen::Index i = 0; i < above.size(); ++i) {
    above[i] = Return(trajectories[static_cast<size_t>(i)]);
    returns.Add(weights[i], above.segment(i, 1));
  }
  // l_i less the mean of the others is l_i less the mean of all, times this.
  const double others = std::isinf(returns.others()) ? 0 : returns.others();
  const double mean = returns.mean()[0];
  for (double& entry : above) entry = others * (entry - mean);
  return above;
}

TrajectoryTerm TrajectoryTerms::Of(const Trajectory& trajectory, const SampledScore* sampled,
                                   double above_others) const {
  Sums sums = Add(trajectory, sampled);
  if (needs_others()) sums.gradient.follower = above_others * sums.score;
  TrajectoryTerm term{.loss = sums.loss,
                      .exploitation = Exploitation(sums.gradient),
                      .exploration = Exploration(sums.gradient),
                      .missing = {},
                      .transitions = static_cast<int64_t>(trajectory.rows.size())};
  if (model_.expected == nullptr) return term;
  term.missing_loss = sums.missing;
  term.missing = Exploitation(sums.gradient_missing) + Exploration(sums.gradient_missing);
  return term;
}

double TrajectoryTerms::Return(const Trajectory& trajectory) const {
  double sum = 0, discount = 1;
  for (size_t t = 0; t < trajectory.rows.size(); ++t, discount *= step_discount_) {
    sum += discount * Reward(trajectory, t);
  }
  return sum;
}

TrajectoryTerms::Sums TrajectoryTerms::Add(const Trajectory& trajectory, const SampledScore* sampled) const {
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

Vector TrajectoryTerms::Exploitation(const Parts& parts) const {
  ParameterGradient gradient(model_.x.size());
  model_.leader_reward.AddFeatureGradient(parts.leader, model_.x, gradient);
  return ToParameters(gradient);
}

Vector TrajectoryTerms::Exploration(const Parts& parts) const {
  ParameterGradient gradient(model_.x.size());
  model_.reward.AddFeatureGradient(parts.follower / model_.temperature, model_.x, gradient);
  return ToParameters(gradient);
}

double TrajectoryTerms::Reward(const Trajectory& trajectory, size_t t) const {
  const int64_t row = trajectory.rows[t];
  if (trajectory.leader_rewards.empty()) return cost_[row];
  return trajectory.leader_rewards[t] + (model_.sample_shift.size() == 0 ? 0 : model_.sample_shift[row]);
}

Vector TrajectoryTerms::ToParameters(const ParameterGradient& gradient) const {
  return model_.map.Pullback(model_.x, gradient.theta) + gradient.x;
}

void TrajectoryTerms::AddValue(int state, double weight, const Vector& score, double& loss, Parts& gradient) const {
  const ExpectedGradient& expected = *model_.expected;
  loss += weight * expected.leader.value[state];
  gradient.leader += weight * expected.exploitation.value.row(state).transpose();
  gradient.follower += weight * expected.exploration.value.row(state).transpose();
  if (crosses()) gradient.follower += weight * expected.leader.value[state] * score;
}

void TrajectoryTerms::ControlStart(int state, Sums& sums) const {
  const Vector& rho = model_.initial_distribution;
  if (rho.size() == 0) return;
  const ExpectedGradient& expected = *model_.expected;
  AddValue(state, 1, sums.score, sums.control, sums.gradient_control);
  sums.control -= rho.dot(expected.leader.value);
  sums.gradient_control.leader -= expected.exploitation.value.transpose() * rho;
  sums.gradient_control.follower -= expected.exploration.value.transpose() * rho;
}

void TrajectoryTerms::ControlChoice(int64_t row, double discount, Sums& sums) const {
  const ExpectedGradient& expected = *model_.expected;
  sums.control += discount * expected.leader.advantage[row];
  sums.gradient_control.leader += discount * expected.exploitation.advantage.row(row).transpose();
  sums.gradient_control.follower += discount * expected.exploration.advantage.row(row).transpose();
  if (crosses()) sums.gradient_control.follower += discount * expected.leader.advantage[row] * sums.score;
}

void TrajectoryTerms::ControlCoin(const Trajectory& trajectory, size_t t, Sums& sums) const {
  const bool goes_on = t + 1 < trajectory.rows.size();
  const int next = goes_on ? StateOf(trajectory.rows[t + 1]) : trajectory.final_state;
  if (next < 0) return;
  AddValue(next, (goes_on ? 1 : 0) - model_.leader_discount, sums.score, sums.control, sums.gradient_control);
}

void TrajectoryTerms::AddScore(int64_t row, const SampledScore* sampled, double weight, Vector& sum) const {
  if (sampled == nullptr) {
    sum += weight * model_.score.row(row).transpose();
  } else if (sampled->row == row) {
    sum += weight * sampled->score;
  }
}

void TrajectoryTerms::AddScores(const Trajectory& trajectory, const SampledScore* sampled, Sums& sums) const {
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

Vector RelativeWeights(std::span<const Trajectory> trajectories) {
  double highest = -HUGE_VAL;
  for (const Trajectory& trajectory : trajectories) highest = std::max(highest, trajectory.log_weight);
  Vector weights(static_cast<Eigen::Index>(trajectories.size()));
  for (Eigen::Index i = 0; i < weights.size(); ++i) {
    weights[i] = std::exp(trajectories[static_cast<size_t>(i)].log_weight - highest);
  }
  return weights;
}

TermMeans::TermMeans(Eigen::Index num_parameters, bool with_missing)
    : with_missing_(with_missing),
      loss_(1),
      exploitation_(num_parameters),
      exploration_(num_parameters),
      total_(num_parameters),
      missing_loss_(1),
      missing_(num_parameters),
      corrected_(num_parameters) {}

void TermMeans::Add(double weight, const TrajectoryTerm& term) {
  ++trajectories_;
  transitions_ += term.transitions;
  loss_.Add(weight, Vector::Constant(1, term.loss));
  exploitation_.Add(weight, term.exploitation);
  exploration_.Add(weight, term.exploration);
  total_.Add(weight, term.exploitation + term.exploration);
  if (!with_missing_) return;
  missing_loss_.Add(weight, Vector::Constant(1, term.missing_loss));
  missing_.Add(weight, term.missing);
  corrected_.Add(weight, term.exploitation + term.exploration + term.missing);
}

SampledGradient TermMeans::Estimate() const {
  SampledGradient result;
  result.trajectories = trajectories_;
  result.transitions = transitions_;
  result.effective_sample_size = loss_.effective();
  result.objective = loss_.mean()[0];
  result.objective_standard_error = loss_.standard_error()[0];
  result.exploitation = exploitation_.mean();
  result.exploration = exploration_.mean();
  result.standard_error = total_.standard_error();
  if (!with_missing_) return result;
  result.objective_bias = -missing_loss_.mean()[0];
  result.bias = -missing_.mean();
  result.corrected_standard_error = corrected_.standard_error();
  return result;
}

}  // namespace bilevel
