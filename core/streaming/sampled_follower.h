// Estimates of the hyper-gradient from a follower that acts in a known environment: what the outer loops of
// solvers/stochastic_descent.h ask for, one call for each step.
//
//   1. the follower's answer pi_k at x_k: solved to a stated residual, or followed by soft Q-learning, warm-started
//   2. critics of pi_k
//   3. a fresh mini-batch of trajectories of pi_k, and from it g_k, and g'_k at the last call's point
//   (paired_gradient.h)
//
// The environment is known to this file and used as a simulator; what is learned from it, and what is not, options say.

#ifndef BILEVEL_CORE_STREAMING_SAMPLED_FOLLOWER_H_
#define BILEVEL_CORE_STREAMING_SAMPLED_FOLLOWER_H_

#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "core/solvers/stochastic_descent.h"
#include "core/streaming/paired_gradient.h"
#include "core/streaming/soft_q_learner.h"
#include "core/streaming/transition_counts.h"

namespace bilevel {

struct SampledFollowerOptions {
  enum class Answer {
    kSolved,  // from the true model, to SampleEffort::residual
    kSoftQ,   // soft Q-learning in a table, SampleEffort::sweeps a call, each a transition of every available (s,a)
  };
  enum class Critic {
    kExact,           // grad Q - grad V, V_u, Q_u on the true model
    kEstimatedModel,  // on the frequencies of all earlier trajectories; before the first call a batch is drawn for it
    kLearned,         // grad Q by the temporal differences of kSoftQ; no V_u and no Q_u, so not with kCritic
  };
  Answer answer = Answer::kSolved;
  Critic critic = Critic::kExact;
  TrajectoryEstimator estimator = TrajectoryEstimator::kRewardToGo;
  double cap = 10;       // of pairs, > 0
  bool weighted = true;  // pairs by W; false: without, biased, for experiments that show it
  SoftQOptions soft_q;
  uint64_t seed = 0;
};

// What one call may spend.
struct SampleEffort {
  int64_t trajectories = 16;  // >= 2
  double residual = 1e-8;     // delta_k, > 0: |V - T V|_inf of a solved answer
  int64_t sweeps = 1;         // of soft Q-learning, >= 0
};

class SampledFollower {
 public:
  // problem must outlive this: one context with one term, the leader's return from the environment's initial
  // distribution; dynamics that do not depend on x. Else FAILED_PRECONDITION. INVALID_ARGUMENT: options.
  static absl::StatusOr<SampledFollower> Create(const BilevelProblem& problem, const SampledFollowerOptions& options);

  // kept_share > 0: with a pair, at the x of the last call if there was one. Geometric horizons, so that nothing is
  // cut. CANCELLED when interrupted. Cost: a solve or the sweeps, critics by linear solves, and the trajectories.
  absl::StatusOr<GradientSample> Sample(const Vector& x, double kept_share, const SampleEffort& effort,
                                        const Interrupt& interrupt);

  // Of the last call.
  const SampledGradient& estimate() const { return estimate_; }
  const std::optional<PairedGradient>& pair() const { return pair_; }
  const Vector& pi() const { return last_->pi; }  // [S*A]

  // Of all calls: drawn for trajectories, and for learning.
  int64_t acted() const { return acted_; }
  int64_t learned() const { return learned_; }

 private:
  // Where the follower is, or was.
  struct Point {
    Vector x, pi, log_pi;
    RowMatrix score;
    Vector leader_value, leader_advantage;
  };

  SampledFollower(const BilevelProblem& problem, const SampledFollowerOptions& options);

  const Context& context() const { return problem_->contexts[0]; }
  const TabularMdp& mdp() const { return *context().mdp; }
  const LeaderReturn& leader() const { return std::get<LeaderReturn>(context().objective[0].measure); }
  double leader_discount() const { return leader().discount.value_or(context().discount); }

  absl::Status Solve(const Vector& reward, double residual, const Interrupt& interrupt, Point& point);
  // The learner goes on, and `before`, where there is one, by the same transitions.
  absl::Status Learn(int64_t sweeps, SoftQLearner* before, const Interrupt& interrupt);
  std::vector<uint8_t> Available(int state) const;  // empty: all
  void SetPolicy(const SoftQLearner& learner, Point& point) const;
  absl::StatusOr<TabularMdp> EstimatedMdp(const Point& point, const SampleEffort& effort, const Interrupt& interrupt);
  // model: that critics are of; learner: of learned ones.
  void AddCritics(const TabularMdp& model, const SoftQLearner* learner, const Interrupt& interrupt, Point& point) const;
  absl::StatusOr<std::vector<Trajectory>> Draw(const Vector& pi, int64_t count, const Interrupt& interrupt);
  void Count(const std::vector<Trajectory>& trajectories);
  TrajectoryModel ModelAt(const Point& point) const;
  Vector RewardAt(const Vector& x) const { return context().reward.Evaluate(x, problem_->map.Apply(x)); }
  Vector Assemble(const Vector& gradient, const Vector& x) const;

  const BilevelProblem* problem_;
  SampledFollowerOptions options_;
  double weight_;  // of the return in phi
  Rng rng_;
  Simulator simulator_;
  std::unique_ptr<PolicySystem> system_;
  Vector value_;  // where the next solve starts
  std::optional<SoftQLearner> learner_;
  std::optional<TransitionCounts> counts_;
  std::unique_ptr<Point> last_;
  SampledGradient estimate_;
  std::optional<PairedGradient> pair_;
  int64_t acted_ = 0, learned_ = 0;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_SAMPLED_FOLLOWER_H_
