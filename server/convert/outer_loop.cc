#include "server/convert/outer_loop.h"

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "server/convert/array.h"
#include "server/convert/count.h"
#include "server/convert/estimate.h"
#include "server/convert/in_field.h"
#include "server/convert/session_stream.h"
#include "server/convert/solution.h"

namespace bilevel::server {
namespace {

constexpr double kLargestStep = 1e12;

void EncodeVector(const Vector& vector, v1::Array* (v1::OuterStep::*field)(), v1::OuterStep* message) {
  if (vector.size() == 0 || vector.size() > kMaxEntriesInNews) return;
  EncodeReals(vector, {vector.size()}, (message->*field)());
}

void EncodeDescent(const DescentStep& step, v1::OuterStep* message) {
  message->set_iteration(static_cast<double>(step.number));
  EncodeVector(step.x, &v1::OuterStep::mutable_parameters, message);
  EncodeVector(step.direction, &v1::OuterStep::mutable_direction, message);
  message->set_step_size(step.step_size);
  message->set_averaging(step.averaging);
  message->set_objective(step.objective);
  message->set_objective_standard_error(step.objective_standard_error);
  message->set_gradient_norm(step.gradient_norm);
  message->set_gradient_norm_error(step.gradient_norm_error);
}

}  // namespace

absl::StatusOr<StepSchedule> DecodeSchedule(const v1::StepSchedule& message, double most) {
  StepSchedule schedule;
  if (message.has_first()) schedule.first = message.first();
  if (message.has_power()) schedule.power = message.power();
  if (message.has_scale()) schedule.scale = message.scale();
  RETURN_IF_ERROR(schedule.Validate(most));
  return schedule;
}

absl::StatusOr<SessionDescentOptions> DecodeOuterLoop(const v1::OuterLoop& message) {
  SessionDescentOptions options;
  StochasticDescentOptions& descent = options.descent;
  switch (message.method_case()) {
    case v1::OuterLoop::kSobirl:
      break;
    case v1::OuterLoop::kStocSobirlStorm: {
      const v1::StocSobirlStorm& storm = message.stoc_sobirl_storm();
      descent.momentum = true;
      if (storm.has_averaging()) {
        ASSIGN_OR_RETURN(descent.averaging, InField("stoc_sobirl_storm.averaging", DecodeSchedule(storm.averaging())));
      }
      if (storm.has_weight_cap()) options.weight_cap = storm.weight_cap();
      if (!(options.weight_cap >= 1)) {
        return FieldError("stoc_sobirl_storm.weight_cap",
                          absl::StrCat("is ", ToText(options.weight_cap), "; must be >= 1"));
      }
      break;
    }
    default:
      return FieldError("method", "is absent; must be sobirl or stoc_sobirl_storm");
  }
  ASSIGN_OR_RETURN(options.estimator, InField("estimator", DecodeEstimator(message.estimator())));
  if (message.has_first_step()) descent.first_step = message.first_step();
  if (message.has_steps()) {
    ASSIGN_OR_RETURN(descent.steps, InField("steps", DecodeSchedule(message.steps(), kLargestStep)));
  }
  if (message.has_gradient_tolerance()) descent.gradient_tolerance = message.gradient_tolerance();
  if (message.has_confidence()) descent.confidence = message.confidence();
  ASSIGN_OR_RETURN(descent.max_steps,
                   AtLeastOne("max_steps", message.has_max_steps(), message.max_steps(), descent.max_steps));
  if (message.has_lower_level_tolerance()) options.lower_level_tolerance = message.lower_level_tolerance();
  options.subtract_bias = message.subtract_bias();
  options.on_request = message.on_request();
  RETURN_IF_ERROR(options.Validate());
  return options;
}

void EncodeStep(const OuterStep& step, v1::OuterStep* message) {
  EncodeDescent(step.descent, message);
  message->set_number(static_cast<double>(step.number));
  message->set_merged(static_cast<double>(step.merged));
  message->set_parameters_version(step.parameters_version);
  message->set_lower_level_residual(step.residual);
  if (step.estimate.pair.has_value()) {
    const PairEstimate& pair = *step.estimate.pair;
    message->set_weight_sample_size(pair.effective_sample_size);
    message->set_capped_share(pair.capped_share);
    if (pair.capped_share > 0) EncodeVector(pair.weight_bias, &v1::OuterStep::mutable_weight_bias, message);
  }
  if (step.descent.x.size() <= kMaxEntriesInNews) EncodeEstimate(step.estimate, message->mutable_estimate());
}

void EncodeOuterLoop(const OuterLoopState& state, v1::OuterLoopStatus* message) {
  message->set_steps(static_cast<double>(state.taken));
  message->set_waiting(state.waiting);
  if (state.last != nullptr) EncodeStep(*state.last, message->mutable_last());
  if (state.best.has_value()) EncodeDescent(*state.best, message->mutable_best());
  if (state.termination.has_value()) EncodeTermination(*state.termination, message->mutable_termination());
}

}  // namespace bilevel::server
