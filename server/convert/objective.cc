#include "server/convert/objective.h"

#include <cmath>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "server/convert/array.h"
#include "server/convert/in_field.h"
#include "server/convert/reward.h"

namespace bilevel::server {
namespace {

constexpr double kSumTolerance = 1e-9;

absl::StatusOr<LeaderReturn> DecodeLeaderReturn(const v1::LeaderReturn& leader, const TabularMdp& mdp, double discount,
                                                int num_parameters) {
  if (!leader.has_reward()) return FieldError("reward", "is absent; the leader's reward is required");
  ASSIGN_OR_RETURN(ParametricReward reward, InField("reward", DecodeReward(leader.reward(), mdp, num_parameters)));
  LeaderReturn result{.reward = std::move(reward),
                      .discount = leader.has_discount() ? leader.discount() : discount,
                      .initial = mdp.initial_distribution()};
  if (!(result.discount >= 0 && result.discount < 1)) {
    return FieldError("discount", absl::StrCat("is ", ToText(result.discount), "; must be in [0, 1)"));
  }
  if (!(result.discount * mdp.max_row_sum() < 1)) {
    return FieldError("discount", absl::StrCat("is ", ToText(result.discount), " and the largest row sum is ",
                                               ToText(mdp.max_row_sum()), "; their product must be below 1"));
  }
  if (leader.has_initial_distribution()) {
    ASSIGN_OR_RETURN(result.initial,
                     InField("initial_distribution", DecodeReals(leader.initial_distribution(), {mdp.num_states()})));
    RETURN_IF_ERROR(InField("initial_distribution", CheckProbabilityVector(result.initial, kSumTolerance)));
  }
  return result;
}

absl::StatusOr<SeparableQuadratic> DecodeSeparableQuadratic(const v1::SeparableQuadratic& term, const TabularMdp& mdp) {
  SeparableQuadratic result{.target = Vector::Zero(mdp.num_rows()), .state_weights = Vector::Ones(mdp.num_states())};
  if (term.has_target()) {
    ASSIGN_OR_RETURN(result.target,
                     InField("target", DecodeReals(term.target(), {mdp.num_states(), mdp.num_actions()})));
  }
  if (term.has_state_weights()) {
    ASSIGN_OR_RETURN(result.state_weights,
                     InField("state_weights", DecodeReals(term.state_weights(), {mdp.num_states()})));
    Eigen::Index at = 0;
    if (result.state_weights.minCoeff(&at) < 0) {
      return FieldError("state_weights",
                        absl::StrCat("entry ", at, " is ", ToText(result.state_weights[at]), "; must be >= 0"));
    }
  }
  return result;
}

}  // namespace

absl::StatusOr<ObjectiveTerm> DecodeObjectiveTerm(const v1::ObjectiveTerm& term, const TabularMdp& mdp, double discount,
                                                  int num_parameters) {
  const double weight = term.has_weight() ? term.weight() : 1;
  if (!std::isfinite(weight)) return FieldError("weight", absl::StrCat("is ", ToText(weight), "; must be finite"));
  switch (term.term_case()) {
    case v1::ObjectiveTerm::kLeaderReturn: {
      ASSIGN_OR_RETURN(LeaderReturn measure, InField("leader_return", DecodeLeaderReturn(term.leader_return(), mdp,
                                                                                         discount, num_parameters)));
      return ObjectiveTerm{weight, std::move(measure)};
    }
    case v1::ObjectiveTerm::kSeparableQuadratic: {
      ASSIGN_OR_RETURN(SeparableQuadratic measure,
                       InField("separable_quadratic", DecodeSeparableQuadratic(term.separable_quadratic(), mdp)));
      return ObjectiveTerm{weight, std::move(measure)};
    }
    default:
      return FieldError("", "has no term; one of leader_return, separable_quadratic is required");
  }
}

}  // namespace bilevel::server
