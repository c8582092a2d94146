#include "server/convert/session_learner.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "core/streaming/recorded_gradient.h"
#include "core/streaming/recorded_preferences.h"
#include "server/convert/count.h"
#include "server/convert/drift.h"
#include "server/convert/estimate.h"
#include "server/convert/in_field.h"
#include "server/convert/options.h"
#include "server/convert/outer_loop.h"

namespace bilevel::server {
namespace {

constexpr double kMaxDistinct = 1'000'000;
constexpr int kMaxFeatures = 100'000;
constexpr size_t kTrajectorySteps = 100'000;

absl::StatusOr<ModelPrior> DecodePrior(const v1::ModelPrior& message) {
  ModelPrior prior{ModelPrior::Kind::kStay, message.strength()};
  if (!(prior.strength >= 0) || !std::isfinite(prior.strength)) {
    return FieldError("strength", absl::StrCat("is ", ToText(prior.strength), "; must be finite and >= 0"));
  }
  switch (message.kind()) {
    case v1::ModelPrior::KIND_UNSPECIFIED:
    case v1::ModelPrior::KIND_STAY:
      return prior;
    case v1::ModelPrior::KIND_END:
      prior.kind = ModelPrior::Kind::kEnd;
      return prior;
    case v1::ModelPrior::KIND_NEIGHBOURS:
      prior.kind = ModelPrior::Kind::kNeighbours;
      return prior;
    default:
      return FieldError("kind", absl::StrCat("is ", message.kind(),
                                             "; must be KIND_STAY, KIND_END or "
                                             "KIND_NEIGHBOURS"));
  }
}

absl::Status CheckFollower(v1::Follower follower, SessionLearnerOptions::Route route) {
  using Route = SessionLearnerOptions::Route;
  if (!v1::Follower_IsValid(follower)) {
    return FieldError("follower", absl::StrCat("is ", static_cast<int>(follower),
                                               "; must be FOLLOWER_SOLVED, FOLLOWER_SIMULATED or FOLLOWER_OBSERVED"));
  }
  const bool observed = follower == v1::FOLLOWER_OBSERVED;
  if (observed && route == Route::kSoftQ) {
    return FieldError("soft_q", "is given for an OBSERVED follower, whose policy is seen and not solved for");
  }
  if (!observed && route == Route::kObserved) {
    return FieldError("observed", "is given; only an OBSERVED follower's policy is seen");
  }
  return absl::OkStatus();
}

// Whether the session will have what the estimator looks at.
absl::Status CheckEstimator(const char* field, const EstimatorOptions& estimator, const BilevelProblem& problem,
                            const SessionLearnerOptions& options, bool holds_preferences) {
  const bool preferences = UsesPreferences(estimator.kind);
  if (!preferences && !UsesTrajectories(estimator.kind)) return absl::OkStatus();
  if (preferences && !holds_preferences) return FieldError(field, "needs preferences; preference_capacity is 0");
  if (!preferences && options.trajectory_capacity == 0) {
    return FieldError(field, "needs trajectories; trajectory_capacity is 0");
  }
  const absl::Status can = preferences ? CheckPreferable(problem, estimator, options.learn_gradient)
                                       : CheckRecordable(problem, estimator, options.learn_gradient);
  return can.ok() ? can : FieldError(field, std::string(can.message()));
}

}  // namespace

absl::StatusOr<SessionLearnerOptions> DecodeSessionLearner(const v1::CreateSessionRequest& request,
                                                           const BilevelProblem& problem) {
  using Route = SessionLearnerOptions::Route;
  SessionLearnerOptions options;
  options.seed = request.seed();
  ASSIGN_OR_RETURN(options.update_interval, AtLeastOne<uint64_t>("update_interval", request.has_update_interval(),
                                                                 request.update_interval(), options.update_interval));
  double distinct = 1;
  for (const Context& context : problem.contexts) {
    const double all = (static_cast<double>(context.mdp->num_rows()) + 1) * (context.mdp->num_states() + 1.0);
    distinct = std::max(distinct, std::min(all, kMaxDistinct));
  }
  ASSIGN_OR_RETURN(options.max_distinct, AtLeastOne("max_distinct", request.has_max_distinct(), request.max_distinct(),
                                                    static_cast<uint64_t>(distinct)));
  ASSIGN_OR_RETURN(options.prior, InField("prior", DecodePrior(request.prior())));
  switch (request.learner_case()) {
    case v1::CreateSessionRequest::kCount:
      options.route = Route::kCount;
      break;
    case v1::CreateSessionRequest::kObserved:
      options.route = Route::kObserved;
      if (request.observed().has_strength()) options.observed_strength = request.observed().strength();
      if (!(options.observed_strength >= 0) || !std::isfinite(options.observed_strength)) {
        return FieldError("observed.strength",
                          absl::StrCat("is ", ToText(options.observed_strength), "; must be finite and >= 0"));
      }
      break;
    case v1::CreateSessionRequest::kSoftQ: {
      options.route = Route::kSoftQ;
      const v1::SoftQLearner& soft_q = request.soft_q();
      ASSIGN_OR_RETURN(options.soft_q.q, InField("soft_q.q", DecodeSchedule(soft_q.q())));
      ASSIGN_OR_RETURN(options.replay_capacity, AtLeastOne("soft_q.replay_capacity", soft_q.has_replay_capacity(),
                                                           soft_q.replay_capacity(), options.replay_capacity));
      if (soft_q.has_replay_draws()) options.replay_draws = soft_q.replay_draws();
      ASSIGN_OR_RETURN(options.soft_q.gradient, InField("soft_q.gradient", DecodeSchedule(soft_q.gradient())));
      options.learn_gradient = soft_q.learn_gradient();
      if (soft_q.num_features() < 0 || soft_q.num_features() > kMaxFeatures) {
        return FieldError("soft_q.num_features",
                          absl::StrCat("is ", soft_q.num_features(), "; must be in [0, ", kMaxFeatures, "]"));
      }
      options.num_features = static_cast<size_t>(soft_q.num_features());
      break;
    }
    default: {
      if (request.follower() == v1::FOLLOWER_OBSERVED) {
        if (request.has_plug_in()) {
          return FieldError("plug_in", "is given for an OBSERVED follower, whose policy is seen and not solved for");
        }
        options.route = Route::kObserved;
        break;
      }
      ASSIGN_OR_RETURN(options.lower_level,
                       InField("plug_in.lower_level", DecodeLowerLevel(request.plug_in().lower_level())));
      options.lower_level.refuse_unreachable = false;
      break;
    }
  }
  if (request.has_estimate_with_policy()) {
    ASSIGN_OR_RETURN(options.estimate,
                     InField("estimate_with_policy", DecodeEstimator(request.estimate_with_policy())));
    RETURN_IF_ERROR(InField("problem", CheckObjective(problem)));
  }
  if (request.has_drift()) {
    ASSIGN_OR_RETURN(options.drift, InField("drift", DecodeDriftTest(request.drift())));
  }
  absl::Status valid = options.Validate();
  if (!valid.ok()) return options.route == Route::kSoftQ ? WithField("soft_q", valid) : valid;
  RETURN_IF_ERROR(CheckFollower(request.follower(), options.route));
  if (request.follower() == v1::FOLLOWER_SIMULATED || request.follower() == v1::FOLLOWER_OBSERVED) {
    options.trajectory_capacity = kTrajectorySteps;
  }
  if (request.has_trajectory_capacity()) {
    if (request.trajectory_capacity() < 0) {
      return FieldError("trajectory_capacity", absl::StrCat("is ", request.trajectory_capacity(), "; must be >= 0"));
    }
    options.trajectory_capacity = static_cast<size_t>(request.trajectory_capacity());
  }
  if (options.estimate.has_value()) {
    if (UsesPreferences(options.estimate->kind)) {
      return FieldError("estimate_with_policy.estimator",
                        "needs preferences, which no order ties to policies; EstimateHypergradient answers");
    }
    RETURN_IF_ERROR(CheckEstimator("estimate_with_policy.estimator", *options.estimate, problem, options, false));
  }
  if (request.has_outer_loop()) {
    ASSIGN_OR_RETURN(options.descent, InField("outer_loop", DecodeOuterLoop(request.outer_loop())));
    const EstimatorOptions& estimator = options.descent->estimator;
    const bool preferences =
        request.has_preference_capacity() ? request.preference_capacity() > 0 : options.trajectory_capacity > 0;
    if (!UsesPreferences(estimator.kind)) RETURN_IF_ERROR(InField("problem", CheckObjective(problem)));
    RETURN_IF_ERROR(CheckEstimator("outer_loop.estimator.estimator", estimator, problem, options, preferences));
    if (options.route == Route::kCount) return FieldError("outer_loop", "is given with count, which makes no policies");
    if (options.descent->descent.momentum && options.route == Route::kObserved) {
      return FieldError("outer_loop.stoc_sobirl_storm",
                        "is given for an OBSERVED follower, whose policy at the x before it asks for; it is seen at x "
                        "alone");
    }
  }
  return options;
}

}  // namespace bilevel::server
