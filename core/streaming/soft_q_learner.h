// The follower's answer and its derivative from transitions, no model kept:
//
//   Q(s,a)      <- r(s,a) + gamma tau log sum_b exp(Q(s2,b) / tau)               soft Q-learning
//   grad Q(s,a) <- grad r(s,a) + gamma sum_b pi(b|s2) grad Q(s2,b)               successor features of r, (11)
//
// by temporal differences (linear_critic.h), pi = softmax(Q / tau). Both are off-policy: whoever acted, targets are the
// follower's own. r and grad r come from the reward model, so the only thing learned is what the world does.
//
// Haarnoja, Tang, Abbeel, Levine (2017), arXiv:1702.08165; Barreto et al. (2017), arXiv:1606.05312.

#ifndef BILEVEL_CORE_STREAMING_SOFT_Q_LEARNER_H_
#define BILEVEL_CORE_STREAMING_SOFT_Q_LEARNER_H_

#include <vector>

#include "core/streaming/linear_critic.h"

namespace bilevel {

struct SoftQOptions {
  StepSchedule q;
  StepSchedule gradient;
};

// What a transition taught; spans must outlive the call.
struct LearnedStep {
  Features state;
  int action;
  int64_t row;                              // s*A + a, of the reward model
  Features next;                            // ignored where ended
  std::span<const uint8_t> next_available;  // [A]; empty: all
  bool ended;
};

class SoftQLearner {
 public:
  // gradient_features: ParametricReward::GradientFeatures(), or without columns where grad Q is not wanted; reward: r
  // at x [S*A].
  SoftQLearner(int num_features, int num_actions, double discount, double temperature, Vector reward,
               SparseRows gradient_features, const SoftQOptions& options);

  // The reward at another x. What was learned stays, as a start.
  void SetReward(Vector reward) { reward_ = std::move(reward); }

  // The world is another. What was learned stays, as a start, and steps are as large again as at first.
  void RestartSteps();

  void Learn(const LearnedStep& step);

  // Q(s,.), log pi(.|s) and pi(.|s) [A]; -infinity and 0 where unavailable.
  Vector ActionValues(Features state, std::span<const uint8_t> available) const;
  Vector LogPolicy(Features state, std::span<const uint8_t> available) const;
  Vector Policy(Features state, std::span<const uint8_t> available) const;

  const LinearCritic& q() const { return q_; }
  const LinearCritic& gradient() const { return gradient_; }

 private:
  void FillActionValues(Features state, std::span<const uint8_t> available, Vector& q) const;

  int num_actions_;
  double discount_, temperature_;
  Vector reward_;
  SparseRows gradient_features_;
  LinearCritic q_, gradient_;
  Vector values_, target_;  // of the step under way: Q(s2,.) [A], then pi(.|s2); the target of grad Q [d]
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_SOFT_Q_LEARNER_H_
