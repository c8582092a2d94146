#include "core/solvers/outer_loop.h"

#include <cmath>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "core/solvers/worst_case_stages.h"

namespace bilevel {

absl::Status OuterOptions::Validate() const {
  if (!(gradient_tolerance >= 0) || !std::isfinite(gradient_tolerance)) {
    return FieldError("gradient_tolerance",
                      absl::StrCat("is ", ToText(gradient_tolerance), "; must be finite and >= 0"));
  }
  if (max_iterations < 0) {
    return FieldError("max_iterations", absl::StrCat("is ", max_iterations, "; must be >= 0"));
  }
  if (max_evaluations.has_value() && *max_evaluations < 1) {
    return FieldError("max_evaluations", absl::StrCat("is ", *max_evaluations, "; must be >= 1"));
  }
  if (!(stall_decrease >= 0)) {
    return FieldError("stall_decrease", absl::StrCat("is ", ToText(stall_decrease), "; must be >= 0"));
  }
  return WithField("lower_level", lower_level.Validate());
}

void ProgressReporter::Begin(const Vector& start) {
  progress_.best_parameters = start;
  last_ = Clock::now();
}

void ProgressReporter::MaybeReport(int iteration, const std::function<Progress()>& make) {
  if (!sink_) return;
  const Clock::time_point now = Clock::now();
  const bool due = !reported_ || now - *last_ >= interval_ || (every_ > 0 && iteration % every_ == 0);
  if (due) Report(make);
}

void ProgressReporter::Report(const std::function<Progress()>& make) {
  if (!sink_) return;
  last_ = Clock::now();
  reported_ = true;
  progress_ = make();
  sink_(progress_);
}

void ProgressReporter::MaybeRepeat() {
  const Clock::time_point now = Clock::now();
  if (!sink_ || !last_.has_value() || now - *last_ < interval_) return;
  last_ = now;
  sink_(progress_);
}

void History::Add(const Progress& progress) {
  const double bound = progress.certificate.has_value() ? progress.certificate->error_bound : Certificate().error_bound;
  entries_.push_back({progress.iteration, progress.evaluations, progress.objective, progress.gradient_norm, bound});
  if (entries_.size() <= kMaxEntries) return;
  stride_ *= 2;
  std::erase_if(entries_, [this](const IterationStats& entry) { return !Due(entry.iteration); });
}

void ReportIteration(int iteration, const std::function<Progress()>& make, ProgressReporter& reporter,
                     History* history) {
  std::optional<Progress> made;
  const auto once = [&] {
    if (!made.has_value()) made = make();
    return *made;
  };
  reporter.MaybeReport(iteration, once);
  if (history != nullptr && history->Due(iteration)) history->Add(once());
}

absl::StatusOr<HypergradientPoint> Certify(HypergradientPoint best, HypergradientEvaluator& evaluator,
                                           const Interrupt& interrupt) {
  const std::optional<StopReason> stopped = interrupt.Check();
  if (stopped == StopReason::kCancelled) {
    best.termination = {StopReason::kCancelled,
                        "cancelled before this point was certified; its error bounds are infinite"};
    return best;
  }
  const Interrupt grace =
      stopped.has_value() ? interrupt.WithDeadline(Interrupt::Clock::now() + kCertificationGrace) : interrupt;
  ASSIGN_OR_RETURN(HypergradientPoint certified, evaluator.EvaluateCertified(best.x, grace));
  if (!grace.Check().has_value()) return certified;
  // Time ended inside the certification itself.
  if (!stopped.has_value()) {
    const Interrupt last = interrupt.WithDeadline(Interrupt::Clock::now() + kCertificationGrace);
    ASSIGN_OR_RETURN(certified, evaluator.EvaluateCertified(best.x, last));
    if (!last.Check().has_value()) return certified;
  }
  best.termination = {StopReason::kTimeLimit, "no time was left to certify this point; its error bounds are infinite"};
  return best;
}

std::optional<Certificate> CertifyForProgress(const BilevelProblem& problem, const Vector& x,
                                              const LowerLevelOptions& options, const WarmStart& start,
                                              const Interrupt& interrupt) {
  const absl::StatusOr<HypergradientPoint> point =
      HypergradientEvaluator(problem, options, start).EvaluateCertified(x, interrupt);
  if (!point.ok()) return std::nullopt;
  return point->certificate;
}

Termination ConvergedAfterAll(const BilevelProblem& problem, const HypergradientPoint& best,
                              const OuterOptions& options, Termination termination) {
  const bool limit =
      termination.reason == StopReason::kIterationLimit || termination.reason == StopReason::kEvaluationLimit;
  if (!limit || !best.certified || best.termination.reason != StopReason::kConverged ||
      !(best.gradient_norm <= options.gradient_tolerance) ||
      !MultipliersFit(problem, best.multipliers, best.context_objectives)) {
    return termination;
  }
  return {StopReason::kConverged, absl::StrCat("gradient_norm = ", ToText(best.gradient_norm), "; tolerance ",
                                               ToText(options.gradient_tolerance))};
}

bool Better(const BilevelProblem& problem, double candidate, double incumbent) {
  if (std::isnan(incumbent)) return !std::isnan(candidate);
  return problem.sign() * candidate < problem.sign() * incumbent;
}

}  // namespace bilevel
