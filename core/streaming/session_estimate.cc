#include "core/streaming/session_estimate.h"

#include <cmath>

#include "core/base/field_error.h"
#include "core/base/interrupt_status.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "core/streaming/recorded_gradient.h"
#include "core/streaming/recorded_preferences.h"
#include "core/streaming/zeroth_order_gradient.h"

namespace bilevel {

using Kind = EstimatorOptions::Kind;

namespace {

constexpr int kMaxDraws = 10'000;

absl::StatusOr<GradientEstimate> FromPlugIn(const BilevelProblem& problem, const SessionData& data, const Vector& x,
                                            const EstimatorOptions& options, const Interrupt& interrupt) {
  const PlugInOptions plug_in{data.prior, options.draws, options.seed, options.lower_level};
  ASSIGN_OR_RETURN(PlugInGradient found, EstimatePlugIn(problem, data.contexts, x, plug_in, interrupt));
  const StopReason stopped = found.point.termination.reason;
  if (stopped == StopReason::kCancelled || stopped == StopReason::kTimeLimit) return InterruptStatus(interrupt);
  GradientEstimate estimate;
  estimate.gradient = found.point.gradient;
  estimate.standard_error = found.standard_error;
  estimate.bias = found.bias;
  estimate.objective = found.point.objective;
  estimate.objective_standard_error = found.objective_standard_error;
  estimate.objective_bias = found.objective_bias;
  estimate.effective_sample_size = found.redraws;
  estimate.transitions = data.merged;
  estimate.unseen_rows = found.unseen_rows;
  estimate.on_model = std::move(found.point);
  return estimate;
}

absl::StatusOr<GradientEstimate> FromDirections(const BilevelProblem& problem, const SessionData& data, const Vector& x,
                                                const EstimatorOptions& options, const Interrupt& interrupt) {
  GradientEstimate estimate;
  ASSIGN_OR_RETURN(const BilevelProblem model,
                   OnEstimatedModels(problem, data.contexts, data.prior, &estimate.unseen_rows));
  const ZerothOrderOptions zeroth{options.radius, options.draws, options.seed, options.lower_level};
  ASSIGN_OR_RETURN(ZerothOrderGradient found, EstimateZerothOrder(model, x, zeroth, interrupt));
  if (found.directions < 2 && interrupt.Check().has_value()) return InterruptStatus(interrupt);
  estimate.gradient = std::move(found.gradient);
  estimate.standard_error = std::move(found.standard_error);
  estimate.bias = std::move(found.bias);
  estimate.objective = found.objective;
  estimate.effective_sample_size = found.directions;
  estimate.transitions = data.merged;
  estimate.assumptions.emplace_back(
      "standard errors are those of the directions: the estimated model's own error, the objective's too, is not in "
      "them");
  return estimate;
}

absl::Status CheckObjectiveAndData(const BilevelProblem& problem, const SessionData& data) {
  if (const absl::Status checked = CheckObjective(problem); !checked.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the session's problem has no objective: ", std::string(checked.message())));
  }
  if (data.merged == 0) {
    return absl::FailedPreconditionError(
        "the session has not learned from any transition yet; there is nothing to estimate from");
  }
  return absl::OkStatus();
}

}  // namespace

bool UsesTrajectories(Kind kind) {
  return kind == Kind::kReturn || kind == Kind::kRewardToGo || kind == Kind::kCritic || kind == Kind::kOneStep;
}

bool UsesPreferences(Kind kind) {
  return kind == Kind::kPreferenceFit || kind == Kind::kPreference || kind == Kind::kPreferenceExcessRisk;
}

absl::Status EstimatorOptions::Validate() const {
  if (kind == Kind::kOneStep && critic == Critic::kContinuations) {
    return FieldError("critic", "is CRITIC_CONTINUATIONS; ESTIMATOR_ONE_STEP cuts grad Q - grad V itself");
  }
  if (UsesPreferences(kind) && critic == Critic::kContinuations) {
    return FieldError("critic", "is CRITIC_CONTINUATIONS; preferences need grad Q - grad V at every step");
  }
  if (UsesPreferences(kind) && baseline == Baseline::kModel) {
    return FieldError("baseline", "is BASELINE_MODEL; preferences have BASELINE_DEFAULT and _NONE");
  }
  const bool none = draws == 0 && kind != Kind::kZerothOrder;
  if (!none && (draws < 2 || draws > kMaxDraws)) {
    return FieldError("redraws", absl::StrCat("is ", draws, "; must be ", kind == Kind::kZerothOrder ? "" : "0 or ",
                                              "in [2, ", kMaxDraws, "]"));
  }
  if (!(radius > 0) || !std::isfinite(radius)) {
    return FieldError("radius", absl::StrCat("is ", ToText(radius), "; must be finite and > 0"));
  }
  return WithField("lower_level", lower_level.Validate());
}

absl::StatusOr<GradientEstimate> EstimateGradient(const BilevelProblem& problem, const SessionData& data,
                                                  const Vector& x, const EstimatorOptions& options,
                                                  const Interrupt& interrupt) {
  RETURN_IF_ERROR(options.Validate());
  if (!UsesPreferences(options.kind)) RETURN_IF_ERROR(CheckObjectiveAndData(problem, data));
  absl::StatusOr<GradientEstimate> estimate =
      UsesPreferences(options.kind)        ? EstimateFromRecordedPreferences(problem, data, x, options, interrupt)
      : UsesTrajectories(options.kind)     ? EstimateFromRecords(problem, data, x, options, interrupt)
      : options.kind == Kind::kZerothOrder ? FromDirections(problem, data, x, options, interrupt)
                                           : FromPlugIn(problem, data, x, options, interrupt);
  RETURN_IF_ERROR(estimate.status());
  estimate->kind = options.kind;
  estimate->seed = options.seed;
  estimate->parameters_version = x == data.parameters ? data.parameters_version : 0;
  if (options.kind == Kind::kPreferenceFit) return estimate;
  const bool samples = UsesTrajectories(options.kind) || UsesPreferences(options.kind);
  std::vector<std::string>& assumptions = estimate->assumptions;
  assumptions.emplace_back(data.observed && samples
                               ? "the follower moves with x as a soft-optimal one with its policy would"
                               : "the follower is soft-optimal for the session's reward and temperature");
  assumptions.emplace_back("transitions depend on state and action alone, and not on x");
  if (estimate->unseen_rows > 0)
    assumptions.emplace_back("(s,a) that were never seen are as the prior says, which no error bar covers");
  return estimate;
}

}  // namespace bilevel
