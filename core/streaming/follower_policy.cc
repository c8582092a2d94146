#include "core/streaming/follower_policy.h"

#include <cmath>
#include <utility>

#include "core/base/status_macros.h"

namespace bilevel {

absl::StatusOr<FollowerPolicy> SolvePolicy(const BilevelProblem& problem, size_t context, const TabularMdp& model,
                                           const Vector& x, LowerLevelOptions lower_level, const Interrupt& interrupt) {
  const Context& at = problem.contexts[context];
  const Vector reward = at.reward.Evaluate(x, problem.map.Apply(x));
  const RegularizedMdp follower{&model, reward, {}, at.discount, at.temperature};
  lower_level.refuse_unreachable = false;
  PolicySystem system(model, SystemKind(lower_level, model));
  ASSIGN_OR_RETURN(LowerLevelSolution solution, SolveLowerLevel(follower, lower_level, {}, interrupt, system));
  return FollowerPolicy{std::move(solution.backup.pi), std::move(solution.backup.log_pi)};
}

FollowerPolicy KnownPolicy(Vector log_pi) {
  // Eigen's vectorised exponential of -infinity is not 0.
  Vector pi = log_pi.unaryExpr([](double entry) { return std::exp(entry); });
  return {std::move(pi), std::move(log_pi)};
}

}  // namespace bilevel
