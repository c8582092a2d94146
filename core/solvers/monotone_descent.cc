#include "core/solvers/monotone_descent.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/status_macros.h"
#include "core/base/text.h"

namespace bilevel {
namespace {

constexpr double kBacktrack = 0.3;
// In multiples of max(1, |x|).
constexpr double kLongestMove = 1;
// Differences below this share of the objective are rounding.
constexpr double kObjectiveNoise = 1e-13;

}  // namespace

MonotoneDescent::MonotoneDescent(const BilevelProblem& problem, const OuterOptions& options, const Interrupt& interrupt,
                                 ProgressReporter& reporter)
    : exact_(problem),
      stages_(WorstCaseStages::Apply(problem) ? std::optional<WorstCaseStages>(problem) : std::nullopt),
      problem_(stages_.has_value() ? stages_->problem() : problem),
      options_(options),
      interrupt_(interrupt),
      reporter_(reporter),
      evaluator_(problem_, options.lower_level, options.warm_start) {}

absl::StatusOr<OuterResult> MonotoneDescent::Run(const Vector& start,
                                                 const std::function<absl::StatusOr<Outcome>()>& step) {
  ASSIGN_OR_RETURN(current_, evaluator_.Evaluate(problem_.feasible_set.Project(start), interrupt_));
  best_ = current_;
  ASSIGN_OR_RETURN(Outcome outcome, BeginStages());
  int reported = -1;
  while (true) {
    bool stalled = outcome != Outcome::kStopped && Stalled();
    if (outcome != Outcome::kStopped) {
      ASSIGN_OR_RETURN(outcome, AdvanceStages(stalled));
    }
    if (std::exchange(reported, iterations_) != iterations_) {
      ReportIteration(
          iterations_, [this] { return MakeProgress(); }, reporter_, options_.record_history ? &history_ : nullptr);
    }
    if (outcome == Outcome::kStopped || Finished(stalled)) break;
    ASSIGN_OR_RETURN(outcome, step());
    if (outcome == Outcome::kNoDescent) {
      ASSIGN_OR_RETURN(outcome, Recover());
      if (outcome != Outcome::kMoved) break;
    } else if (outcome == Outcome::kStopped) {
      break;
    } else {
      ++iterations_;
    }
  }
  return Conclude();
}

absl::StatusOr<MonotoneDescent::Outcome> MonotoneDescent::Reevaluate() {
  if (!BudgetLeft()) {
    Stop(StopReason::kEvaluationLimit, "max_evaluations reached; raise it");
    return Outcome::kStopped;
  }
  ASSIGN_OR_RETURN(HypergradientPoint point, evaluator_.Evaluate(current_.x, interrupt_));
  if (const auto reason = interrupt_.Check(); reason.has_value()) {
    Stop(*reason, absl::StrCat("stopped inside iteration ", iterations_ + 1));
    return Outcome::kStopped;
  }
  recent_.clear();
  const bool best = best_.x == current_.x;
  current_ = std::move(point);
  if (best) {
    best_ = current_;
  } else {
    KeepIfBest();
  }
  return Outcome::kMoved;
}

absl::StatusOr<MonotoneDescent::Outcome> MonotoneDescent::BeginStages() {
  if (!stages_.has_value() || !std::isfinite(current_.objective) || interrupt_.Check().has_value() ||
      options_.max_iterations == 0) {
    return Outcome::kMoved;
  }
  stages_->Begin(current_.context_objectives, current_.gradient_norm);
  return Reevaluate();
}

absl::StatusOr<MonotoneDescent::Outcome> MonotoneDescent::AdvanceStages(bool& stalled) {
  if (!Staged() || interrupt_.Check().has_value()) return Outcome::kMoved;
  const double wanted = options_.gradient_tolerance;
  while (stages_->narrowest() ? current_.gradient_norm <= stages_->GradientTolerance(wanted)
                              : stalled || current_.gradient_norm <= stages_->GradientTolerance(wanted)) {
    if (stages_->Last(current_.context_objectives, wanted) || !stages_->Advance(current_.context_objectives)) break;
    stalled = false;
    ASSIGN_OR_RETURN(const Outcome outcome, Reevaluate());
    if (outcome != Outcome::kMoved) return outcome;
  }
  return Outcome::kMoved;
}

absl::StatusOr<MonotoneDescent::Outcome> MonotoneDescent::Recover() {
  if (!all_overflowed_ && evaluator_.Sharpen()) return Reevaluate();
  if (!all_overflowed_ && Staged() && !stages_->Last(current_.context_objectives, HUGE_VAL) &&
      stages_->Advance(current_.context_objectives)) {
    return Reevaluate();
  }
  if (all_overflowed_) {
    Stop(StopReason::kDiverged, "objective or gradient overflow at every step along the negative gradient");
  } else {
    Stop(StopReason::kIterationLimit,
         absl::StrCat("gradient_norm = ", ToText(current_.gradient_norm), " after ", Counted(iterations_, "iteration"),
                      "; no step lowers the objective beyond its rounding, the followers being solved to "
                      "theirs"));
  }
  return Outcome::kNoDescent;
}

absl::StatusOr<MonotoneDescent::Outcome> MonotoneDescent::Search(double t, const std::function<Trial(double)>& trial,
                                                                 int max_trials) {
  const double noise = kObjectiveNoise * (1 + std::abs(current_.objective));
  all_overflowed_ = true;
  for (int attempt = 0; attempt < max_trials; ++attempt, t *= kBacktrack) {
    if (!BudgetLeft()) {
      Stop(StopReason::kEvaluationLimit, "max_evaluations reached inside a line search");
      return Outcome::kStopped;
    }
    const Trial next = trial(t);
    ASSIGN_OR_RETURN(HypergradientPoint point, evaluator_.Evaluate(next.x, interrupt_));
    if (const auto reason = interrupt_.Check(); reason.has_value()) {
      Stop(*reason, absl::StrCat("stopped inside iteration ", iterations_ + 1));
      return Outcome::kStopped;
    }
    const bool finite = std::isfinite(point.objective) && point.gradient.allFinite();
    if (finite) all_overflowed_ = false;
    if (!next.decrease.has_value() || (finite && Signed(point) <= Signed(current_) - *next.decrease + noise)) {
      MoveTo(std::move(point));
      return Outcome::kMoved;
    }
  }
  return Outcome::kNoDescent;
}

std::optional<double> MonotoneDescent::SpectralStep(const Vector& x, const Vector& gradient) const {
  const Vector s = current_.x - x;
  const double sy = s.dot(Gradient() - gradient);
  return sy > 0 ? std::optional<double>(s.squaredNorm() / sy) : std::nullopt;
}

double MonotoneDescent::LongestMove() const { return kLongestMove * std::max(1.0, current_.x.norm()); }

Progress MonotoneDescent::MakeProgress() const {
  Progress progress{iterations_, evaluator_.evaluations(), Exact(current_), current_.gradient_norm, Exact(best_),
                    best_.x,     current_.certificate};
  if (options_.certify_progress) {
    progress.certificate =
        Staged() ? CertifyForProgress(WithMultipliers(exact_, current_.multipliers), current_.x, options_.lower_level,
                                      evaluator_.warm_start(), interrupt_)
                 : CertifyForProgress(problem_, current_.x, options_.lower_level, evaluator_.warm_start(), interrupt_);
  }
  return progress;
}

bool MonotoneDescent::BudgetLeft() const {
  const int kept = options_.certify_result ? 1 : 0;
  return !options_.max_evaluations.has_value() || evaluator_.evaluations() + kept < *options_.max_evaluations;
}

// Looks at every reason to stop before the next step.
bool MonotoneDescent::Finished(bool stalled) {
  const std::string facts =
      absl::StrCat("gradient_norm = ", ToText(current_.gradient_norm), " after ", Counted(iterations_, "iteration"),
                   "; tolerance ", ToText(options_.gradient_tolerance));
  if (!std::isfinite(current_.objective) || !current_.gradient.allFinite()) {
    Stop(StopReason::kDiverged, "objective or gradient left the finite numbers; lower step_size or bound x");
  } else if (const auto reason = interrupt_.Check(); reason.has_value()) {
    Stop(*reason, facts);
  } else if (current_.gradient_norm <= options_.gradient_tolerance &&
             !(Staged() && !stages_->Last(current_.context_objectives, options_.gradient_tolerance))) {
    const bool solved = current_.termination.reason == StopReason::kConverged;
    Stop(solved ? StopReason::kConverged : StopReason::kIterationLimit,
         solved ? facts : absl::StrCat(facts, "; but the follower was not solved: ", current_.termination.detail));
  } else if (stalled) {
    Stop(StopReason::kIterationLimit, absl::StrCat(facts, "; the last ", OuterOptions::kStallWindow,
                                                   " steps gained less than ", ToText(options_.stall_decrease)));
  } else if (iterations_ >= options_.max_iterations) {
    Stop(StopReason::kIterationLimit, facts + "; raise max_iterations");
  } else if (!BudgetLeft()) {
    Stop(StopReason::kEvaluationLimit, facts + "; raise max_evaluations");
  } else {
    return false;
  }
  return true;
}

bool MonotoneDescent::Stalled() {
  if (options_.stall_decrease == 0) return false;
  recent_.push_back(Signed(current_));
  if (recent_.size() <= OuterOptions::kStallWindow) return false;
  const double gain = recent_.front() - recent_.back();
  recent_.pop_front();
  return gain < options_.stall_decrease;
}

void MonotoneDescent::MoveTo(HypergradientPoint next) {
  current_ = std::move(next);
  KeepIfBest();
}

void MonotoneDescent::KeepIfBest() {
  if (Better(problem_, Exact(current_), Exact(best_))) best_ = current_;
}

absl::StatusOr<OuterResult> MonotoneDescent::Conclude() {
  // On a tie up to rounding the last point is the one with the smaller gradient.
  const double noise = (Staged() ? WorstCaseStages::kGap : kObjectiveNoise) * (1 + std::abs(best_.objective));
  const bool last = termination_.reason == StopReason::kConverged && std::abs(Exact(current_) - Exact(best_)) <= noise;
  OuterResult result;
  result.best = std::move(last ? current_ : best_);
  result.best.objective = Exact(result.best);
  if (Staged()) stages_->Fix(result.best.multipliers);
  if (options_.certify_result) {
    ASSIGN_OR_RETURN(result.best, Certify(std::move(result.best), evaluator_, interrupt_));
  }
  result.termination = ConvergedAfterAll(exact_, result.best, options_, std::move(termination_));
  if (Staged() && result.termination.reason == StopReason::kConverged &&
      !(MultipliersFit(exact_, result.best.multipliers, result.best.context_objectives) &&
        result.best.gradient_norm <= options_.gradient_tolerance)) {
    result.termination = {StopReason::kIterationLimit,
                          "an earlier point is better than the stationary one at the end; go on from it"};
  }
  result.iterations = iterations_;
  result.history = std::move(history_).Take();
  result.evaluations = evaluator_.evaluations();
  result.warm_start = evaluator_.warm_start();
  return result;
}

}  // namespace bilevel
