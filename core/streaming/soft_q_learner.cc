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
      gradient_(num_features, num_actions, static_cast<int>(gradient_features_.cols()), options.gradient) {}

Vector SoftQLearner::ActionValues(Features state, std::span<const uint8_t> available) const {
  Vector q(num_actions_);
  for (int a = 0; a < num_actions_; ++a) {
    const bool can = available.empty() || available[static_cast<size_t>(a)] != 0;
    q[a] = can ? q_.Value(state, a)[0] : -std::numeric_limits<double>::infinity();
  }
  return q;
}

Vector SoftQLearner::Policy(Features state, std::span<const uint8_t> available) const {
  return Softmax(ActionValues(state, available) / temperature_);
}

void SoftQLearner::Learn(const LearnedStep& step) {
  double target = reward_[step.row];
  Vector gradient_target = gradient_features_.row(step.row).transpose();
  if (!step.ended) {
    const Vector q = ActionValues(step.next, step.next_available);
    const double highest = q.maxCoeff();
    const Vector pi = Softmax(q / temperature_);
    target += discount_ * (highest + temperature_ * std::log(((q.array() - highest) / temperature_).exp().sum()));
    for (int b = 0; b < num_actions_ && gradient_.dimension() > 0; ++b) {
      if (pi[b] > 0) gradient_target += discount_ * pi[b] * gradient_.Value(step.next, b);
    }
  }
  q_.Update(step.state, step.action, Vector::Constant(1, target));
  if (gradient_.dimension() > 0) gradient_.Update(step.state, step.action, gradient_target);
}

}  // namespace bilevel
