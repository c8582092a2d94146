// How a session learns.

#ifndef BILEVEL_CORE_STREAMING_SESSION_LEARNER_OPTIONS_H_
#define BILEVEL_CORE_STREAMING_SESSION_LEARNER_OPTIONS_H_

#include <optional>

#include "core/mdp/lower_level.h"
#include "core/streaming/drift.h"
#include "core/streaming/estimated_model.h"
#include "core/streaming/session_descent.h"
#include "core/streaming/soft_q_learner.h"

namespace bilevel {

struct SessionLearnerOptions {
  enum class Route {
    kCount,     // transitions are counted and no policy is made: for measuring, and for estimates on request
    kPlugIn,    // the exact solution of the estimated model
    kSoftQ,     // soft Q-learning, no model in its way
    kObserved,  // as the follower was seen to act at this x
  };
  Route route = Route::kPlugIn;
  uint64_t update_interval = 10'000;             // transitions, >= 1
  ModelPrior prior;                              // of kPlugIn, and of residuals
  uint64_t max_distinct = 1'000'000;             // (s,a,s2) and starts counted in one context, >= 1
  size_t trajectory_capacity = 0;                // steps remembered as trajectories
  LowerLevelOptions lower_level;                 // of kPlugIn
  double observed_strength = 1;                  // of kObserved: ObservedPolicy's k, >= 0
  std::optional<EstimatorOptions> estimate;      // made with each policy; none: none
  std::optional<SessionDescentOptions> descent;  // the leader moves x by itself; none: others do. Not of kCount
  std::optional<DriftOptions> drift;             // none: it is not looked for
  // Of kSoftQ.
  SoftQOptions soft_q;
  bool learn_gradient = false;         // grad Q beside Q
  size_t num_features = 0;             // m: Q is linear in the features that come with transitions; 0: a table
  uint64_t replay_capacity = 100'000;  // transitions of one context, >= 1
  int replay_draws = 4;                // learned from again for each that comes, in [0, 1000]
  uint64_t seed = 0;                   // of these draws

  // A field error names the option out of range.
  absl::Status Validate() const;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_SESSION_LEARNER_OPTIONS_H_
