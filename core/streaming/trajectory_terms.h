// What each trajectory adds to an estimate of the hyper-gradient, and the means of that: the formulas of
// trajectory_gradient.h, for all who estimate by them.

#ifndef BILEVEL_CORE_STREAMING_TRAJECTORY_TERMS_H_
#define BILEVEL_CORE_STREAMING_TRAJECTORY_TERMS_H_

#include "core/streaming/trajectory_gradient.h"
#include "core/streaming/weighted_mean.h"

namespace bilevel {

// Of one trajectory.
struct TrajectoryTerm {
  double loss = 0;      // l
  Vector exploitation;  // [n]
  Vector exploration;   // [n]
  // What a cut left out; 0 and empty without TrajectoryModel::expected.
  double missing_loss = 0;
  Vector missing;  // [n]
  int64_t transitions = 0;
};

class TrajectoryTerms {
 public:
  // model must outlive this.
  TrajectoryTerms(const TrajectoryModel& model, Horizon::Kind kind, TrajectoryEstimator estimator);

  // For kReturn without a control variate: each return less the mean of the others, weights [trajectories] > 0; else 0.
  Vector AboveOthers(std::span<const Trajectory> trajectories, const Vector& weights) const;

  // sampled: in place of the model's score, or null. above_others: this trajectory's. Cost: O(transitions (d + d_u) +
  // n).
  TrajectoryTerm Of(const Trajectory& trajectory, const SampledScore* sampled, double above_others) const;

 private:
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

  int StateOf(int64_t row) const { return static_cast<int>(row / model_.num_actions); }
  bool crosses() const { return estimator_ != TrajectoryEstimator::kCritic; }
  // kReturn without its baseline b needs the other trajectories.
  bool needs_others() const { return estimator_ == TrajectoryEstimator::kReturn && !model_.control_variate; }

  double Return(const Trajectory& trajectory) const;
  Sums Add(const Trajectory& trajectory, const SampledScore* sampled) const;
  // As gradients in x.
  Vector Exploitation(const Parts& parts) const;
  Vector Exploration(const Parts& parts) const;
  double Reward(const Trajectory& trajectory, size_t t) const;
  Vector ToParameters(const ParameterGradient& gradient) const;
  // Adds weight (Gamma + V_u Z)(state): what is expected from there on; score: tau Z.
  void AddValue(int state, double weight, const Vector& score, double& loss, Parts& gradient) const;
  // Gamma(s_0) - sum rho Gamma.
  void ControlStart(int state, Sums& sums) const;
  // gamma_u^t [ (Gamma_q - Gamma) + (Q_u - V_u) Z_t ](s_t, a_t).
  void ControlChoice(int64_t row, double discount, Sums& sums) const;
  // (1{goes on} - gamma_u) (Gamma + V_u Z_{t+1})(s_{t+1}).
  void ControlCoin(const Trajectory& trajectory, size_t t, Sums& sums) const;
  void AddScore(int64_t row, const SampledScore* sampled, double weight, Vector& sum) const;
  // Backwards, so that the reward to go is at hand.
  void AddScores(const Trajectory& trajectory, const SampledScore* sampled, Sums& sums) const;

  const TrajectoryModel& model_;
  TrajectoryEstimator estimator_;
  bool geometric_;
  double step_discount_;
  Vector baseline_;
  Vector cost_;
  SparseRows leader_features_;
};

// Weights exp(log_weight) over the largest of them.
Vector RelativeWeights(std::span<const Trajectory> trajectories);

// The estimate that terms make together.
class TermMeans {
 public:
  // with_missing: whether terms have `missing`.
  TermMeans(Eigen::Index num_parameters, bool with_missing);

  void Add(double weight, const TrajectoryTerm& term);
  SampledGradient Estimate() const;

 private:
  bool with_missing_;
  WeightedMean loss_, exploitation_, exploration_, total_, missing_loss_, missing_, corrected_;
  int64_t trajectories_ = 0, transitions_ = 0;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_TRAJECTORY_TERMS_H_
