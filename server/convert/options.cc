#include "server/convert/options.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "server/convert/array.h"
#include "server/convert/in_field.h"

namespace bilevel::server {
namespace {

// Longer limits mean the same: about 31 years.
constexpr int64_t kLongestSeconds = 1'000'000'000;

absl::StatusOr<LowerLevelMethod> DecodeLowerLevelMethod(v1::LowerLevelMethod method) {
  switch (method) {
    case v1::LOWER_LEVEL_METHOD_UNSPECIFIED:
      return LowerLevelMethod::kAutomatic;
    case v1::LOWER_LEVEL_METHOD_SWEEPS:
      return LowerLevelMethod::kSweeps;
    case v1::LOWER_LEVEL_METHOD_NEWTON_DIRECT:
      return LowerLevelMethod::kNewtonDirect;
    case v1::LOWER_LEVEL_METHOD_NEWTON_KRYLOV:
      return LowerLevelMethod::kNewtonKrylov;
    default:
      return FieldError("method", absl::StrCat("is ", static_cast<int>(method),
                                               "; must be LOWER_LEVEL_METHOD_SWEEPS, LOWER_LEVEL_METHOD_NEWTON_DIRECT "
                                               "or LOWER_LEVEL_METHOD_NEWTON_KRYLOV"));
  }
}

absl::StatusOr<MSobirlOptions> DecodeMSobirl(const v1::MSobirlOptions& options) {
  MSobirlOptions result;
  if (options.has_step_size()) result.step_size = options.step_size();
  if (options.has_sweeps()) result.sweeps = options.sweeps();
  if (options.has_zeta()) result.zeta = options.zeta();
  switch (options.adjoint_step()) {
    case v1::MSobirlOptions::ADJOINT_STEP_UNSPECIFIED:
    case v1::MSobirlOptions::ADJOINT_STEP_GRADIENT:
      result.adjoint_step = MSobirlOptions::AdjointStep::kGradient;
      break;
    case v1::MSobirlOptions::ADJOINT_STEP_L1:
      result.adjoint_step = MSobirlOptions::AdjointStep::kL1;
      break;
    case v1::MSobirlOptions::ADJOINT_STEP_KRYLOV:
      result.adjoint_step = MSobirlOptions::AdjointStep::kKrylov;
      break;
    default:
      return FieldError("adjoint_step",
                        absl::StrCat("is ", static_cast<int>(options.adjoint_step()),
                                     "; must be ADJOINT_STEP_GRADIENT, ADJOINT_STEP_L1 or ADJOINT_STEP_KRYLOV"));
  }
  RETURN_IF_ERROR(result.Validate());
  return result;
}

absl::StatusOr<ProjectedGradientOptions> DecodeProjectedGradient(const v1::ProjectedGradientOptions& options) {
  ProjectedGradientOptions result;
  if (options.has_step_size()) result.step_size = options.step_size();
  RETURN_IF_ERROR(result.Validate());
  return result;
}

// [k, n], one pair a row -> [n, k]. n < 1 is refused with the problem.
absl::StatusOr<Eigen::MatrixXd> DecodePairs(const v1::Array& array, int64_t n) {
  ASSIGN_OR_RETURN(const int64_t count, CountElements(array));
  if (count == 0 || n < 1) return Eigen::MatrixXd();
  const int64_t k = std::max<int64_t>(count / n, 1);
  ASSIGN_OR_RETURN(const Vector pairs, DecodeReals(array, {k, n}));
  return Eigen::MatrixXd(pairs.reshaped(n, k));
}

absl::StatusOr<QuasiNewtonOptions> DecodeQuasiNewton(const v1::QuasiNewtonOptions& options, int64_t n) {
  QuasiNewtonOptions result;
  if (options.has_memory()) result.memory = options.memory();
  ASSIGN_OR_RETURN(result.state.steps, InField("state.steps", DecodePairs(options.state().steps(), n)));
  ASSIGN_OR_RETURN(result.state.gradient_changes,
                   InField("state.gradient_changes", DecodePairs(options.state().gradient_changes(), n)));
  RETURN_IF_ERROR(result.Validate());
  return result;
}

absl::StatusOr<PortfolioOptions> DecodePortfolio(const v1::PortfolioOptions& options) {
  PortfolioOptions result;
  if (options.has_islands()) result.islands = options.islands();
  if (options.has_evaluations_per_round()) result.evaluations_per_round = options.evaluations_per_round();
  if (options.has_patience()) result.patience = options.patience();
  if (options.has_max_optima()) result.max_optima = options.max_optima();
  RETURN_IF_ERROR(result.Validate());
  return result;
}

absl::StatusOr<TruncatedNewtonOptions> DecodeTruncatedNewton(const v1::TruncatedNewtonOptions& options) {
  TruncatedNewtonOptions result;
  if (options.has_max_products()) result.max_products = options.max_products();
  RETURN_IF_ERROR(result.Validate());
  return result;
}

// The oneof field that holds the method.
const google::protobuf::FieldDescriptor& MethodField(const v1::OptimizeRequest& request) {
  return *v1::OptimizeRequest::descriptor()->FindFieldByNumber(request.method_case());
}

absl::Status CheckOneForEach(int count, size_t contexts) {
  if (count == 0 || static_cast<size_t>(count) == contexts) return absl::OkStatus();
  return FieldError("contexts", absl::StrCat("has ", count, " entries; must have one for each context, ", contexts));
}

absl::StatusOr<Vector> DecodeStart(const v1::Array& array, int num_states) {
  ASSIGN_OR_RETURN(const int64_t count, CountElements(array));
  if (count == 0) return Vector();
  return DecodeReals(array, {num_states});
}

}  // namespace

absl::StatusOr<LowerLevelOptions> DecodeLowerLevel(const v1::LowerLevelOptions& options) {
  LowerLevelOptions result;
  if (options.has_residual_tolerance()) result.residual_tolerance = options.residual_tolerance();
  if (options.has_max_sweeps()) result.max_sweeps = options.max_sweeps();
  if (options.has_adjoint_tolerance()) result.adjoint_tolerance = options.adjoint_tolerance();
  ASSIGN_OR_RETURN(result.method, InField("lower_level", DecodeLowerLevelMethod(options.method())));
  RETURN_IF_ERROR(InField("lower_level", result.Validate()));
  return result;
}

absl::StatusOr<std::chrono::nanoseconds> DecodeDuration(const google::protobuf::Duration& duration) {
  const int64_t seconds = duration.seconds();
  const int32_t nanos = duration.nanos();
  const bool valid =
      nanos > -1'000'000'000 && nanos < 1'000'000'000 && (seconds == 0 || nanos == 0 || (seconds > 0) == (nanos > 0));
  if (!valid || seconds < 0 || nanos < 0 || (seconds == 0 && nanos == 0)) {
    return FieldError("time_limit",
                      absl::StrCat("is ", seconds, " s and ", nanos, " ns; must be a valid duration > 0"));
  }
  return std::chrono::seconds(std::min(seconds, kLongestSeconds)) + std::chrono::nanoseconds(nanos);
}

absl::StatusOr<FiniteDifferenceOptions> DecodeFiniteDifference(const v1::CheckGradientRequest& request) {
  FiniteDifferenceOptions result;
  if (request.has_step()) result.step = request.step();
  result.directions = request.directions();
  result.seed = request.seed();
  RETURN_IF_ERROR(result.Validate());
  return result;
}

absl::StatusOr<MethodOptions> DecodeMethod(const v1::OptimizeRequest& request) {
  switch (request.method_case()) {
    case v1::OptimizeRequest::kMSobirl: {
      ASSIGN_OR_RETURN(const MSobirlOptions method, InField("m_sobirl", DecodeMSobirl(request.m_sobirl())));
      return MethodOptions(method);
    }
    case v1::OptimizeRequest::kProjectedGradient: {
      ASSIGN_OR_RETURN(const ProjectedGradientOptions method,
                       InField("projected_gradient", DecodeProjectedGradient(request.projected_gradient())));
      return MethodOptions(method);
    }
    case v1::OptimizeRequest::kQuasiNewton: {
      ASSIGN_OR_RETURN(
          QuasiNewtonOptions method,
          InField("quasi_newton", DecodeQuasiNewton(request.quasi_newton(), request.problem().num_parameters())));
      return MethodOptions(std::move(method));
    }
    case v1::OptimizeRequest::kPortfolio: {
      ASSIGN_OR_RETURN(const PortfolioOptions method, InField("portfolio", DecodePortfolio(request.portfolio())));
      return MethodOptions(method);
    }
    case v1::OptimizeRequest::kTruncatedNewton: {
      ASSIGN_OR_RETURN(const TruncatedNewtonOptions method,
                       InField("truncated_newton", DecodeTruncatedNewton(request.truncated_newton())));
      return MethodOptions(method);
    }
    default:
      return FieldError("method",
                        "is absent; one of m_sobirl, projected_gradient, quasi_newton, portfolio, truncated_newton is "
                        "required");
  }
}

absl::StatusOr<OuterOptions> DecodeOuter(const v1::OptimizeRequest& request) {
  OuterOptions result;
  if (request.has_gradient_tolerance()) result.gradient_tolerance = request.gradient_tolerance();
  if (request.has_max_iterations()) result.max_iterations = request.max_iterations();
  if (request.has_max_evaluations()) result.max_evaluations = request.max_evaluations();
  if (request.progress_every() < 0) {
    return FieldError("progress_every", absl::StrCat("is ", request.progress_every(), "; must be >= 0"));
  }
  result.certify_progress = request.certify_progress();
  result.record_history = request.return_history();
  result.report_sensitivities = request.return_sensitivities();
  result.describe_stationarity = request.return_stationarity();
  result.seed = request.seed();
  ASSIGN_OR_RETURN(result.lower_level, DecodeLowerLevel(request.lower_level()));
  RETURN_IF_ERROR(result.Validate());
  return result;
}

absl::Status OptimizeErrorOnTheWire(const v1::OptimizeRequest& request, const absl::Status& status) {
  const auto violation = GetFieldViolation(status);
  if (!violation.has_value()) return status;
  if (violation->field == "residual_tolerance") return WithField("lower_level", status);
  const google::protobuf::FieldDescriptor& method = MethodField(request);
  const std::string first = violation->field.substr(0, violation->field.find_first_of(".["));
  const bool of_method = method.message_type()->FindFieldByName(first) != nullptr;
  return of_method ? WithField(method.name(), status) : status;
}

absl::StatusOr<WarmStart> DecodeWarmStart(const v1::WarmStart& start, const BilevelProblem& problem) {
  RETURN_IF_ERROR(CheckOneForEach(start.contexts_size(), problem.contexts.size()));
  WarmStart result;
  for (int i = 0; i < start.contexts_size(); ++i) {
    const int num_states = problem.contexts[static_cast<size_t>(i)].mdp->num_states();
    const auto path = [i](const char* field) { return absl::StrCat("contexts[", i, "].", field); };
    ASSIGN_OR_RETURN(Vector value, InField(path("value"), DecodeStart(start.contexts(i).value(), num_states)));
    ASSIGN_OR_RETURN(Vector adjoint, InField(path("adjoint"), DecodeStart(start.contexts(i).adjoint(), num_states)));
    result.values.push_back(std::move(value));
    result.adjoints.push_back(std::move(adjoint));
  }
  result.values.resize(problem.contexts.size());
  result.adjoints.resize(problem.contexts.size());
  return result;
}

}  // namespace bilevel::server
