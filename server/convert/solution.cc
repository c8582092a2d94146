#include "server/convert/solution.h"

#include <limits>
#include <string>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "server/convert/array.h"
#include "server/convert/in_field.h"

namespace bilevel::server {
namespace {

v1::Termination::Reason EncodeReason(StopReason reason) {
  switch (reason) {
    case StopReason::kConverged:
      return v1::Termination::REASON_CONVERGED;
    case StopReason::kIterationLimit:
      return v1::Termination::REASON_ITERATION_LIMIT;
    case StopReason::kTimeLimit:
      return v1::Termination::REASON_TIME_LIMIT;
    case StopReason::kEvaluationLimit:
      return v1::Termination::REASON_EVALUATION_LIMIT;
    case StopReason::kCancelled:
      return v1::Termination::REASON_CANCELLED;
    case StopReason::kDiverged:
      return v1::Termination::REASON_DIVERGED;
  }
  return v1::Termination::REASON_UNSPECIFIED;
}

v1::Stationarity::Kind EncodeKind(Stationarity::Kind kind) {
  switch (kind) {
    case Stationarity::Kind::kUnknown:
      return v1::Stationarity::KIND_UNSPECIFIED;
    case Stationarity::Kind::kOptimum:
      return v1::Stationarity::KIND_OPTIMUM;
    case Stationarity::Kind::kSaddle:
      return v1::Stationarity::KIND_SADDLE;
    case Stationarity::Kind::kFlat:
      return v1::Stationarity::KIND_FLAT;
    case Stationarity::Kind::kNotStationary:
      return v1::Stationarity::KIND_NOT_STATIONARY;
  }
  return v1::Stationarity::KIND_UNSPECIFIED;
}

v1::LowerLevelMethod EncodeMethod(LowerLevelMethod method) {
  switch (method) {
    case LowerLevelMethod::kAutomatic:
      return v1::LOWER_LEVEL_METHOD_UNSPECIFIED;
    case LowerLevelMethod::kSweeps:
      return v1::LOWER_LEVEL_METHOD_SWEEPS;
    case LowerLevelMethod::kNewtonDirect:
      return v1::LOWER_LEVEL_METHOD_NEWTON_DIRECT;
    case LowerLevelMethod::kNewtonKrylov:
      return v1::LOWER_LEVEL_METHOD_NEWTON_KRYLOV;
  }
  return v1::LOWER_LEVEL_METHOD_UNSPECIFIED;
}

// core leaves 0 where an action is unavailable.
Vector Masked(const TabularMdp& mdp, const Vector& values, double unavailable) {
  Vector result = values;
  if (mdp.all_available()) return result;
  for (Eigen::Index row = 0; row < mdp.num_rows(); ++row) {
    if (!mdp.available(row)) result[row] = unavailable;
  }
  return result;
}

absl::StatusOr<Vector> DecodeMaskedReals(const v1::Array& array, const TabularMdp& mdp) {
  ASSIGN_OR_RETURN(Vector values, DecodeReals(array, {mdp.num_states(), mdp.num_actions()}));
  if (mdp.all_available()) return values;
  for (Eigen::Index row = 0; row < mdp.num_rows(); ++row) {
    if (!mdp.available(row) && values[row] != 0) {
      return FieldError(
          "", absl::StrCat("entry ", row, " (s=", row / mdp.num_actions(), ", a=", row % mdp.num_actions(), ") is ",
                           ToText(values[row]), "; must be 0 where the action is not available"));
    }
  }
  return values;
}

absl::StatusOr<OutputCotangents> DecodeCotangent(const v1::Cotangent& cotangent, const TabularMdp& mdp) {
  OutputCotangents result;
  if (cotangent.has_policy()) {
    ASSIGN_OR_RETURN(result.policy, InField("policy", DecodeMaskedReals(cotangent.policy(), mdp)));
  }
  if (cotangent.has_q()) {
    ASSIGN_OR_RETURN(result.q, InField("q", DecodeMaskedReals(cotangent.q(), mdp)));
  }
  if (cotangent.has_value()) {
    ASSIGN_OR_RETURN(result.value, InField("value", DecodeReals(cotangent.value(), {mdp.num_states()})));
  }
  return result;
}

}  // namespace

void EncodeTermination(const Termination& termination, v1::Termination* message) {
  message->set_reason(EncodeReason(termination.reason));
  message->set_detail(termination.detail);
}

void EncodeCertificate(const Certificate& certificate, v1::Certificate* message) {
  message->set_backward_error(certificate.backward_error);
  message->set_adjoint_backward_error(certificate.adjoint_backward_error);
  message->set_error_estimate(certificate.error_estimate);
  message->set_error_bound(certificate.error_bound);
  message->set_objective_error_bound(certificate.objective_error_bound);
}

void EncodeSolution(const Context& context, const LowerLevelSolution& solution, const LargestError& error,
                    const PolicySystem::Counters& counters, const SolutionArrays& arrays,
                    v1::LowerLevelSolution* message) {
  const TabularMdp& mdp = *context.mdp;
  const int64_t states = mdp.num_states(), actions = mdp.num_actions();
  EncodeReals(solution.value, {states}, message->mutable_value());
  if (arrays.policy) EncodeReals(solution.backup.pi, {states, actions}, message->mutable_policy());
  if (arrays.q) {
    const Vector q = ActionValues(mdp, context.temperature, solution.backup);
    EncodeReals(Masked(mdp, q, std::numeric_limits<double>::quiet_NaN()), {states, actions}, message->mutable_q());
  }
  if (arrays.log_policy) {
    EncodeReals(Masked(mdp, solution.backup.log_pi, -std::numeric_limits<double>::infinity()), {states, actions},
                message->mutable_log_policy());
  }
  message->set_method(EncodeMethod(solution.method));
  message->set_sweeps(solution.sweeps);
  message->set_newton_steps(solution.newton_steps);
  message->set_products(static_cast<int>(std::min<int64_t>(counters.products, std::numeric_limits<int>::max())));
  message->set_factorizations(counters.factorizations);
  message->mutable_certificate()->set_backward_error(solution.residual);
  message->mutable_certificate()->set_value_error_bound(error.value);
  message->mutable_certificate()->set_log_policy_error_bound(error.log_policy);
  EncodeTermination(solution.termination, message->mutable_termination());
  message->set_label(context.label);
}

void EncodeWarmStart(const WarmStart& start, v1::WarmStart* message) {
  for (size_t c = 0; c < start.values.size(); ++c) {
    v1::ContextWarmStart* context = message->add_contexts();
    const Vector& value = start.values[c];
    if (value.size() != 0) EncodeReals(value, {value.size()}, context->mutable_value());
    const Vector& adjoint = start.adjoints[c];
    if (adjoint.size() != 0) EncodeReals(adjoint, {adjoint.size()}, context->mutable_adjoint());
  }
}

void EncodeStationarity(const Stationarity& stationarity, v1::Stationarity* message) {
  message->set_kind(EncodeKind(stationarity.kind));
  message->set_gradient_norm(stationarity.gradient_norm);
  message->set_face_dimension(stationarity.face_dimension);
  message->set_smallest_curvature(stationarity.smallest);
  message->set_largest_curvature(stationarity.largest);
  message->set_curvature_tolerance(stationarity.tolerance);
  const Vector& direction = stationarity.direction;
  if (direction.size() != 0) EncodeReals(direction, {direction.size()}, message->mutable_direction());
  message->set_exact(stationarity.exact);
  message->set_products(stationarity.products);
}

void EncodeQuasiNewtonState(const QuasiNewtonState& state, v1::QuasiNewtonState* message) {
  const auto encode = [](const Eigen::MatrixXd& pairs, v1::Array* array) {
    EncodeReals(std::span(pairs.data(), static_cast<size_t>(pairs.size())), {pairs.cols(), pairs.rows()}, array);
  };
  encode(state.steps, message->mutable_steps());
  encode(state.gradient_changes, message->mutable_gradient_changes());
}

void EncodeHypergradient(const BilevelProblem& problem, const HypergradientPoint& point, const SolutionArrays& arrays,
                         v1::Hypergradient* message) {
  EncodeReals(point.x, {point.x.size()}, message->mutable_parameters());
  message->set_objective(point.objective);
  message->mutable_context_objectives()->Add(point.context_objectives.begin(), point.context_objectives.end());
  message->mutable_multipliers()->Add(point.multipliers.begin(), point.multipliers.end());
  EncodeReals(point.gradient, {point.gradient.size()}, message->mutable_gradient());
  message->set_gradient_norm(point.gradient_norm);
  EncodeCertificate(point.certificate, message->mutable_certificate());
  EncodeTermination(point.termination, message->mutable_termination());
  for (size_t c = 0; c < point.contexts.size(); ++c) {
    const ContextPoint& context = point.contexts[c];
    EncodeSolution(problem.contexts[c], context.solution, context.error, context.counters, arrays,
                   message->add_contexts());
  }
}

absl::StatusOr<std::vector<OutputCotangents>> DecodeCotangents(
    const google::protobuf::RepeatedPtrField<v1::Cotangent>& cotangents, const BilevelProblem& problem) {
  std::vector<OutputCotangents> result;
  if (cotangents.empty()) return result;
  if (static_cast<size_t>(cotangents.size()) != problem.contexts.size()) {
    return FieldError("",
                      absl::StrCat("has ", cotangents.size(), " entries; must be empty or have one for each context, ",
                                   problem.contexts.size()));
  }
  for (int i = 0; i < cotangents.size(); ++i) {
    const TabularMdp& mdp = *problem.contexts[static_cast<size_t>(i)].mdp;
    ASSIGN_OR_RETURN(OutputCotangents one, InField(absl::StrCat("[", i, "]"), DecodeCotangent(cotangents[i], mdp)));
    result.push_back(std::move(one));
  }
  return result;
}

void EncodePullback(const Context& context, const PullbackResult& result, bool dense, v1::ContextGradient* message) {
  const int64_t states = context.mdp->num_states(), actions = context.mdp->num_actions();
  EncodeReals(result.reward, {states, actions}, message->mutable_reward());
  message->set_reward_error_bound(result.reward_error_bound);
  if (result.transitions.size() != 0) {
    if (dense) {
      EncodeReals(result.transitions, {states, actions, states}, message->mutable_transitions());
    } else {
      EncodeReals(result.transitions, {result.transitions.size()}, message->mutable_transitions());
    }
    message->set_transitions_error_bound(result.transitions_error_bound);
  }
  message->set_discount(result.discount);
  message->set_discount_error_bound(result.discount_error_bound);
  message->set_temperature(result.temperature);
  message->set_temperature_error_bound(result.temperature_error_bound);
  message->set_adjoint_backward_error(result.adjoint.residual_l1);
  message->set_reward_error_estimate(result.reward_error_estimate);
}

void EncodeSensitivities(const Sensitivities& sensitivities, v1::Sensitivities* message) {
  const auto encode = [](const Sensitivity& from, v1::Sensitivity* to) {
    to->set_objective(from.objective);
    if (from.parameters.size() != 0) EncodeReals(from.parameters, {from.parameters.size()}, to->mutable_parameters());
  };
  for (const ContextSensitivities& context : sensitivities.contexts) {
    v1::ContextSensitivities* to = message->add_contexts();
    encode(context.weight, to->mutable_weight());
    encode(context.discount, to->mutable_discount());
    encode(context.temperature, to->mutable_temperature());
    for (const Sensitivity& weight : context.term_weights) encode(weight, to->add_term_weights());
  }
  for (const Sensitivity& scale : sensitivities.group_scales) encode(scale, message->add_group_scales());
  for (const Sensitivity& limit : sensitivities.limits) encode(limit, message->add_limits());
  EncodeReals(sensitivities.lower, {sensitivities.lower.size()}, message->mutable_lower_bounds());
  EncodeReals(sensitivities.upper, {sensitivities.upper.size()}, message->mutable_upper_bounds());
  encode(sensitivities.squared_l2, message->mutable_squared_l2());
  encode(sensitivities.l1, message->mutable_l1());
  message->set_note(sensitivities.note);
}

void EncodeProgress(const Progress& progress, v1::OptimizeProgress* message) {
  message->set_iteration(progress.iteration);
  message->set_evaluations(progress.evaluations);
  message->set_objective(progress.objective);
  message->set_gradient_norm(progress.gradient_norm);
  message->set_best_objective(progress.best_objective);
  EncodeReals(progress.best_parameters, {progress.best_parameters.size()}, message->mutable_best_parameters());
  if (progress.certificate.has_value()) EncodeCertificate(*progress.certificate, message->mutable_certificate());
}

}  // namespace bilevel::server
