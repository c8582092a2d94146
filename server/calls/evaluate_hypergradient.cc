#include <utility>

#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "core/hypergradient/hypergradient.h"
#include "server/calls/calls.h"
#include "server/convert/advice.h"
#include "server/convert/in_field.h"
#include "server/convert/options.h"
#include "server/convert/problem.h"
#include "server/convert/solution.h"

namespace bilevel::server {

absl::Status EvaluateHypergradient(const v1::EvaluateHypergradientRequest& request, const Run& run,
                                   v1::EvaluateHypergradientResponse* response) {
  ASSIGN_OR_RETURN(LowerLevelOptions options, DecodeLowerLevel(request.lower_level()));
  options.parallel_for = run.parallel_for();
  ASSIGN_OR_RETURN(const auto time_limit, DecodeTimeLimit(request));
  ASSIGN_OR_RETURN(const BilevelProblem problem, InField("problem", DecodeProblem(request.problem(), Purpose::kGradient,
                                                                                  run.limits(), run.environments())));
  ASSIGN_OR_RETURN(
      const std::vector<Vector> points,
      InField("parameters", DecodePoints(request.has_parameters() ? &request.parameters() : nullptr, problem)));
  ASSIGN_OR_RETURN(const WarmStart start, InField("warm_start", DecodeWarmStart(request.warm_start(), problem)));
  if (request.validate_only()) {
    run.FillEstimate(response->mutable_estimate());
    EncodeAdvice(problem, points.front(), response->mutable_estimate());
    run.FillRunInfo(response->mutable_run_info());
    return absl::OkStatus();
  }

  const Interrupt interrupt = run.MakeInterrupt(time_limit);
  const SolutionArrays arrays{.policy = request.return_policies()};
  HypergradientEvaluator evaluator(problem, options, start);
  Termination termination;
  for (size_t i = 0; i < points.size(); ++i) {
    const std::optional<StopReason> stop = interrupt.Check();
    if (i > 0 && stop.has_value()) {
      termination = {*stop, absl::StrCat("stopped after ", i, " of ", points.size(), " points")};
      break;
    }
    ASSIGN_OR_RETURN(const HypergradientPoint point,
                     InField("lower_level", evaluator.EvaluateCertified(points[i], interrupt)));
    termination = Worse(termination, point.termination);
    v1::Hypergradient* message = response->add_points();
    EncodeHypergradient(problem, point, arrays, message);
    if (request.return_warm_start()) EncodeWarmStart(evaluator.warm_start(), message->mutable_warm_start());
  }
  EncodeTermination(termination, response->mutable_termination());
  run.AddServerStop(response->mutable_termination());
  run.FillRunInfo(response->mutable_run_info());
  return absl::OkStatus();
}

}  // namespace bilevel::server
