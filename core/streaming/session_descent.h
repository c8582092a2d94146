// SoBiRL and Stoc-SoBiRL inside a session: the outer loop, fed by what the session has learned.
//
// Step k estimates the hyper-gradient at x_k from the session's data by an estimator of choice, moves x, and leaves the
// lower level where it was, as a start. It waits where the follower's answer is not as accurate as asked for, or the
// data do not yet suffice.
//
// Yang, Gao, Yuan (2025), arXiv:2405.19697; see solvers/stochastic_descent.h.

#ifndef BILEVEL_CORE_STREAMING_SESSION_DESCENT_H_
#define BILEVEL_CORE_STREAMING_SESSION_DESCENT_H_

#include <limits>
#include <string>

#include "core/solvers/stochastic_descent.h"
#include "core/streaming/session_estimate.h"

namespace bilevel {

// Steps by estimators from trajectories need so many of equal weight in each context: error bars hold for many.
inline constexpr double kLeastTrajectories = 8;

struct SessionDescentOptions {
  StochasticDescentOptions descent;
  EstimatorOptions estimator;  // step k draws with seed + k
  bool subtract_bias = false;  // whether what the estimator says of its bias is taken off
  // No step while the follower's estimated Bellman residual is above; > 0. Of learners without a model's solution.
  double lower_level_tolerance = std::numeric_limits<double>::infinity();
  double weight_cap = 10;   // of momentum: importance weights are cut to this, >= 1
  bool on_request = false;  // steps are asked for one by one; else one is tried with each policy

  // A field error names the option out of range. Momentum needs an estimator from trajectories, since others see the
  // same transitions again and again, and critics at the point before, which walks are not. Preferences are tied to
  // transitions by no order: theirs are steps on request.
  absl::Status Validate() const;

  // Whether pairs are made of what was learned at both points: momentum with a learned critic.
  bool LearnsPairs() const { return descent.momentum && estimator.critic == EstimatorOptions::Critic::kLearned; }
};

// A step that was taken.
struct OuterStep {
  uint64_t number = 0;  // 1, 2, ... in this session; descent.number: since the last Restart
  DescentStep descent;
  GradientEstimate estimate;        // at x_k
  uint64_t merged = 0;              // transitions that it has learned from
  uint32_t parameters_version = 0;  // of x_k
  double residual = 0;              // the follower's, the largest of all contexts; 0 where a model is solved
};

class SessionDescent {
 public:
  // problem must outlive this.
  SessionDescent(const BilevelProblem& problem, const Vector& x, const SessionDescentOptions& options)
      : problem_(&problem), options_(options), descent_(problem, x, options.descent) {}

  // The next step; data: at x(), with trajectories or preferences where the estimator uses them, and what was learned
  // at the x before where momentum does; residual: the follower's. Errors, which change nothing but waiting():
  // FAILED_PRECONDITION when it has stopped, or must wait; those of EstimateGradient.
  absl::StatusOr<OuterStep> Step(SessionData data, double residual, const Interrupt& interrupt);

  // x was moved by somebody else, or what was learned is no longer so.
  void Restart(const Vector& x);

  const Vector& x() const { return descent_.x(); }
  const StochasticDescent& descent() const { return descent_; }
  const SessionDescentOptions& options() const { return options_; }
  bool stopped() const { return descent_.stopped(); }
  // Why the last attempt was no step; empty when it was.
  const std::string& waiting() const { return waiting_; }
  uint64_t taken() const { return taken_; }  // steps in all

 private:
  absl::StatusOr<OuterStep> TryStep(SessionData& data, double residual, const Interrupt& interrupt);
  absl::Status CheckSamples(const GradientEstimate& estimate) const;

  const BilevelProblem* problem_;
  SessionDescentOptions options_;
  StochasticDescent descent_;
  uint64_t taken_ = 0;
  std::string waiting_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_SESSION_DESCENT_H_
