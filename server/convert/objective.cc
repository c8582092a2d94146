#include "server/convert/objective.h"

#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "server/convert/array.h"
#include "server/convert/in_field.h"
#include "server/convert/matrix.h"
#include "server/convert/reward.h"

namespace bilevel::server {
namespace {

constexpr double kSumTolerance = 1e-9;

// The message's own discount, where it has one.
template <typename Message>
absl::StatusOr<std::optional<double>> DecodeDiscount(const Message& message, const TabularMdp& mdp) {
  if (!message.has_discount()) return std::optional<double>();
  const double discount = message.discount();
  if (!(discount >= 0 && discount < 1)) {
    return FieldError("discount", absl::StrCat("is ", ToText(discount), "; must be in [0, 1)"));
  }
  if (!(discount * mdp.max_row_sum() < 1)) {
    return FieldError("discount", absl::StrCat("is ", ToText(discount), " and the largest row sum is ",
                                               ToText(mdp.max_row_sum()), "; their product must be below 1"));
  }
  return std::optional<double>(discount);
}

// The message's own initial distribution; empty where it has none.
template <typename Message>
absl::StatusOr<Vector> DecodeInitial(const Message& message, const TabularMdp& mdp) {
  if (!message.has_initial_distribution()) return Vector();
  ASSIGN_OR_RETURN(Vector initial,
                   InField("initial_distribution", DecodeReals(message.initial_distribution(), {mdp.num_states()})));
  RETURN_IF_ERROR(InField("initial_distribution", CheckProbabilityVector(initial, kSumTolerance)));
  return initial;
}

absl::Status CheckNonNegative(std::string_view field, const Vector& values) {
  Eigen::Index at = 0;
  if (values.minCoeff(&at) >= 0) return absl::OkStatus();
  return FieldError(field, absl::StrCat("entry ", at, " is ", ToText(values[at]), "; must be >= 0"));
}

std::string PairName(const TabularMdp& mdp, Eigen::Index row) {
  return absl::StrCat("entry ", row, " (s=", row / mdp.num_actions(), ", a=", row % mdp.num_actions(), ")");
}

absl::Status CheckUnavailable(std::string_view field, const TabularMdp& mdp, const Vector& values) {
  for (Eigen::Index row = 0; row < values.size(); ++row) {
    if (!mdp.available(row) && values[row] != 0) {
      return FieldError(field, absl::StrCat(PairName(mdp, row), " is ", ToText(values[row]),
                                            "; must be 0 where the action is not available"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<LeaderReturn> DecodeLeaderReturn(const v1::LeaderReturn& leader, const TermContext& context) {
  if (!leader.has_reward()) return FieldError("reward", "is absent; the leader's reward is required");
  ASSIGN_OR_RETURN(ParametricReward reward, InField("reward", DecodeReward(leader.reward(), context.mdp,
                                                                           context.dynamics, context.num_parameters)));
  ASSIGN_OR_RETURN(const std::optional<double> discount, DecodeDiscount(leader, context.mdp));
  ASSIGN_OR_RETURN(Vector initial, DecodeInitial(leader, context.mdp));
  return LeaderReturn{.reward = std::move(reward), .discount = discount, .initial = std::move(initial)};
}

absl::StatusOr<FeatureMatching> DecodeFeatureMatching(const v1::FeatureMatching& term, const TabularMdp& mdp) {
  FeatureMatching result;
  ASSIGN_OR_RETURN(const int64_t k, InField("target", CountElements(term.target())));
  if (k < 1) return FieldError("target", "is empty; must have one entry for each feature");
  ASSIGN_OR_RETURN(result.target, InField("target", DecodeReals(term.target(), {k})));
  ASSIGN_OR_RETURN(result.features, InField("features", DecodeSparseRows(term.features(), mdp.num_rows(), k)));
  ASSIGN_OR_RETURN(result.discount, DecodeDiscount(term, mdp));
  ASSIGN_OR_RETURN(result.initial, DecodeInitial(term, mdp));
  return result;
}

absl::StatusOr<Demonstrations> DecodeDemonstrations(const v1::Demonstrations& term, const TabularMdp& mdp) {
  if (!term.has_counts()) return FieldError("counts", "is absent; required, [num_states, num_actions]");
  ASSIGN_OR_RETURN(const Vector counts,
                   InField("counts", DecodeReals(term.counts(), {mdp.num_states(), mdp.num_actions()})));
  RETURN_IF_ERROR(CheckNonNegative("counts", counts));
  RETURN_IF_ERROR(CheckUnavailable("counts", mdp, counts));
  const double largest = counts.maxCoeff();
  if (largest == 0) return FieldError("counts", "are all 0; at least one choice must have been seen");
  // Scaled first, so that the sum stays finite.
  const Vector scaled = counts / largest;
  return Demonstrations{scaled / scaled.sum()};
}

absl::Status CheckKlTarget(const Separable& term, const TabularMdp& mdp) {
  RETURN_IF_ERROR(CheckNonNegative("target", term.target));
  RETURN_IF_ERROR(CheckUnavailable("target", mdp, term.target));
  const Vector sums = SumOverActions(mdp, term.target);
  for (Eigen::Index s = 0; s < sums.size(); ++s) {
    if (!(std::abs(sums[s] - 1) <= kSumTolerance)) {
      return FieldError("target", absl::StrCat("sums to ", ToText(sums[s]), " in state ", s, "; must sum to 1 +- ",
                                               ToText(kSumTolerance), " for a KL divergence"));
    }
  }
  if (term.kind != Separable::Kind::kReverseKl) return absl::OkStatus();
  for (Eigen::Index row = 0; row < term.target.size(); ++row) {
    if (mdp.available(row) && term.target[row] == 0) {
      return FieldError("target", absl::StrCat(PairName(mdp, row),
                                               " is 0; must be > 0 for KIND_REVERSE_KL, which is "
                                               "infinite there"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Separable> DecodeSeparable(const v1::Separable& term, const TabularMdp& mdp) {
  Separable result{.target = {}, .state_weights = Vector::Ones(mdp.num_states())};
  switch (term.kind()) {
    case v1::Separable::KIND_UNSPECIFIED:
    case v1::Separable::KIND_SQUARED_DISTANCE:
      break;
    case v1::Separable::KIND_FORWARD_KL:
      result.kind = Separable::Kind::kForwardKl;
      break;
    case v1::Separable::KIND_REVERSE_KL:
      result.kind = Separable::Kind::kReverseKl;
      break;
    case v1::Separable::KIND_ENTROPY:
      result.kind = Separable::Kind::kEntropy;
      break;
    default:
      return FieldError("kind", absl::StrCat("is ", static_cast<int>(term.kind()),
                                             "; must be one of KIND_SQUARED_DISTANCE, KIND_FORWARD_KL, "
                                             "KIND_REVERSE_KL, KIND_ENTROPY"));
  }
  if (term.has_target()) {
    if (result.kind == Separable::Kind::kEntropy) {
      return FieldError("target", "is present; KIND_ENTROPY has none");
    }
    ASSIGN_OR_RETURN(result.target,
                     InField("target", DecodeReals(term.target(), {mdp.num_states(), mdp.num_actions()})));
  }
  const bool kl = result.kind == Separable::Kind::kForwardKl || result.kind == Separable::Kind::kReverseKl;
  if (kl && !term.has_target()) return FieldError("target", "is absent; required for a KL divergence");
  if (kl) RETURN_IF_ERROR(CheckKlTarget(result, mdp));
  if (term.has_state_weights()) {
    ASSIGN_OR_RETURN(result.state_weights,
                     InField("state_weights", DecodeReals(term.state_weights(), {mdp.num_states()})));
    RETURN_IF_ERROR(CheckNonNegative("state_weights", result.state_weights));
  }
  return result;
}

// A decoded measure as an objective term.
template <typename Measure>
absl::StatusOr<ObjectiveTerm> Weighted(double weight, std::string_view field, absl::StatusOr<Measure> measure) {
  if (!measure.ok()) return WithField(field, measure.status());
  return ObjectiveTerm{weight, *std::move(measure)};
}

}  // namespace

absl::StatusOr<ObjectiveTerm> DecodeObjectiveTerm(const v1::ObjectiveTerm& term, const TermContext& context) {
  const double weight = term.has_weight() ? term.weight() : 1;
  if (!std::isfinite(weight)) return FieldError("weight", absl::StrCat("is ", ToText(weight), "; must be finite"));
  const TabularMdp& mdp = context.mdp;
  switch (term.term_case()) {
    case v1::ObjectiveTerm::kLeaderReturn:
      return Weighted(weight, "leader_return", DecodeLeaderReturn(term.leader_return(), context));
    case v1::ObjectiveTerm::kSeparable:
      return Weighted(weight, "separable", DecodeSeparable(term.separable(), mdp));
    case v1::ObjectiveTerm::kFeatureMatching:
      return Weighted(weight, "feature_matching", DecodeFeatureMatching(term.feature_matching(), mdp));
    case v1::ObjectiveTerm::kDemonstrations:
      return Weighted(weight, "demonstrations", DecodeDemonstrations(term.demonstrations(), mdp));
    case v1::ObjectiveTerm::kFollowerValue: {
      ASSIGN_OR_RETURN(Vector initial, InField("follower_value", DecodeInitial(term.follower_value(), mdp)));
      return ObjectiveTerm{weight, FollowerValue{std::move(initial)}};
    }
    default:
      return FieldError("",
                        "has no term; one of leader_return, separable, feature_matching, demonstrations, "
                        "follower_value is required");
  }
}

}  // namespace bilevel::server
