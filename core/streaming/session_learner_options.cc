#include "core/streaming/session_learner_options.h"

#include <cmath>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"

namespace bilevel {
namespace {

absl::Status CheckAtLeastOne(const char* field, uint64_t value) {
  return value >= 1 ? absl::OkStatus() : FieldError(field, "is 0; must be >= 1");
}

}  // namespace

absl::Status SessionLearnerOptions::Validate() const {
  RETURN_IF_ERROR(CheckAtLeastOne("update_interval", update_interval));
  RETURN_IF_ERROR(CheckAtLeastOne("max_distinct", max_distinct));
  RETURN_IF_ERROR(CheckAtLeastOne("replay_capacity", replay_capacity));
  if (replay_draws < 0 || replay_draws > 1000) {
    return FieldError("replay_draws", absl::StrCat("is ", replay_draws, "; must be in [0, 1000]"));
  }
  if (!(prior.strength >= 0) || !std::isfinite(prior.strength)) {
    return FieldError("prior.strength", absl::StrCat("is ", ToText(prior.strength), "; must be finite and >= 0"));
  }
  if (!(observed_strength >= 0) || !std::isfinite(observed_strength)) {
    return FieldError("observed_strength", absl::StrCat("is ", ToText(observed_strength), "; must be finite and >= 0"));
  }
  RETURN_IF_ERROR(WithField("soft_q.q", soft_q.q.Validate()));
  RETURN_IF_ERROR(WithField("soft_q.gradient", soft_q.gradient.Validate()));
  if (estimate.has_value()) RETURN_IF_ERROR(WithField("estimate", estimate->Validate()));
  if (descent.has_value()) {
    if (route == Route::kCount) return FieldError("outer_loop", "needs a learner that makes policies");
    if (UsesTrajectories(descent->estimator.kind) && trajectory_capacity == 0) {
      return FieldError("outer_loop.estimator", "looks at trajectories, of which trajectory_capacity = 0 keeps none");
    }
    RETURN_IF_ERROR(WithField("outer_loop", descent->Validate()));
    if (descent->descent.momentum && route == Route::kObserved) {
      return FieldError("outer_loop",
                        "has momentum, which asks for the follower's policy at the x before: an observed "
                        "one is seen at x alone");
    }
  }
  if (drift.has_value()) RETURN_IF_ERROR(WithField("drift", drift->Validate()));
  return WithField("lower_level", lower_level.Validate());
}

}  // namespace bilevel
