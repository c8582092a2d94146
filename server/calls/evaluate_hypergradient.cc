#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "core/hypergradient/hypergradient.h"
#include "server/calls/calls.h"
#include "server/convert/advice.h"
#include "server/convert/in_field.h"
#include "server/convert/options.h"
#include "server/convert/problem.h"
#include "server/convert/solution.h"
#include "server/cost_estimate.h"

namespace bilevel::server {
namespace {

EnvironmentTotals TotalsOf(const BilevelProblem& problem) {
  EnvironmentTotals totals;
  for (const Context& context : problem.contexts) {
    totals.states += context.mdp->num_states();
    totals.rows += static_cast<double>(context.mdp->num_rows());
    totals.entries += static_cast<double>(context.mdp->num_entries());
  }
  return totals;
}

}  // namespace

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
  std::vector<v1::Hypergradient*> messages;
  for (size_t i = 0; i < points.size(); ++i) messages.push_back(response->add_points());
  // Of each point, and each run of them: the first of a run starts as the request says, the others from the one before.
  std::vector<std::optional<Termination>> terminations(points.size());
  const size_t run_length =
      PointsGoTogether(static_cast<double>(points.size()), TotalsOf(problem)) ? kPointsInRun : points.size();
  std::vector<absl::Status> statuses((points.size() + run_length - 1) / run_length);
  std::atomic<bool> failed = false;
  const auto evaluate = [&](size_t number) -> absl::Status {
    LowerLevelOptions its = options;
    its.refuse_unreachable = number == 0;  // what the first point could reach, others reach as far as they can
    HypergradientEvaluator evaluator(problem, its, start);
    for (size_t i = number * run_length; i < std::min(points.size(), (number + 1) * run_length); ++i) {
      if (failed || (i > 0 && interrupt.Check().has_value())) break;
      ASSIGN_OR_RETURN(const HypergradientPoint point,
                       InField("lower_level", evaluator.EvaluateCertified(points[i], interrupt)));
      terminations[i] = point.termination;
      EncodeHypergradient(problem, point, arrays, messages[i]);
      if (request.return_warm_start()) EncodeWarmStart(evaluator.warm_start(), messages[i]->mutable_warm_start());
    }
    return absl::OkStatus();
  };
  const auto run_at = [&](int number) {
    absl::Status& status = statuses[static_cast<size_t>(number)];
    status = evaluate(static_cast<size_t>(number));
    if (!status.ok()) failed = true;
  };
  if (statuses.size() == 1) {
    run_at(0);
  } else {
    run.parallel_for()(static_cast<int>(statuses.size()), run_at);
  }
  for (absl::Status& status : statuses) RETURN_IF_ERROR(std::move(status));

  Termination termination;
  size_t reached = 0;
  for (; reached < points.size() && terminations[reached].has_value(); ++reached) {
    termination = Worse(termination, *terminations[reached]);
  }
  if (reached < points.size()) {
    const auto first = static_cast<int>(reached);
    response->mutable_points()->DeleteSubrange(first, response->points_size() - first);
    termination = {interrupt.Check().value_or(StopReason::kTimeLimit),
                   absl::StrCat("stopped after ", reached, " of ", points.size(), " points")};
  }
  EncodeTermination(termination, response->mutable_termination());
  run.AddServerStop(response->mutable_termination());
  run.FillRunInfo(response->mutable_run_info());
  return absl::OkStatus();
}

}  // namespace bilevel::server
