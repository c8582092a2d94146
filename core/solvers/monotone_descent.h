// What methods share that evaluate objective and exact hyper-gradient at every trial point and never go uphill: the
// line search, limits, progress, history, the best point and its certification.

#ifndef BILEVEL_CORE_SOLVERS_MONOTONE_DESCENT_H_
#define BILEVEL_CORE_SOLVERS_MONOTONE_DESCENT_H_

#include <deque>
#include <functional>
#include <optional>
#include <string>

#include "core/solvers/outer_loop.h"

namespace bilevel {

class MonotoneDescent {
 public:
  // All of them must outlive this.
  MonotoneDescent(const BilevelProblem& problem, const OuterOptions& options, const Interrupt& interrupt,
                  ProgressReporter& reporter);

  enum class Outcome { kMoved, kNoDescent, kStopped };

  // From `start`, projected onto the feasible set, step after step until there is a reason to stop. `step` is one call
  // of Search, or more while they end as kNoDescent.
  absl::StatusOr<OuterResult> Run(const Vector& start, const std::function<absl::StatusOr<Outcome>()>& step);

  // A point to try, and by how much F = sign * objective has to fall there; without that it is taken as it is.
  struct Trial {
    Vector x;
    std::optional<double> decrease;
  };

  // Moves to the first of trial(t), trial(0.3 t), ... where F <= F(now) - decrease (+ what double precision cannot tell
  // apart). kNoDescent after max_trials; kStopped when a limit comes first.
  static constexpr int kMaxTrials = 60;
  absl::StatusOr<Outcome> Search(double t, const std::function<Trial(double)>& trial, int max_trials = kMaxTrials);

  const HypergradientPoint& current() const { return current_; }
  int iterations() const { return iterations_; }
  const WarmStart& warm_start() const { return evaluator_.warm_start(); }

  // Of F without the 1-norm, at the current point.
  Vector Gradient() const { return problem_.sign() * current_.gradient; }

  // Barzilai and Borwein's (1988) long step from the point (x, gradient) before to the current one; nothing where F
  // curves down between them.
  std::optional<double> SpectralStep(const Vector& x, const Vector& gradient) const;

  // A step should move x by at most this: longer ones end on plateaus of saturated parameter maps.
  double LongestMove() const;

 private:
  double Signed(const HypergradientPoint& point) const { return problem_.sign() * point.objective; }
  Progress MakeProgress() const;
  bool BudgetLeft() const;
  void Stop(StopReason reason, std::string detail) { termination_ = {reason, std::move(detail)}; }
  bool Finished();
  // Once a step.
  bool Stalled();
  void MoveTo(HypergradientPoint next);
  absl::StatusOr<OuterResult> Conclude();

  const BilevelProblem& problem_;
  const OuterOptions& options_;
  const Interrupt& interrupt_;
  ProgressReporter& reporter_;
  HypergradientEvaluator evaluator_;
  HypergradientPoint current_, best_;
  int iterations_ = 0;
  std::deque<double> recent_;  // F after the last steps
  Termination termination_;
  History history_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_SOLVERS_MONOTONE_DESCENT_H_
