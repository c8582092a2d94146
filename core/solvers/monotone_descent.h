// What methods share that evaluate objective and exact hyper-gradient at every trial point and never go uphill, under
// the worst case within a stage: the
// line search, limits, progress, history, the best point and its certification; and the stages of the worst case.
//
// Where no step lowers the objective any more, the followers are solved to rounding level from there on.

#ifndef BILEVEL_CORE_SOLVERS_MONOTONE_DESCENT_H_
#define BILEVEL_CORE_SOLVERS_MONOTONE_DESCENT_H_

#include <deque>
#include <functional>
#include <optional>
#include <string>

#include "core/solvers/outer_loop.h"
#include "core/solvers/worst_case_stages.h"

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

  // Armijo's constant: the share of what the slope promises that a step has to bring.
  static constexpr double kSufficientDecrease = 1e-4;

  // Moves to the first of trial(t), trial(0.3 t), ... where F <= F(now) - decrease (+ what double precision cannot tell
  // apart). kNoDescent after max_trials; kStopped when a limit comes first.
  static constexpr int kMaxTrials = 60;
  absl::StatusOr<Outcome> Search(double t, const std::function<Trial(double)>& trial, int max_trials = kMaxTrials);

  // What is descended now: under the worst case, the problem of the current stage.
  const BilevelProblem& problem() const { return problem_; }
  // What a method learned of the objective's shape in one stage does not hold in the next.
  int stage() const { return stages_.has_value() ? stages_->stage() : 0; }

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
  // The objective as the user wrote it, where problem() differs.
  double Exact(const HypergradientPoint& point) const {
    return stages_.has_value() ? exact_.Aggregate(point.context_objectives, point.x) : point.objective;
  }
  // Whether stages have begun.
  bool Staged() const { return stages_.has_value() && problem_.blend.has_value(); }
  Progress MakeProgress() const;
  bool BudgetLeft() const;
  void Stop(StopReason reason, std::string detail) { termination_ = {reason, std::move(detail)}; }
  bool Finished(bool stalled);
  // Once a step.
  bool Stalled();
  void MoveTo(HypergradientPoint next);
  void KeepIfBest();
  // current_ once more, after what it is evaluated with has changed. kStopped when a limit comes first.
  absl::StatusOr<Outcome> Reevaluate();
  absl::StatusOr<Outcome> BeginStages();
  // While the current point ends one. stalled: whether the last steps gained too little; not any more in a new stage.
  absl::StatusOr<Outcome> AdvanceStages(bool& stalled);
  // After a step that found no descent: kMoved when it is worth another.
  absl::StatusOr<Outcome> Recover();
  absl::StatusOr<OuterResult> Conclude();

  const BilevelProblem& exact_;
  std::optional<WorstCaseStages> stages_;
  const BilevelProblem& problem_;
  const OuterOptions& options_;
  const Interrupt& interrupt_;
  ProgressReporter& reporter_;
  HypergradientEvaluator evaluator_;
  HypergradientPoint current_, best_;
  int iterations_ = 0;
  bool all_overflowed_ = false;  // in the last search
  std::deque<double> recent_;    // F after the last steps
  Termination termination_;
  History history_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_SOLVERS_MONOTONE_DESCENT_H_
