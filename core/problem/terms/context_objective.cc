#include "core/problem/terms/context_objective.h"

#include <cmath>
#include <utility>
#include <variant>

#include "core/base/floating_point.h"

namespace bilevel {
namespace {

// The reward through which a term depends on x directly.
const ParametricReward* DirectReward(const ObjectiveTerm& term) {
  const LeaderReturn* leader = std::get_if<LeaderReturn>(&term.measure);
  return leader == nullptr ? nullptr : &leader->reward;
}

// sum += weight * part, where empty vectors stand for 0.
void Add(double weight, const Vector& part, Vector& sum) {
  if (part.size() == 0) return;
  if (sum.size() == 0) {
    sum = weight * part;
  } else {
    sum += weight * part;
  }
}

}  // namespace

void AddDirectPart(const Context& context, const TermInput& input, size_t term, double weight, const TermValue& value,
                   ParameterGradient& gradient) {
  if (value.direct.reward.size() != 0) {
    DirectReward(context.objective[term])->AddPullback(weight * value.direct.reward, input.x, gradient);
  }
  if (context.dynamics.has_value()) {
    context.dynamics->AddPullback(input.mdp, weight, value.direct.environment, gradient.theta);
  }
}

ContextObjective EvaluateContextObjective(const Context& context, const TermInput& input,
                                          const ContextObjective* near) {
  ContextObjective result{0, {}, {}, ParameterGradient(input.x.size()), {}};
  for (size_t t = 0; t < context.objective.size(); ++t) {
    const ObjectiveTerm& term = context.objective[t];
    const TermValue* start = near == nullptr ? nullptr : &near->terms[t];
    TermValue value =
        std::visit([&](const auto& measure) { return EvaluateTerm(measure, input, start); }, term.measure);
    result.value += term.weight * value.value;
    Add(term.weight, value.y, result.y);
    Add(term.weight, value.follower_value, result.follower_value);
    AddDirectPart(context, input, t, term.weight, value, result.direct);
    result.terms.push_back(std::move(value));
  }
  if (result.y.size() == 0) result.y = Vector::Zero(input.pi().size());
  return result;
}

void TrimTerms(ContextObjective& objective) {
  for (TermValue& term : objective.terms) term.y = term.direct.reward = term.cost = {};
}

ContextObjectiveRadius BoundContextObjective(const Context& context, const TermInput& input,
                                             const ContextObjective& objective, const TermErrorInput& errors) {
  ContextObjectiveRadius result{0, {}, 0, ParameterGradient(input.x.size())};
  const double terms = static_cast<double>(context.objective.size()), steps = terms + 8;
  for (size_t t = 0; t < context.objective.size(); ++t) {
    const ObjectiveTerm& term = context.objective[t];
    const TermValue& value = objective.terms[t];
    const double weight = std::abs(term.weight);
    TermRadius radius =
        std::visit([&](const auto& measure) { return BoundTermError(measure, input, value, errors); }, term.measure);
    result.value += weight * (radius.value + steps * kUnitRoundoff * std::abs(value.value));
    radius.centered_y = weight * radius.centered_y + (steps * kUnitRoundoff * weight) * value.y.cwiseAbs();
    if (t == 0) {
      result.centered_y = std::move(radius.centered_y);
    } else {
      result.centered_y += radius.centered_y;
    }
    result.centered_y_mass += weight * radius.centered_y_mass;
    if (radius.direct.reward.size() != 0) {
      DirectReward(term)->AddPullbackRadius(weight * radius.direct.reward, weight * radius.direct_reward_mass,
                                            (1 + terms) * weight * value.direct.reward, input.x, result.direct);
    }
    if (context.dynamics.has_value()) {
      context.dynamics->AddPullbackRadius(input.mdp, weight, value.direct.environment, radius.direct.environment,
                                          result.direct.theta);
    }
  }
  return result;
}

ContextObjectiveTangent DifferentiateContextObjective(const Context& context, const TermInput& input,
                                                      const ContextObjective& objective,
                                                      const TermTangentInput& tangent) {
  ContextObjectiveTangent result{Vector::Zero(input.pi().size()), {}, ParameterGradient(input.x.size())};
  for (size_t t = 0; t < context.objective.size(); ++t) {
    const ObjectiveTerm& term = context.objective[t];
    const TermValue& value = objective.terms[t];
    const TermTangent move = std::visit(
        [&](const auto& measure) { return DifferentiateTerm(measure, input, value, tangent); }, term.measure);
    result.y += term.weight * move.y;
    Add(term.weight, move.follower_value, result.follower_value);
    if (move.direct.reward.size() != 0) {
      DirectReward(term)->AddPullbackTangent(term.weight * value.direct.reward, term.weight * move.direct.reward,
                                             input.x, tangent.x, result.direct);
    }
    if (context.dynamics.has_value()) {
      context.dynamics->AddPullbackTangent(input.mdp, term.weight, value.direct.environment, move.direct.environment,
                                           result.direct.theta);
    }
  }
  return result;
}

}  // namespace bilevel
