#include "core/solvers/projected_gradient.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "core/solvers/monotone_descent.h"

namespace bilevel {
absl::Status ProjectedGradientOptions::Validate() const {
  if (step_size.has_value() && !(*step_size > 0 && std::isfinite(*step_size))) {
    return FieldError("step_size", absl::StrCat("is ", ToText(*step_size), "; must be finite and > 0"));
  }
  return absl::OkStatus();
}

absl::StatusOr<OuterResult> SolveProjectedGradient(const BilevelProblem& problem, const Vector& start,
                                                   const ProjectedGradientOptions& method, const OuterOptions& options,
                                                   const Interrupt& interrupt, ProgressReporter& reporter) {
  MonotoneDescent descent(problem, options, interrupt, reporter);
  std::optional<double> step = method.step_size;
  int stage = 0;
  return descent.Run(start, [&]() -> absl::StatusOr<MonotoneDescent::Outcome> {
    if (std::exchange(stage, descent.stage()) != descent.stage()) step = method.step_size;
    const Vector x = descent.current().x, gradient = descent.Gradient();
    if (!step.has_value()) step = 1 / std::max(gradient.norm(), 1e-12);
    const auto along = [&](double t) {
      MonotoneDescent::Trial trial{problem.feasible_set.Prox(x - t * gradient, t * problem.penalties.l1), {}};
      if (!method.step_size.has_value())
        trial.decrease = MonotoneDescent::kSufficientDecrease * (trial.x - x).squaredNorm() / t;
      return trial;
    };
    ASSIGN_OR_RETURN(const MonotoneDescent::Outcome outcome, descent.Search(*step, along));
    if (outcome != MonotoneDescent::Outcome::kMoved || method.step_size.has_value()) return outcome;
    const double largest = descent.LongestMove() / std::max(descent.Gradient().norm(), 1e-300);
    step = std::min(descent.SpectralStep(x, gradient).value_or(4 * *step), largest);
    return outcome;
  });
}

}  // namespace bilevel
