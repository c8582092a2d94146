#include "server/convert/estimate.h"

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "server/convert/array.h"

namespace bilevel::server {
namespace {

using Kind = EstimatorOptions::Kind;

absl::StatusOr<Kind> DecodeKind(v1::Estimator estimator) {
  switch (estimator) {
    case v1::ESTIMATOR_UNSPECIFIED:
    case v1::ESTIMATOR_PLUG_IN:
      return Kind::kPlugIn;
    case v1::ESTIMATOR_RETURN:
      return Kind::kReturn;
    case v1::ESTIMATOR_REWARD_TO_GO:
      return Kind::kRewardToGo;
    case v1::ESTIMATOR_CRITIC:
      return Kind::kCritic;
    case v1::ESTIMATOR_ONE_STEP:
      return Kind::kOneStep;
    case v1::ESTIMATOR_ZEROTH_ORDER:
      return Kind::kZerothOrder;
    case v1::ESTIMATOR_PREFERENCE_FIT:
      return Kind::kPreferenceFit;
    case v1::ESTIMATOR_PREFERENCE:
      return Kind::kPreference;
    case v1::ESTIMATOR_PREFERENCE_EXCESS_RISK:
      return Kind::kPreferenceExcessRisk;
    default:
      return FieldError("estimator", absl::StrCat("is ", static_cast<int>(estimator),
                                                  "; must be ESTIMATOR_PLUG_IN, _RETURN, _REWARD_TO_GO, _CRITIC, "
                                                  "_ONE_STEP, _ZEROTH_ORDER, _PREFERENCE_FIT, _PREFERENCE or "
                                                  "_PREFERENCE_EXCESS_RISK"));
  }
}

v1::Estimator EncodeKind(Kind kind) {
  switch (kind) {
    case Kind::kPlugIn:
      return v1::ESTIMATOR_PLUG_IN;
    case Kind::kReturn:
      return v1::ESTIMATOR_RETURN;
    case Kind::kRewardToGo:
      return v1::ESTIMATOR_REWARD_TO_GO;
    case Kind::kCritic:
      return v1::ESTIMATOR_CRITIC;
    case Kind::kOneStep:
      return v1::ESTIMATOR_ONE_STEP;
    case Kind::kZerothOrder:
      return v1::ESTIMATOR_ZEROTH_ORDER;
    case Kind::kPreferenceFit:
      return v1::ESTIMATOR_PREFERENCE_FIT;
    case Kind::kPreference:
      return v1::ESTIMATOR_PREFERENCE;
    case Kind::kPreferenceExcessRisk:
      return v1::ESTIMATOR_PREFERENCE_EXCESS_RISK;
  }
  return v1::ESTIMATOR_UNSPECIFIED;
}

void EncodeIfAny(const Vector& reals, v1::Array* (v1::HypergradientEstimate::*field)(),
                 v1::HypergradientEstimate* message) {
  if (reals.size() != 0) EncodeReals(reals, {reals.size()}, (message->*field)());
}

}  // namespace

absl::StatusOr<EstimatorOptions> DecodeEstimator(const v1::EstimatorOptions& message) {
  EstimatorOptions options;
  ASSIGN_OR_RETURN(options.kind, DecodeKind(message.estimator()));
  if (!v1::Critic_IsValid(message.critic())) {
    return FieldError("critic", absl::StrCat("is ", static_cast<int>(message.critic()),
                                             "; must be CRITIC_MODEL, _LEARNED or _CONTINUATIONS"));
  }
  if (message.critic() == v1::CRITIC_LEARNED) options.critic = EstimatorOptions::Critic::kLearned;
  if (message.critic() == v1::CRITIC_CONTINUATIONS) options.critic = EstimatorOptions::Critic::kContinuations;
  if (!v1::Baseline_IsValid(message.baseline())) {
    return FieldError("baseline", absl::StrCat("is ", static_cast<int>(message.baseline()),
                                               "; must be BASELINE_DEFAULT, _NONE or _MODEL"));
  }
  if (message.baseline() == v1::BASELINE_NONE) options.baseline = EstimatorOptions::Baseline::kNone;
  if (message.baseline() == v1::BASELINE_MODEL) options.baseline = EstimatorOptions::Baseline::kModel;
  if (message.has_redraws()) options.draws = message.redraws();
  if (message.has_radius()) options.radius = message.radius();
  options.seed = message.seed();
  RETURN_IF_ERROR(options.Validate());
  return options;
}

void EncodeEstimate(const GradientEstimate& estimate, v1::HypergradientEstimate* message) {
  using Message = v1::HypergradientEstimate;
  message->set_estimator(EncodeKind(estimate.kind));
  EncodeReals(estimate.gradient, {estimate.gradient.size()}, message->mutable_gradient());
  EncodeIfAny(estimate.exploitation, &Message::mutable_exploitation, message);
  EncodeIfAny(estimate.exploration, &Message::mutable_exploration, message);
  EncodeIfAny(estimate.standard_error, &Message::mutable_standard_error, message);
  EncodeIfAny(estimate.bias, &Message::mutable_bias, message);
  message->set_objective(estimate.objective);
  message->set_objective_standard_error(estimate.objective_standard_error);
  message->set_objective_bias(estimate.objective_bias);
  message->set_effective_sample_size(estimate.effective_sample_size);
  message->set_trajectories(static_cast<double>(estimate.trajectories));
  message->set_transitions(static_cast<double>(estimate.transitions));
  message->set_trajectories_left_out(static_cast<double>(estimate.left_out));
  message->set_unseen_rows(static_cast<double>(estimate.unseen_rows));
  message->set_parameters_version(estimate.parameters_version);
  for (const std::string& assumption : estimate.assumptions) message->add_assumptions(assumption);
  message->set_seed(estimate.seed);
}

}  // namespace bilevel::server
