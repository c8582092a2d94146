#include "core/streaming/soft_q_learner.h"

#include <cmath>
#include <limits>
#include <utility>

#include "core/problem/parameter_map.h"

namespace bilevel {

SoftQLearner::SoftQLearner(int num_features, int num_actions, double discount, double temperature, Vector reward,
                           SparseRows gradient_features, const SoftQOptions& options)
    : num_actions_(num_actions),
      discount_(discount),
      temperature_(temperature),
      reward_(std::move(reward)),
      gradient_features_(std::move(gradient_features)),
      q_(num_features, num_actions, 1, options.q),
      gradient_(num_features, num_actions, static_cast<int>(gradient_features_.cols()), options.gradient),
      values_(num_actions) {}

void SoftQLearner::FillActionValues(Features state, std::span<const uint8_t> available, Vector& q) const {
  for (int a = 0; a < num_actions_; ++a) {
    const bool can = available.empty() || available[static_cast<size_t>(a)] != 0;
    q[a] = can ? q_.Scalar(state, a) : -std::numeric_limits<double>::infinity();
  }
}

Vector SoftQLearner::ActionValues(Features state, std::span<const uint8_t> available) const {
  Vector q(num_actions_);
  FillActionValues(state, available, q);
  return q;
}

Vector SoftQLearner::LogPolicy(Features state, std::span<const uint8_t> available) const {
  Vector log_pi = ActionValues(state, available);
  log_pi = (log_pi.array() - log_pi.maxCoeff()) / temperature_;
  double sum = 0;
  for (const double entry : log_pi) sum += std::exp(entry);
  return log_pi.array() - std::log(sum);
}

Vector SoftQLearner::Policy(Features state, std::span<const uint8_t> available) const {
  return Softmax(ActionValues(state, available) / temperature_);
}

void SoftQLearner::RestartSteps() {
  q_.RestartSteps();
  gradient_.RestartSteps();
}

void SoftQLearner::Learn(const LearnedStep& step) {
  double target = reward_[step.row];
  const bool with_gradient = gradient_.dimension() > 0;
  if (with_gradient) target_ = gradient_features_.row(step.row).transpose();
  if (!step.ended) {
    FillActionValues(step.next, step.next_available, values_);
    const double highest = values_.maxCoeff();
    double sum = 0;
    for (int b = 0; b < num_actions_; ++b) sum += values_[b] = std::exp((values_[b] - highest) / temperature_);
    target += discount_ * (highest + temperature_ * std::log(sum));
    for (int b = 0; b < num_actions_ && with_gradient; ++b) {
      if (values_[b] > 0) target_ += discount_ * values_[b] / sum * gradient_.Value(step.next, b);
    }
  }
  q_.Update(step.state, step.action, Eigen::Map<const Vector>(&target, 1));
  if (with_gradient) gradient_.Update(step.state, step.action, target_);
}

}  // namespace bilevel
