#include "core/base/status_macros.h"
#include "core/mdp/follower_error.h"
#include "core/problem/for_contexts.h"
#include "core/problem/world.h"
#include "server/calls/calls.h"
#include "server/convert/advice.h"
#include "server/convert/array.h"
#include "server/convert/in_field.h"
#include "server/convert/options.h"
#include "server/convert/problem.h"
#include "server/convert/solution.h"

namespace bilevel::server {

absl::Status SolveLowerLevel(const v1::SolveLowerLevelRequest& request, const Run& run,
                             v1::SolveLowerLevelResponse* response) {
  ASSIGN_OR_RETURN(LowerLevelOptions options, DecodeLowerLevel(request.lower_level()));
  options.parallel_for = run.parallel_for();
  ASSIGN_OR_RETURN(const auto time_limit, DecodeTimeLimit(request));
  ASSIGN_OR_RETURN(const BilevelProblem problem, InField("problem", DecodeProblem(request.problem(), Purpose::kFollower,
                                                                                  run.limits(), run.environments())));
  ASSIGN_OR_RETURN(
      const Vector x,
      InField("parameters", DecodeParameters(request.has_parameters() ? &request.parameters() : nullptr, problem)));
  ASSIGN_OR_RETURN(const WarmStart start, InField("warm_start", DecodeWarmStart(request.warm_start(), problem)));
  if (request.validate_only()) {
    run.FillEstimate(response->mutable_estimate());
    EncodeAdvice(problem, x, response->mutable_estimate());
    run.FillRunInfo(response->mutable_run_info());
    return absl::OkStatus();
  }

  const Interrupt interrupt = run.MakeInterrupt(time_limit);
  const Vector theta = problem.map.Apply(x);
  const SolutionArrays arrays{.policy = true, .q = request.return_q(), .log_policy = request.return_log_policy()};
  std::vector<v1::LowerLevelSolution*> messages;
  for (size_t c = 0; c < problem.contexts.size(); ++c) messages.push_back(response->add_contexts());
  std::vector<Termination> terminations(problem.contexts.size());
  RETURN_IF_ERROR(ForContexts(problem, options.parallel_for, interrupt, [&](size_t c, const Interrupt& its) {
    const Context& context = problem.contexts[c];
    World world(problem, c, SystemKind(options, *context.mdp), options.parallel_for);
    const RegularizedMdp follower = world.At(x, theta);
    PolicySystem& system = world.system();
    ASSIGN_OR_RETURN(const LowerLevelSolution solution,
                     InField("lower_level", bilevel::SolveLowerLevel(follower, options, start.values[c], its, system)));
    const PolicySystem::Counters counters = system.counters();
    system.SetPolicy(solution.backup.pi);
    const FollowerError error = BoundFollowerError(follower, solution, system, its);
    terminations[c] = solution.termination;
    v1::LowerLevelSolution* message = messages[c];
    EncodeSolution(context, solution, LargestOf(error), counters, arrays, message);
    if (request.return_reward()) {
      const int64_t states = context.mdp->num_states(), actions = context.mdp->num_actions();
      EncodeReals(follower.reward, {states, actions}, message->mutable_reward());
      EncodeReals(context.reward.EvaluateIncentive(x, theta), {states, actions}, message->mutable_incentive());
    }
    return absl::OkStatus();
  }));
  Termination termination;
  for (const Termination& each : terminations) termination = Worse(termination, each);
  EncodeTermination(termination, response->mutable_termination());
  run.AddServerStop(response->mutable_termination());
  run.FillRunInfo(response->mutable_run_info());
  return absl::OkStatus();
}

}  // namespace bilevel::server
