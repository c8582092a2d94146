#include "core/hypergradient/hessian.h"

#include <cmath>
#include <limits>
#include <utility>

#include "core/base/status_macros.h"

namespace bilevel {

ContextRequest Hessian::RequestOf(size_t context, const Interrupt& interrupt) const {
  const ContextState& state = contexts_[context];
  return {problem_.contexts[context], state.follower, x_,        theta_,
          state.world->slope(),       options_,       interrupt, state.world->system()};
}

absl::StatusOr<std::unique_ptr<Hessian>> Hessian::Create(const BilevelProblem& problem,
                                                         const LowerLevelOptions& options, const Vector& x,
                                                         const WarmStart& start, const Interrupt& interrupt) {
  std::unique_ptr<Hessian> result(new Hessian(problem, options, x));
  std::vector<double> objectives;
  ParameterGradient total(x.size());
  result->weights_.assign(problem.contexts.size(), 0.0);
  for (size_t c = 0; c < problem.contexts.size(); ++c) {
    ContextState& state = result->contexts_.emplace_back();
    const PolicySystem::Kind kind = SystemKind(options, *problem.contexts[c].mdp);
    state.world = std::make_unique<World>(problem, c, kind);
    state.follower = state.world->At(x, result->theta_);
    ASSIGN_OR_RETURN(state.solution,
                     SolveLowerLevel(state.follower, options, c < start.values.size() ? start.values[c] : Vector(),
                                     interrupt, state.world->system()));
    if (problem.contexts[c].weight != 0) {
      result->termination_ = Worse(result->termination_, state.solution.termination);
    }
    if (!std::isfinite(state.solution.residual)) {
      if (problem.contexts[c].weight != 0) return result;  // without weights: products are those of the penalties
      objectives.push_back(std::numeric_limits<double>::quiet_NaN());
      continue;
    }
    state.world->system().SetPolicy(state.solution.backup.pi);
    state.gradient =
        DifferentiateContext(result->RequestOf(c, interrupt), {state.solution.value, state.solution.backup},
                             c < start.adjoints.size() ? start.adjoints[c] : Vector());
    objectives.push_back(state.gradient.objective.value);
  }
  result->weights_ = problem.ActiveWeights(objectives);
  for (size_t c = 0; c < objectives.size(); ++c) {
    if (result->weights_[c] != 0) total.Add(result->weights_[c], result->contexts_[c].gradient.gradient);
  }
  result->theta_gradient_ = std::move(total.theta);
  if (const auto reason = interrupt.Check(); reason.has_value()) {
    result->termination_ = Worse(result->termination_, Termination{*reason, "stopped inside an evaluation"});
  }
  return result;
}

Vector Hessian::ContextGradientOf(size_t context) const {
  const ParameterGradient& gradient = contexts_[context].gradient.gradient;
  return problem_.map.Pullback(x_, gradient.theta) + gradient.x;
}

Vector Hessian::TermGradient(size_t context, size_t term, const Interrupt& interrupt) const {
  const ContextState& state = contexts_[context];
  const ParameterGradient gradient = DifferentiateTermAlone(
      RequestOf(context, interrupt), {state.solution.value, state.solution.backup}, state.gradient, term);
  return problem_.map.Pullback(x_, gradient.theta) + gradient.x;
}

Vector Hessian::Differentiate(const Direction& direction, const Interrupt& interrupt) {
  ++products_;
  ContextDirection of_context{direction.x, problem_.map.Pushforward(x_, direction.x), 0, 0};
  if (direction.theta.size() != 0) of_context.theta += direction.theta;
  ParameterGradient total(x_.size());
  for (size_t c = 0; c < contexts_.size(); ++c) {
    if (weights_[c] == 0) continue;
    of_context.discount = direction.discount.empty() ? 0 : direction.discount[c];
    of_context.temperature = direction.temperature.empty() ? 0 : direction.temperature[c];
    const LowerLevelSolution& solution = contexts_[c].solution;
    total.Add(weights_[c], DifferentiateContextGradient(RequestOf(c, interrupt), {solution.value, solution.backup},
                                                        contexts_[c].gradient, of_context));
  }
  Vector result =
      problem_.map.Pullback(x_, total.theta) + total.x + problem_.map.PullbackTangent(x_, direction.x, theta_gradient_);
  if (problem_.penalties.squared_l2 != 0) result += problem_.sign() * problem_.penalties.squared_l2 * direction.x;
  if (problem_.blend.has_value() && problem_.blend->width > 0) AddBlendTangent(direction.x, result);
  return result;
}

// With v_c = sign weight_c f_c:  dp_c = p_c (dv_c - sum_b p_b dv_b) / mu,  and the gradient sum_c p_c weight_c grad f_c
// moves with p.
void Hessian::AddBlendTangent(const Vector& x_tangent, Vector& gradient_tangent) const {
  std::vector<Vector> gradients(contexts_.size());
  std::vector<double> moves(contexts_.size(), 0.0);
  double mean = 0;
  for (size_t c = 0; c < contexts_.size(); ++c) {
    if (weights_[c] == 0) continue;
    gradients[c] = ContextGradientOf(c);
    moves[c] = problem_.sign() * problem_.contexts[c].weight * gradients[c].dot(x_tangent);
    mean += weights_[c] / problem_.contexts[c].weight * moves[c];
  }
  for (size_t c = 0; c < contexts_.size(); ++c) {
    if (weights_[c] != 0) gradient_tangent += weights_[c] * (moves[c] - mean) / problem_.blend->width * gradients[c];
  }
}

}  // namespace bilevel
