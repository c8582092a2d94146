#include "tests/benchmarks/referees/one_step.h"

#include <utility>

namespace bilevel::referees {

RefereeGradient TruncateToOneStep(const BilevelProblem& problem, const Vector& x) {
  return SumOverContexts(problem, x, [&x](const ContextRequest& request) {
    const TabularMdp& mdp = *request.follower.mdp;
    const LowerLevelSolution solution = SolveFollower(request);
    const Vector& pi = solution.backup.pi;
    ContextObjective f = EvaluateContextObjective(request.context, InputOf(request, {solution.value, solution.backup}));
    Vector lambda = CenterCotangent(mdp, pi, f.y) / request.follower.temperature;
    if (f.follower_value.size() != 0) lambda += pi.cwiseProduct(RepeatForActions(mdp, f.follower_value));
    ContextShare share{f.value, std::move(f.direct), ParameterGradient(x.size())};
    AddThroughReward(request, lambda, share.implicit);
    AddThroughDynamics(request, lambda, solution.value, share.implicit);
    return share;
  });
}

}  // namespace bilevel::referees
