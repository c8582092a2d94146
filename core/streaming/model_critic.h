// What a model, estimated or known, tells estimators from trajectories: critics, expectations and visits of a policy.

#ifndef BILEVEL_CORE_STREAMING_MODEL_CRITIC_H_
#define BILEVEL_CORE_STREAMING_MODEL_CRITIC_H_

#include "core/problem/bilevel_problem.h"
#include "core/streaming/expected_gradient.h"

namespace bilevel {

struct ModelCritic {
  ValueGradient gradient;     // its advantage, grad Q - grad V [S*A, d], is the score
  ExpectedGradient expected;  // for that score, or for the one that is used in its place; V_u, Q_u - V_u within
  Vector initial;             // rho_u [S]
  Vector visits;              // d_u(s) pi(a|s) [S*A], for ScoreBias
};

// model: in place of the context's environment; pi [S*A]: of whoever acts, for baselines and control variates to have
// mean 0; leader: a term of the context; cost: its reward c at x, or as it was sampled [S*A]; used: what an estimator
// has in place of the score, [S*A, d], or null. Cost: 2 + d_u + 2 d linear solves. Interrupted: what is missing is 0.
ModelCritic AskModel(const TabularMdp& model, const Vector& pi, const Context& context, const LeaderReturn& leader,
                     const Vector& cost, const RowMatrix* used, PolicySystem::Kind kind, const Interrupt& interrupt);

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_MODEL_CRITIC_H_
