#include "tests/benchmarks/referees/referee.h"

#include <utility>
#include <vector>

#include "core/problem/world.h"

namespace bilevel::referees {

RefereeGradient SumOverContexts(const BilevelProblem& problem, const Vector& x,
                                const std::function<ContextShare(const ContextRequest&)>& share) {
  const LowerLevelOptions options;
  const Interrupt interrupt;
  const Vector theta = problem.map.Apply(x);
  std::vector<ContextShare> shares;
  std::vector<double> objectives;
  for (size_t c = 0; c < problem.contexts.size(); ++c) {
    const Context& context = problem.contexts[c];
    World world(problem, c, SystemKind(options, *context.mdp));
    const RegularizedMdp follower = world.At(x, theta);
    shares.push_back(share({context, follower, x, theta, world.slope(), options, interrupt, world.system()}));
    objectives.push_back(shares.back().objective);
  }
  const std::vector<double> weights = problem.ActiveWeights(objectives);
  ParameterGradient direct(problem.num_parameters), implicit(problem.num_parameters);
  for (size_t c = 0; c < shares.size(); ++c) {
    direct.Add(weights[c], shares[c].direct);
    implicit.Add(weights[c], shares[c].implicit);
  }
  return {problem.Aggregate(objectives, x), problem.AssembleGradient(direct, x),
          problem.map.Pullback(x, implicit.theta) + implicit.x};
}

void AddThroughReward(const ContextRequest& request, const Vector& lambda, ParameterGradient& gradient) {
  request.context.reward.AddPullback(lambda, request.x, gradient);
}

void AddThroughDynamics(const ContextRequest& request, const Vector& lambda, const Vector& value,
                        ParameterGradient& gradient) {
  if (!request.context.dynamics.has_value()) return;
  request.context.dynamics->AddPullback(*request.follower.mdp, 1, ImplicitDerivative(request.follower, lambda, value),
                                        gradient.theta);
}

RefereeGradient ExactGradient(const BilevelProblem& problem, const Vector& x) {
  return SumOverContexts(problem, x, [&x](const ContextRequest& request) {
    const LowerLevelSolution solution = SolveFollower(request);
    ContextGradient exact = DifferentiateContext(request, {solution.value, solution.backup}, {});
    ContextShare share{exact.objective.value, std::move(exact.objective.direct), ParameterGradient(x.size())};
    AddThroughReward(request, exact.adjoint.reward_gradient, share.implicit);
    AddThroughDynamics(request, exact.adjoint.reward_gradient, solution.value, share.implicit);
    return share;
  });
}

LowerLevelSolution SolveFollower(const ContextRequest& request) {
  LowerLevelSolution solution =
      SolveLowerLevel(request.follower, request.options, {}, request.interrupt, request.system).value();
  request.system.SetPolicy(solution.backup.pi);
  return solution;
}

}  // namespace bilevel::referees
