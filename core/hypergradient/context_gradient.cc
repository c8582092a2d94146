#include "core/hypergradient/context_gradient.h"

#include <utility>

namespace bilevel {
namespace {

// J_r^T lambda + gamma J_P^T (lambda V^T).
void AddImplicitPart(const ContextRequest& request, const Answer& answer, const Vector& lambda,
                     ParameterGradient& gradient) {
  request.context.reward.AddPullbackAt(lambda, request.slope, gradient);
  if (!request.context.dynamics.has_value()) return;
  request.context.dynamics->AddPullback(*request.follower.mdp, 1,
                                        ImplicitDerivative(request.follower, lambda, answer.value), gradient.theta);
}

// How the follower's answer moves.
struct AnswerTangent {
  std::vector<double> transitions;  // empty: fixed
  Vector initial;                   // empty: fixed
  Vector value, pi, log_pi;
};

AnswerTangent DifferentiateAnswer(const ContextRequest& request, const Answer& answer,
                                  const ContextDirection& direction) {
  const RegularizedMdp& follower = request.follower;
  const TabularMdp& mdp = *follower.mdp;
  const double gamma = follower.discount, tau = follower.temperature;
  const Vector& pi = answer.backup.pi;
  AnswerTangent tangent;
  Vector q = request.context.reward.Pushforward(request.x, direction.x, direction.theta);
  if (request.context.dynamics.has_value()) {
    tangent.transitions = request.context.dynamics->TransitionsTangent(direction.theta);
    tangent.initial = request.context.dynamics->InitialTangent(direction.theta);
  }
  if (!tangent.transitions.empty()) q += gamma * mdp.ExpectNext(tangent.transitions, answer.value);
  if (direction.discount != 0) q += direction.discount * mdp.ExpectNext(answer.value);

  Vector b = SumOverActions(mdp, pi.cwiseProduct(q));
  if (direction.temperature != 0) b -= direction.temperature * NegativeEntropy(mdp, answer.backup);
  tangent.value = Vector::Zero(mdp.num_states());
  request.system.Solve(gamma, b, request.options.adjoint_tolerance * b.lpNorm<Eigen::Infinity>(), request.interrupt,
                       tangent.value);
  q += gamma * mdp.ExpectNext(tangent.value);
  tangent.log_pi = (q - RepeatForActions(mdp, tangent.value) - direction.temperature * answer.backup.log_pi) / tau;
  if (!mdp.all_available()) {
    for (Eigen::Index row = 0; row < mdp.num_rows(); ++row) {
      if (!mdp.available(row)) tangent.log_pi[row] = 0;
    }
  }
  tangent.pi = pi.cwiseProduct(tangent.log_pi);
  return tangent;
}

}  // namespace

TermInput InputOf(const ContextRequest& request, const Answer& answer) {
  return {*request.follower.mdp,
          request.follower.discount,
          answer.value,
          answer.backup,
          request.x,
          request.theta,
          request.system,
          request.options.adjoint_tolerance,
          request.interrupt,
          request.context.dynamics.has_value()};
}

ContextGradient DifferentiateContext(const ContextRequest& request, const Answer& answer, const Vector& start,
                                     const ContextObjective* near) {
  ContextObjective objective = EvaluateContextObjective(request.context, InputOf(request, answer), near);
  Adjoint adjoint = SolveAdjoint(request.follower, answer.backup.pi,
                                 {.y = std::exchange(objective.y, {}), .q = {}, .value = objective.follower_value},
                                 request.options.adjoint_tolerance, start, request.interrupt, request.system);
  ParameterGradient gradient = objective.direct;
  AddImplicitPart(request, answer, adjoint.reward_gradient, gradient);
  return {std::move(objective), std::move(adjoint), std::move(gradient)};
}

ParameterGradient DifferentiateTermAlone(const ContextRequest& request, const Answer& answer,
                                         const ContextGradient& value, size_t term) {
  const TermValue& of_term = value.objective.terms[term];
  ParameterGradient gradient(request.x.size());
  AddDirectPart(request.context, InputOf(request, answer), term, 1, of_term, gradient);
  const Adjoint adjoint =
      SolveAdjoint(request.follower, answer.backup.pi, {.y = of_term.y, .q = {}, .value = of_term.follower_value},
                   request.options.adjoint_tolerance, {}, request.interrupt, request.system);
  AddImplicitPart(request, answer, adjoint.reward_gradient, gradient);
  return gradient;
}

ContextRadius BoundContext(const ContextRequest& request, const Answer& answer, ContextGradient& value,
                           FollowerError error, const Vector& theta_rounding, Majorant::Effort effort) {
  const RegularizedMdp& follower = request.follower;
  if (request.context.dynamics.has_value()) effort = Majorant::Effort::kSolves;
  value.adjoint.reward_gradient = {};
  Majorant majorant(*follower.mdp, request.system, follower.discount, error.kappa, request.interrupt, effort);
  ContextObjectiveRadius radius = BoundContextObjective(request.context, InputOf(request, answer), value.objective,
                                                        {error, theta_rounding, majorant});
  TrimTerms(value.objective);
  error.log_pi_radius = {};
  AdjointError adjoint = BoundAdjointError(
      follower, answer.backup.pi, {.y = {}, .q = {}, .value = value.objective.follower_value}, value.adjoint, error,
      std::move(radius.centered_y), radius.centered_y_mass, majorant, request.system);
  error.pi_radius = {};
  Vector& centered_y = value.adjoint.centered_y;
  FormRewardGradient(follower, answer.backup.pi, centered_y, value.adjoint.z, {}, centered_y);
  value.adjoint.reward_gradient = std::move(centered_y);
  if (request.context.dynamics.has_value()) {
    request.context.dynamics->AddPullbackRadius(
        *follower.mdp, 1, ImplicitDerivative(follower, value.adjoint.reward_gradient, answer.value),
        ImplicitDerivative(follower, adjoint.reward_gradient, error.ValueBound()), radius.direct.theta);
  }
  request.context.reward.AddPullbackRadius(std::move(adjoint.reward_gradient), adjoint.reward_gradient_mass,
                                           value.adjoint.reward_gradient, request.x, radius.direct);
  return {radius.value, std::move(radius.direct)};
}

ParameterGradient DifferentiateContextGradient(const ContextRequest& request, const Answer& answer,
                                               const ContextGradient& value, const ContextDirection& direction) {
  const RegularizedMdp& follower = request.follower;
  const TabularMdp& mdp = *follower.mdp;
  const double gamma = follower.discount, tau = follower.temperature;
  const Vector& pi = answer.backup.pi;
  const Adjoint& adjoint = value.adjoint;
  const AnswerTangent tangent = DifferentiateAnswer(request, answer, direction);
  ContextObjectiveTangent objective =
      DifferentiateContextObjective(request.context, InputOf(request, answer), value.objective,
                                    {direction.x, direction.theta, tangent.value, tangent.pi, tangent.log_pi,
                                     tangent.transitions, tangent.initial, direction.discount});

  // yc = y - pi ybar.
  Vector ybar = Vector::Zero(mdp.num_states());
  for (size_t t = 0; t < value.objective.terms.size(); ++t) {
    ybar += request.context.objective[t].weight * SumOverActions(mdp, value.objective.terms[t].y);
  }
  const Vector centered = CenterCotangent(mdp, pi, objective.y) - tangent.pi.cwiseProduct(RepeatForActions(mdp, ybar));
  // What z' is multiplied by and what it answers to, in (I - gamma P^pi)^T z' = -gamma P^T yc - tau g_V.
  const Vector moved = tangent.pi.cwiseProduct(RepeatForActions(mdp, adjoint.z));
  const Vector pushed = pi.cwiseProduct(RepeatForActions(mdp, adjoint.z)) - adjoint.centered_y;
  Vector b = gamma * mdp.PushForward(moved - centered);
  if (!tangent.transitions.empty()) b += gamma * mdp.PushForward(tangent.transitions, pushed);
  if (direction.discount != 0) b += direction.discount * mdp.PushForward(pushed);
  if (objective.follower_value.size() != 0) b -= tau * objective.follower_value;
  if (value.objective.follower_value.size() != 0) b -= direction.temperature * value.objective.follower_value;
  Vector z = Vector::Zero(mdp.num_states());
  request.system.SolveTransposed(gamma, b, request.options.adjoint_tolerance * b.lpNorm<1>(), request.interrupt, z);
  const Vector lambda =
      (centered - moved - pi.cwiseProduct(RepeatForActions(mdp, z)) - direction.temperature * adjoint.reward_gradient) /
      tau;

  ParameterGradient result = std::move(objective.direct);
  request.context.reward.AddPullbackTangent(adjoint.reward_gradient, lambda, request.x, direction.x, result);
  if (request.context.dynamics.has_value()) {
    const Vector row = gamma * lambda + direction.discount * adjoint.reward_gradient;
    request.context.dynamics->AddPullbackTangent(mdp, 1,
                                                 ImplicitDerivative(follower, adjoint.reward_gradient, answer.value),
                                                 {row, tangent.value, {}}, result.theta);
  }
  return result;
}

}  // namespace bilevel
