#include "core/streaming/replay_critics.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace bilevel {

void TableCritic::Sweep(std::span<const ReplayedStep> steps, const RowMatrix& f, const RowMatrix& next_values,
                        double discount, double alpha) {
  means_.setZero();
  std::fill(visits_.begin(), visits_.end(), 0);
  const Eigen::Index dimension = values_.cols();
  double* const means = means_.data();
  const double* const next = next_values.data();
  for (const ReplayedStep& step : steps) {
    ++visits_[static_cast<size_t>(step.row)];
    if (step.next < 0) continue;
    double* const mean = means + step.row * dimension;
    const double* const value = next + step.next * dimension;
    for (Eigen::Index j = 0; j < dimension; ++j) mean[j] += value[j];
  }
  for (Eigen::Index row = 0; row < values_.rows(); ++row) {
    const auto visits = static_cast<double>(visits_[static_cast<size_t>(row)]);
    if (visits == 0) continue;
    values_.row(row) += alpha * (f.row(row) + discount / visits * means_.row(row) - values_.row(row));
  }
}

ReplayCritics::ReplayCritics(const ReplayedFollower& follower, const ReplayCriticsOptions& options)
    : num_actions_(follower.mdp.num_actions()),
      discount_(follower.discount),
      leader_discount_(follower.leader_discount),
      options_(options),
      reward_(RowMatrix::Zero(follower.mdp.num_rows(), 1)),
      leader_reward_(reward_),
      features_(follower.gradient_features),
      q_(features_.rows(), 1),
      leader_(features_.rows(), 1),
      gradient_(features_.rows(), features_.cols()),
      pi_(features_.rows()),
      soft_value_(follower.mdp.num_states(), 1) {
  for (Eigen::Index row = 0; row < features_.rows(); ++row) available_.push_back(follower.mdp.available(row) ? 1 : 0);
  UpdatePolicy();
}

void ReplayCritics::MoveTo(const Vector& reward, const Vector& leader_reward, double temperature) {
  reward_ = reward;
  leader_reward_ = leader_reward;
  temperature_ = temperature;
  UpdatePolicy();
}

void ReplayCritics::UpdatePolicy() {
  const RowMatrix& q = q_.values();
  for (Eigen::Index s = 0; s < soft_value_.rows(); ++s) {
    const Eigen::Index first = s * num_actions_, end = first + num_actions_;
    double highest = -std::numeric_limits<double>::infinity(), sum = 0;
    for (Eigen::Index row = first; row < end; ++row) {
      if (available_[static_cast<size_t>(row)] != 0) highest = std::max(highest, q(row, 0));
    }
    for (Eigen::Index row = first; row < end; ++row) {
      const bool can = available_[static_cast<size_t>(row)] != 0;
      sum += pi_[row] = can ? std::exp((q(row, 0) - highest) / temperature_) : 0;
    }
    pi_.segment(first, num_actions_) /= sum;
    soft_value_(s, 0) = highest + temperature_ * std::log(sum);
  }
}

RowMatrix ReplayCritics::Expect(const TableCritic& of) const {
  RowMatrix value = RowMatrix::Zero(soft_value_.rows(), of.values().cols());
  for (Eigen::Index row = 0; row < pi_.size(); ++row) value.row(row / num_actions_) += pi_[row] * of.values().row(row);
  return value;
}

RowMatrix ReplayCritics::Center(const TableCritic& of) const {
  const RowMatrix value = Expect(of);
  RowMatrix centered = of.values();
  for (Eigen::Index row = 0; row < pi_.size(); ++row) {
    if (available_[static_cast<size_t>(row)] != 0) {
      centered.row(row) -= value.row(row / num_actions_);
    } else {
      centered.row(row).setZero();
    }
  }
  return centered;
}

std::span<const ReplayedStep> ReplayCritics::Draw(const Replay<ReplayedStep>& seen, int64_t count, Rng& rng) {
  sample_.clear();
  for (int64_t i = 0; i < count; ++i) sample_.push_back(seen.Draw(rng));
  return sample_;
}

void ReplayCritics::Learn(const Replay<ReplayedStep>& seen, Rng& rng, const Interrupt& interrupt) {
  if (seen.size() == 0) return;
  for (int sweep = 0; sweep < options_.sweeps && !interrupt.Check().has_value(); ++sweep) {
    const std::span<const ReplayedStep> steps =
        options_.value_sample == 0 ? seen.items() : Draw(seen, options_.value_sample, rng);
    q_.Sweep(steps, reward_, soft_value_, discount_, options_.value_step);
    UpdatePolicy();
    leader_.Sweep(steps, leader_reward_, Expect(leader_), leader_discount_, options_.value_step);
  }
  if (options_.gradient_sample == 0 || interrupt.Check().has_value()) return;
  gradient_.Sweep(Draw(seen, options_.gradient_sample, rng), features_, Expect(gradient_), discount_,
                  options_.gradient_step);
}

RowMatrix ReplayCritics::Score() const { return Center(gradient_); }

Vector ReplayCritics::LeaderValue() const { return Expect(leader_).col(0); }

Vector ReplayCritics::LeaderAdvantage() const { return Center(leader_).col(0); }

}  // namespace bilevel
