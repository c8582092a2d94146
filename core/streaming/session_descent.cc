#include "core/streaming/session_descent.h"

#include <cmath>

#include "core/base/field_error.h"
#include "core/base/interrupt_status.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"

namespace bilevel {
namespace {

GradientSample SampleOf(const GradientEstimate& estimate, bool subtract_bias) {
  GradientSample sample{.objective = estimate.objective,
                        .objective_standard_error = estimate.objective_standard_error,
                        .gradient = estimate.gradient,
                        .standard_error = estimate.standard_error};
  const bool paired = estimate.pair.has_value() && estimate.pair->overlaps && estimate.pair->gradient.allFinite() &&
                      estimate.pair->innovation_standard_error.allFinite();
  if (paired) {
    sample.previous = estimate.pair->gradient;
    sample.innovation_standard_error = estimate.pair->innovation_standard_error;
  }
  if (!subtract_bias || estimate.bias.size() == 0) return sample;
  sample.objective -= estimate.objective_bias;
  sample.gradient -= estimate.bias;
  if (paired) sample.previous -= estimate.pair->bias;
  return sample;
}

}  // namespace

absl::Status SessionDescentOptions::Validate() const {
  RETURN_IF_ERROR(descent.Validate());
  RETURN_IF_ERROR(WithField("estimator", estimator.Validate()));
  if (!(lower_level_tolerance > 0)) {
    return FieldError("lower_level_tolerance", absl::StrCat("is ", ToText(lower_level_tolerance), "; must be > 0"));
  }
  if (descent.momentum && !UsesTrajectories(estimator.kind)) {
    return FieldError("estimator", "must be one from trajectories: momentum needs fresh samples with each step");
  }
  if (descent.momentum && estimator.critic == EstimatorOptions::Critic::kContinuations) {
    return FieldError("estimator.critic",
                      "is CRITIC_CONTINUATIONS: walks say nothing of x before, which momentum asks");
  }
  if (!(weight_cap >= 1)) return FieldError("weight_cap", absl::StrCat("is ", ToText(weight_cap), "; must be >= 1"));
  if (UsesPreferences(estimator.kind) && !on_request) {
    return FieldError("estimator", "looks at preferences, which no order ties to transitions: needs on_request");
  }
  return absl::OkStatus();
}

absl::StatusOr<OuterStep> SessionDescent::Step(SessionData data, double residual, const Interrupt& interrupt) {
  absl::StatusOr<OuterStep> step = TryStep(data, residual, interrupt);
  waiting_ = step.ok() || stopped() ? "" : std::string(step.status().message());
  return step;
}

absl::StatusOr<OuterStep> SessionDescent::TryStep(SessionData& data, double residual, const Interrupt& interrupt) {
  if (stopped()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the outer loop has stopped: ", descent_.termination()->detail, "; set x for it to begin anew"));
  }
  if (residual > options_.lower_level_tolerance) {
    return absl::FailedPreconditionError(absl::StrCat("the follower's estimated Bellman residual is ", ToText(residual),
                                                      ", above lower_level_tolerance ",
                                                      ToText(options_.lower_level_tolerance)));
  }
  EstimatorOptions estimator = options_.estimator;
  estimator.seed += static_cast<uint64_t>(descent_.steps()) + 1;
  if (const double kept = descent_.kept_share(); kept > 0) {
    data.pair = {descent_.previous_x(), kept, options_.weight_cap};
  }
  ASSIGN_OR_RETURN(GradientEstimate estimate, EstimateGradient(*problem_, data, descent_.x(), estimator, interrupt));
  // What an interruption left is worth telling, and no step.
  if (interrupt.Check().has_value()) return InterruptStatus(interrupt);
  RETURN_IF_ERROR(CheckSamples(estimate));
  const GradientSample sample = SampleOf(estimate, options_.subtract_bias);
  if (!std::isfinite(sample.objective) || !sample.gradient.allFinite()) {
    return absl::FailedPreconditionError("the estimate is not finite");
  }
  const uint32_t version = data.parameters_version;
  // It can be had again, and has the model's tables.
  estimate.on_model.reset();
  return OuterStep{++taken_, descent_.Take(sample), std::move(estimate), data.merged, version, residual};
}

absl::Status SessionDescent::CheckSamples(const GradientEstimate& estimate) const {
  const double least = kLeastTrajectories * static_cast<double>(problem_->contexts.size());
  if (!UsesTrajectories(options_.estimator.kind) || estimate.effective_sample_size >= least) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the estimate rests on ", ToText(estimate.effective_sample_size),
                   " trajectories of equal weight, and steps need ", ToText(least),
                   ": stream more, shorter or newer episodes, or make a policy less often"));
}

void SessionDescent::Restart(const Vector& x) {
  descent_.Restart(x);
  waiting_.clear();
}

}  // namespace bilevel
