#include "core/problem/context_objective.h"

#include <cmath>
#include <utility>
#include <variant>

namespace bilevel {
namespace {

constexpr double kUnitRoundoff = 0x1p-53;

// The reward through which a term depends on x directly.
const ParametricReward* DirectReward(const ObjectiveTerm& term) {
  const LeaderReturn* leader = std::get_if<LeaderReturn>(&term.measure);
  return leader == nullptr ? nullptr : &leader->reward;
}

}  // namespace

ContextObjective EvaluateContextObjective(const Context& context, const TermInput& input,
                                          const ContextObjective* near) {
  ContextObjective result{0, Vector::Zero(input.pi.size()), ParameterGradient(input.x.size()), {}};
  for (size_t t = 0; t < context.objective.size(); ++t) {
    const ObjectiveTerm& term = context.objective[t];
    const TermValue* start = near == nullptr ? nullptr : &near->terms[t];
    TermValue value =
        std::visit([&](const auto& measure) { return EvaluateTerm(measure, input, start); }, term.measure);
    result.value += term.weight * value.value;
    result.y += term.weight * value.y;
    if (value.direct_weight.size() != 0) {
      DirectReward(term)->AddPullback(term.weight * value.direct_weight, input.x, result.direct);
    }
    result.terms.push_back(std::move(value));
  }
  return result;
}

ContextObjectiveRadius BoundContextObjective(const Context& context, const TermInput& input,
                                             const ContextObjective& objective, const TermErrorInput& errors) {
  ContextObjectiveRadius result{0, Vector::Zero(input.pi.size()), ParameterGradient(input.x.size())};
  const double steps = static_cast<double>(context.objective.size()) + 8;
  for (size_t t = 0; t < context.objective.size(); ++t) {
    const ObjectiveTerm& term = context.objective[t];
    const TermValue& value = objective.terms[t];
    const double weight = std::abs(term.weight);
    const TermRadius radius =
        std::visit([&](const auto& measure) { return BoundTermError(measure, input, value, errors); }, term.measure);
    result.value += weight * (radius.value + steps * kUnitRoundoff * std::abs(value.value));
    result.centered_y += weight * radius.centered_y + (steps * kUnitRoundoff * weight) * value.y.cwiseAbs();
    if (radius.direct_weight.size() != 0) {
      DirectReward(term)->AddPullbackRadius(weight * radius.direct_weight, weight * value.direct_weight.cwiseAbs(),
                                            input.x, result.direct);
    }
  }
  return result;
}

}  // namespace bilevel
