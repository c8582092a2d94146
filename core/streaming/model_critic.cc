#include "core/streaming/model_critic.h"

namespace bilevel {

ModelCritic AskModel(const TabularMdp& model, const Vector& pi, const Context& context, const LeaderReturn& leader,
                     const Vector& cost, const RowMatrix* used, PolicySystem::Kind kind, const Interrupt& interrupt) {
  constexpr double kTolerance = 1e-13;
  PolicySystem system(model, kind);
  system.SetPolicy(pi);
  const PolicyInput policy{model, pi, system, kTolerance, interrupt};
  const double gamma_u = leader.discount.value_or(context.discount);
  ModelCritic critic;
  critic.gradient = SolveValueGradient(policy, context.discount, context.reward.GradientFeatures());
  critic.expected = SolveExpectedGradient(policy, gamma_u, cost, leader.reward.GradientFeatures(),
                                          used == nullptr ? critic.gradient.advantage : *used);
  critic.initial = leader.initial.size() == 0 ? model.initial_distribution() : leader.initial;
  critic.visits = EvaluateOccupancy(policy, gamma_u, critic.initial, nullptr).visits;
  return critic;
}

}  // namespace bilevel
