#include "core/solvers/projected_gradient.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"

namespace bilevel {
namespace {

constexpr double kSufficientDecrease = 1e-4;
constexpr double kBacktrack = 0.3;
constexpr int kMaxBacktracks = 60;
// A step moves x by at most this multiple of max(1, |x|): longer ones end on plateaus of saturated parameter maps.
constexpr double kLongestMove = 1;
// Differences below this share of the objective are rounding.
constexpr double kObjectiveNoise = 1e-13;

class Solver {
 public:
  Solver(const BilevelProblem& problem, const ProjectedGradientOptions& method, const OuterOptions& options,
         const Interrupt& interrupt, ProgressReporter& reporter)
      : problem_(problem),
        method_(method),
        options_(options),
        interrupt_(interrupt),
        reporter_(reporter),
        evaluator_(problem, options.lower_level, options.warm_start) {}

  absl::StatusOr<OuterResult> Run(const Vector& start) {
    ASSIGN_OR_RETURN(current_, evaluator_.Evaluate(problem_.feasible_set.Project(start), interrupt_));
    best_ = current_;
    step_ = method_.step_size.value_or(1 / std::max(current_.gradient.norm(), 1e-12));
    while (true) {
      ReportIteration(
          iterations_, [this] { return MakeProgress(); }, reporter_, options_.record_history ? &history_ : nullptr);
      if (Finished()) break;
      ASSIGN_OR_RETURN(const bool moved, Step());
      if (!moved) break;
      ++iterations_;
    }
    return Conclude();
  }

 private:
  double Signed(const HypergradientPoint& point) const { return problem_.sign() * point.objective; }

  Progress MakeProgress() const {
    Progress progress{
        iterations_, evaluator_.evaluations(), current_.objective, current_.gradient_norm, best_.objective,
        best_.x,     current_.certificate};
    if (options_.certify_progress) {
      progress.certificate =
          CertifyForProgress(problem_, current_.x, options_.lower_level, evaluator_.warm_start(), interrupt_);
    }
    return progress;
  }

  bool BudgetLeft() const {
    return !options_.max_evaluations.has_value() || evaluator_.evaluations() + 1 < *options_.max_evaluations;
  }

  void Stop(StopReason reason, std::string detail) { termination_ = {reason, std::move(detail)}; }

  // Looks at every reason to stop before the next step.
  bool Finished() {
    const std::string facts = absl::StrCat("gradient_norm = ", ToText(current_.gradient_norm), " after ", iterations_,
                                           " iterations; tolerance ", ToText(options_.gradient_tolerance));
    if (!std::isfinite(current_.objective) || !current_.gradient.allFinite()) {
      Stop(StopReason::kDiverged, "objective or gradient left the finite numbers; lower step_size or bound x");
    } else if (const auto reason = interrupt_.Check(); reason.has_value()) {
      Stop(*reason, facts);
    } else if (current_.gradient_norm <= options_.gradient_tolerance) {
      const bool solved = current_.termination.reason == StopReason::kConverged;
      Stop(solved ? StopReason::kConverged : StopReason::kIterationLimit,
           solved ? facts : absl::StrCat(facts, "; but the follower was not solved: ", current_.termination.detail));
    } else if (iterations_ >= options_.max_iterations) {
      Stop(StopReason::kIterationLimit, facts + "; raise max_iterations");
    } else if (!BudgetLeft()) {
      Stop(StopReason::kEvaluationLimit, facts + "; raise max_evaluations");
    } else {
      return false;
    }
    return true;
  }

  // One accepted step, or false with the reason in termination_.
  absl::StatusOr<bool> Step() {
    const double noise = kObjectiveNoise * (1 + std::abs(current_.objective));
    double t = step_;
    for (int attempt = 0; attempt < kMaxBacktracks; ++attempt, t *= kBacktrack) {
      if (attempt > 0 && !BudgetLeft()) {
        Stop(StopReason::kEvaluationLimit, "max_evaluations reached inside a line search");
        return false;
      }
      const Vector x =
          problem_.feasible_set.Prox(current_.x - t * problem_.sign() * current_.gradient, t * problem_.penalties.l1);
      ASSIGN_OR_RETURN(HypergradientPoint trial, evaluator_.Evaluate(x, interrupt_));
      if (const auto reason = interrupt_.Check(); reason.has_value()) {
        Stop(*reason, absl::StrCat("stopped inside iteration ", iterations_ + 1));
        return false;
      }
      const double decrease = (x - current_.x).squaredNorm() / t;
      const bool finite = std::isfinite(trial.objective) && trial.gradient.allFinite();
      if (method_.step_size.has_value() ||
          (finite && Signed(trial) <= Signed(current_) - kSufficientDecrease * decrease + noise)) {
        Accept(std::move(trial));
        return true;
      }
    }
    Stop(StopReason::kDiverged,
         "no step along the negative gradient lowers the objective beyond its rounding, or all of them overflow");
    return false;
  }

  void Accept(HypergradientPoint next) {
    if (!method_.step_size.has_value()) {
      // Barzilai and Borwein (1988), long step.
      const Vector s = next.x - current_.x;
      const double sy = problem_.sign() * s.dot(next.gradient - current_.gradient);
      const double largest = kLongestMove * std::max(1.0, next.x.norm()) / std::max(next.gradient.norm(), 1e-300);
      step_ = std::min(sy > 0 ? s.squaredNorm() / sy : 4 * step_, largest);
    }
    current_ = std::move(next);
    if (Better(problem_, current_.objective, best_.objective)) best_ = current_;
  }

  absl::StatusOr<OuterResult> Conclude() {
    // On a tie up to rounding the last point is the one with the smaller gradient.
    const double noise = kObjectiveNoise * (1 + std::abs(best_.objective));
    const bool last =
        termination_.reason == StopReason::kConverged && std::abs(current_.objective - best_.objective) <= noise;
    OuterResult result;
    ASSIGN_OR_RETURN(result.best, Certify(std::move(last ? current_ : best_), evaluator_, interrupt_));
    result.termination = ConvergedAfterAll(result.best, options_, std::move(termination_));
    result.iterations = iterations_;
    result.history = std::move(history_).Take();
    result.evaluations = evaluator_.evaluations();
    result.warm_start = evaluator_.warm_start();
    return result;
  }

  const BilevelProblem& problem_;
  const ProjectedGradientOptions& method_;
  const OuterOptions& options_;
  const Interrupt& interrupt_;
  ProgressReporter& reporter_;
  HypergradientEvaluator evaluator_;
  HypergradientPoint current_, best_;
  double step_ = 0;
  int iterations_ = 0;
  Termination termination_;
  History history_;
};

}  // namespace

absl::Status ProjectedGradientOptions::Validate() const {
  if (step_size.has_value() && !(*step_size > 0 && std::isfinite(*step_size))) {
    return FieldError("step_size", absl::StrCat("is ", ToText(*step_size), "; must be finite and > 0"));
  }
  return absl::OkStatus();
}

absl::StatusOr<OuterResult> SolveProjectedGradient(const BilevelProblem& problem, const Vector& x,
                                                   const ProjectedGradientOptions& method, const OuterOptions& options,
                                                   const Interrupt& interrupt, ProgressReporter& reporter) {
  return Solver(problem, method, options, interrupt, reporter).Run(x);
}

}  // namespace bilevel
