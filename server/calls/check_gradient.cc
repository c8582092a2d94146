#include "core/base/status_macros.h"
#include "core/hypergradient/finite_difference.h"
#include "server/calls/calls.h"
#include "server/convert/advice.h"
#include "server/convert/array.h"
#include "server/convert/in_field.h"
#include "server/convert/options.h"
#include "server/convert/problem.h"
#include "server/convert/solution.h"

namespace bilevel::server {

absl::Status CheckGradient(const v1::CheckGradientRequest& request, const Run& run,
                           v1::CheckGradientResponse* response) {
  ASSIGN_OR_RETURN(LowerLevelOptions options, DecodeLowerLevel(request.lower_level()));
  options.parallel_for = run.parallel_for();
  ASSIGN_OR_RETURN(const FiniteDifferenceOptions difference, DecodeFiniteDifference(request));
  ASSIGN_OR_RETURN(const auto time_limit, DecodeTimeLimit(request));
  ASSIGN_OR_RETURN(const BilevelProblem problem, InField("problem", DecodeProblem(request.problem(), Purpose::kGradient,
                                                                                  run.limits(), run.environments())));
  ASSIGN_OR_RETURN(
      const Vector x,
      InField("parameters", DecodeParameters(request.has_parameters() ? &request.parameters() : nullptr, problem)));
  if (request.validate_only()) {
    run.FillEstimate(response->mutable_estimate());
    EncodeAdvice(problem, x, response->mutable_estimate());
    run.FillRunInfo(response->mutable_run_info());
    return absl::OkStatus();
  }

  ASSIGN_OR_RETURN(
      const GradientCheck check,
      InField("lower_level", bilevel::CheckGradient(problem, x, options, difference, run.MakeInterrupt(time_limit))));
  EncodeReals(check.analytic, {check.analytic.size()}, response->mutable_analytic());
  EncodeReals(check.numeric, {check.numeric.size()}, response->mutable_numeric());
  response->set_relative_error_l2(check.relative_error_l2);
  response->set_worst_index(check.worst_index);
  EncodeHypergradient(problem, check.point, {.policy = false}, response->mutable_point());
  EncodeTermination(check.termination, response->mutable_termination());
  run.AddServerStop(response->mutable_termination());
  response->set_seed(request.seed());
  run.FillRunInfo(response->mutable_run_info());
  return absl::OkStatus();
}

}  // namespace bilevel::server
