#include "core/solvers/optimize.h"

#include <utility>

#include "core/base/status_macros.h"
#include "server/calls/calls.h"
#include "server/convert/advice.h"
#include "server/convert/array.h"
#include "server/convert/in_field.h"
#include "server/convert/options.h"
#include "server/convert/problem.h"
#include "server/convert/solution.h"

namespace bilevel::server {
namespace {

void EncodeResult(const v1::OptimizeRequest& request, const BilevelProblem& problem, const MethodOptions& method,
                  const OuterResult& outcome, v1::OptimizeResult* result) {
  EncodeHypergradient(problem, outcome.best, {.policy = request.return_policies()}, result->mutable_best());
  if (request.return_warm_start()) {
    EncodeWarmStart(outcome.warm_start, result->mutable_best()->mutable_warm_start());
    if (outcome.quasi_newton.has_value()) {
      EncodeQuasiNewtonState(*outcome.quasi_newton, result->mutable_quasi_newton_state());
    }
  }
  EncodeTermination(outcome.termination, result->mutable_termination());
  result->set_iterations(outcome.iterations);
  result->set_evaluations(outcome.evaluations);
  result->set_hessian_products(outcome.hessian_products);
  const std::string_view name = MethodName(method);
  result->set_method(name.data(), name.size());
  result->set_seed(request.seed());
  result->mutable_notes()->Add(outcome.notes.begin(), outcome.notes.end());
  if (outcome.sensitivities.has_value()) {
    EncodeSensitivities(*outcome.sensitivities, result->mutable_sensitivities());
  }
  if (outcome.stationarity.has_value()) {
    EncodeStationarity(*outcome.stationarity, result->mutable_stationarity());
  }
  for (const LocalOptimum& optimum : outcome.optima) {
    v1::LocalOptimum* entry = result->add_optima();
    EncodeReals(optimum.x, {optimum.x.size()}, entry->mutable_parameters());
    entry->set_objective(optimum.objective);
    entry->set_gradient_norm(optimum.gradient_norm);
    entry->set_hits(optimum.hits);
  }
  for (const IterationStats& stats : outcome.history) {
    v1::IterationStats* entry = result->add_history();
    entry->set_iteration(stats.iteration);
    entry->set_evaluations(stats.evaluations);
    entry->set_objective(stats.objective);
    entry->set_gradient_norm(stats.gradient_norm);
    entry->set_error_bound(stats.error_bound);
  }
}

}  // namespace

absl::Status Optimize(const v1::OptimizeRequest& request, const Run& run,
                      const std::function<void(v1::OptimizeEvent)>& on_progress, v1::OptimizeEvent* last) {
  ASSIGN_OR_RETURN(const MethodOptions method, DecodeMethod(request));
  ASSIGN_OR_RETURN(OuterOptions options, DecodeOuter(request));
  ASSIGN_OR_RETURN(const auto time_limit, DecodeTimeLimit(request));
  ASSIGN_OR_RETURN(const BilevelProblem problem, InField("problem", DecodeProblem(request.problem(), Purpose::kGradient,
                                                                                  run.limits(), run.environments())));
  ASSIGN_OR_RETURN(
      const Vector x,
      InField("parameters", DecodeParameters(request.has_parameters() ? &request.parameters() : nullptr, problem)));
  ASSIGN_OR_RETURN(options.warm_start, InField("warm_start", DecodeWarmStart(request.warm_start(), problem)));
  if (request.validate_only()) {
    run.FillEstimate(last->mutable_estimate());
    EncodeAdvice(problem, x, last->mutable_estimate());
    return absl::OkStatus();
  }

  options.parallel_for = run.parallel_for();
  options.lower_level.parallel_for = run.parallel_for();
  ProgressReporter reporter(
      [&](const Progress& progress) {
        v1::OptimizeEvent event;
        EncodeProgress(progress, event.mutable_progress());
        run.FillRunInfo(event.mutable_progress()->mutable_run_info());
        on_progress(std::move(event));
      },
      request.progress_every());
  const absl::StatusOr<OuterResult> outcome =
      bilevel::Optimize(problem, x, method, options, run.MakeInterrupt(time_limit), reporter);
  if (!outcome.ok()) return OptimizeErrorOnTheWire(request, outcome.status());
  EncodeResult(request, problem, method, *outcome, last->mutable_result());
  run.AddServerStop(last->mutable_result()->mutable_termination());
  run.FillRunInfo(last->mutable_result()->mutable_run_info());
  return absl::OkStatus();
}

}  // namespace bilevel::server
