#include "core/hypergradient/pullback.h"

#include "core/base/status_macros.h"
#include "core/hypergradient/hypergradient.h"
#include "core/mdp/follower_error.h"
#include "core/problem/for_contexts.h"
#include "core/problem/world.h"
#include "server/calls/calls.h"
#include "server/convert/advice.h"
#include "server/convert/in_field.h"
#include "server/convert/options.h"
#include "server/convert/problem.h"
#include "server/convert/solution.h"

namespace bilevel::server {

absl::Status Pullback(const v1::PullbackRequest& request, const Run& run, v1::PullbackResponse* response) {
  ASSIGN_OR_RETURN(LowerLevelOptions options, DecodeLowerLevel(request.lower_level()));
  options.parallel_for = run.parallel_for();
  ASSIGN_OR_RETURN(const auto time_limit, DecodeTimeLimit(request));
  ASSIGN_OR_RETURN(const BilevelProblem problem, InField("problem", DecodeProblem(request.problem(), Purpose::kFollower,
                                                                                  run.limits(), run.environments())));
  ASSIGN_OR_RETURN(
      const Vector x,
      InField("parameters", DecodeParameters(request.has_parameters() ? &request.parameters() : nullptr, problem)));
  ASSIGN_OR_RETURN(const std::vector<OutputCotangents> cotangents,
                   InField("cotangents", DecodeCotangents(request.cotangents(), problem)));
  ASSIGN_OR_RETURN(WarmStart warm_start, InField("warm_start", DecodeWarmStart(request.warm_start(), problem)));
  if (request.validate_only()) {
    run.FillEstimate(response->mutable_estimate());
    EncodeAdvice(problem, x, response->mutable_estimate());
    run.FillRunInfo(response->mutable_run_info());
    return absl::OkStatus();
  }

  const Interrupt interrupt = run.MakeInterrupt(time_limit);
  const Vector theta = problem.map.Apply(x);
  const SolutionArrays arrays{.policy = true, .q = true, .log_policy = request.return_log_policy()};
  const PullbackOptions pullback{.adjoint_tolerance = options.adjoint_tolerance,
                                 .want_transitions = request.return_transition_gradient()};
  std::vector<v1::LowerLevelSolution*> solutions;
  std::vector<v1::ContextGradient*> gradients;
  for (size_t c = 0; c < problem.contexts.size(); ++c) {
    solutions.push_back(response->add_contexts());
    if (!cotangents.empty()) gradients.push_back(response->add_gradients());
  }
  std::vector<Termination> terminations(problem.contexts.size());
  RETURN_IF_ERROR(ForContexts(problem, options.parallel_for, interrupt, [&](size_t c, const Interrupt& its) {
    const Context& context = problem.contexts[c];
    Termination& termination = terminations[c];
    World world(problem, c, SystemKind(options, *context.mdp), options.parallel_for);
    const RegularizedMdp follower = world.At(x, theta);
    PolicySystem& system = world.system();
    ASSIGN_OR_RETURN(
        const LowerLevelSolution solution,
        InField("lower_level", bilevel::SolveLowerLevel(follower, options, warm_start.values[c], its, system)));
    const PolicySystem::Counters counters = system.counters();
    system.SetPolicy(solution.backup.pi);
    const FollowerError error = BoundFollowerError(follower, solution, system, its);
    termination = solution.termination;
    EncodeSolution(context, solution, LargestOf(error), counters, arrays, solutions[c]);
    if (solution.value.allFinite()) warm_start.values[c] = solution.value;
    if (cotangents.empty()) return absl::OkStatus();

    const PullbackResult result =
        bilevel::Pullback(follower, solution, error, cotangents[c], pullback, warm_start.adjoints[c], its, system);
    if (const std::optional<StopReason> stop = its.Check(); stop.has_value() && !result.adjoint.converged) {
      termination = Worse(termination, {*stop, "stopped inside the adjoint system"});
    }
    const v1::Environment& environment = request.problem().contexts(static_cast<int>(c)).environment();
    EncodePullback(context, result, environment.transitions().has_dense(), gradients[c]);
    if (result.adjoint.z.allFinite()) warm_start.adjoints[c] = result.adjoint.z;
    return absl::OkStatus();
  }));
  Termination termination;
  for (const Termination& each : terminations) termination = Worse(termination, each);
  if (request.return_warm_start()) EncodeWarmStart(warm_start, response->mutable_warm_start());
  EncodeTermination(termination, response->mutable_termination());
  run.AddServerStop(response->mutable_termination());
  run.FillRunInfo(response->mutable_run_info());
  return absl::OkStatus();
}

}  // namespace bilevel::server
