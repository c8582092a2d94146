#include "tests/benchmarks/referees/iterated_differentiation.h"

#include <utility>
#include <vector>

namespace bilevel::referees {

RefereeGradient DifferentiateSweeps(const BilevelProblem& problem, const Vector& x, int sweeps) {
  return SumOverContexts(problem, x, [&x, sweeps](const ContextRequest& request) {
    const TabularMdp& mdp = *request.follower.mdp;
    const double gamma = request.follower.discount, tau = request.follower.temperature;
    std::vector<Vector> values = {Vector::Zero(mdp.num_states())};
    std::vector<Vector> policies;
    for (int k = 0; k < sweeps; ++k) {
      SoftBackup backup = ApplySoftBellman(request.follower, values.back());
      policies.push_back(std::move(backup.pi));
      values.push_back(std::move(backup.value));
    }
    const SoftBackup last = ApplySoftBellman(request.follower, values.back());
    request.system.SetPolicy(last.pi);
    ContextObjective f = EvaluateContextObjective(request.context, InputOf(request, {values.back(), last}));

    ContextShare share{f.value, std::move(f.direct), ParameterGradient(x.size())};
    Vector lambda = CenterCotangent(mdp, last.pi, f.y) / tau, sum = lambda;
    Vector v = gamma * mdp.PushForward(lambda);
    if (f.follower_value.size() != 0) v += f.follower_value;
    AddThroughDynamics(request, lambda, values.back(), share.implicit);
    for (size_t k = policies.size(); k-- > 0;) {
      lambda = policies[k].cwiseProduct(RepeatForActions(mdp, v));
      sum += lambda;
      v = gamma * mdp.PushForward(lambda);
      AddThroughDynamics(request, lambda, values[k], share.implicit);
    }
    AddThroughReward(request, sum, share.implicit);
    return share;
  });
}

}  // namespace bilevel::referees
