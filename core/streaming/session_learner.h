// What a session learns: from transitions, one after the other, to the follower's policy at the leader's x.
//
// The state depends on the transitions, their order and where x changes between them, and on nothing else; a policy is
// made after every `update_interval` of them: learning twice from the same order gives the same bits.

#ifndef BILEVEL_CORE_STREAMING_SESSION_LEARNER_H_
#define BILEVEL_CORE_STREAMING_SESSION_LEARNER_H_

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/streaming/plug_in.h"
#include "core/streaming/replay.h"
#include "core/streaming/soft_q_learner.h"
#include "core/streaming/trajectory_store.h"
#include "core/streaming/writer_queue.h"

namespace bilevel {

struct SessionLearnerOptions {
  enum class Route {
    kCount,     // transitions are counted and no policy is made: for measuring, and for estimates on request
    kPlugIn,    // the exact solution of the estimated model
    kSoftQ,     // soft Q-learning, no model in its way
    kObserved,  // as the follower was seen to act at this x
  };
  Route route = Route::kPlugIn;
  uint64_t update_interval = 10'000;  // transitions, >= 1
  ModelPrior prior;                   // of kPlugIn, and of residuals
  uint64_t max_distinct = 1'000'000;  // (s,a,s2) and starts counted in one context, >= 1
  size_t trajectory_capacity = 0;     // steps remembered as trajectories
  LowerLevelOptions lower_level;      // of kPlugIn
  double observed_strength = 1;       // of kObserved: ObservedPolicy's k, >= 0
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

// The follower of one context as far as it is known.
struct ContextPolicy {
  Vector pi;      // [S*A]
  Vector log_pi;  // [S*A]
  Vector value;   // V [S]
  // max |V - T V| on the model that the counts estimate: rounding for kPlugIn; for kSoftQ how far learning has come;
  // for kObserved, V being the value of the observed policy, how far that is from soft-optimal.
  double residual = 0;
  int64_t unseen_rows = 0;  // available (s,a) never seen
};

struct PolicySnapshot {
  uint64_t version = 0;  // 1, 2, ...
  uint64_t merged = 0;   // transitions that it has learned from
  Vector parameters;     // x
  uint32_t parameters_version = 0;
  std::vector<ContextPolicy> contexts;
};

class SessionLearner {
 public:
  // problem: its environments say sizes, available actions and, where `initial_known`, where episodes begin; their
  // transitions are not looked at. Dynamics must not depend on x. Field errors: options.
  static absl::StatusOr<SessionLearner> Create(BilevelProblem problem, bool initial_known, Vector x,
                                               const SessionLearnerOptions& options);

  // One transition, valid by Rules(), and its features [2m]. Cost: O(1); kSoftQ: O((1 + replay_draws) A d).
  void Learn(size_t writer, const Transition& transition, std::span<const double> features = {});

  // x from then on, when `after` transitions are merged. FAILED_PRECONDITION when more are merged already, unless that
  // very change was made; RESOURCE_EXHAUSTED beyond kMaxScheduled changes to come.
  absl::Status SetParameters(uint64_t after, Vector x);
  static constexpr size_t kMaxScheduled = 1024;

  // Whether a policy is due: update_interval transitions after the last.
  bool due() const { return options_.route != SessionLearnerOptions::Route::kCount && merged_ == next_update_; }

  // Makes it. Cost: kPlugIn: one solve of each context; kSoftQ: one sweep. An interruption leaves it due.
  absl::StatusOr<std::optional<PolicySnapshot>> Update(const Interrupt& interrupt);

  // What transitions have to fit.
  TransitionRules Rules(size_t max_open_episodes) const;

  uint64_t merged() const { return merged_; }
  // What the transitions say, for estimates.
  std::vector<ContextCounts> Counts() const;
  uint64_t dropped() const;  // transitions of a new kind for which there was no room
  const BilevelProblem& problem() const { return problem_; }
  const Vector& parameters() const { return x_; }
  uint32_t parameters_version() const { return parameters_version_; }  // 1, 2, ...
  const SessionLearnerOptions& options() const { return options_; }
  const TrajectoryStore& trajectories() const { return trajectories_; }
  // Where grad Q is learned: grad Q - grad V at the learned policy, [S*A, d] for each context; else empty.
  std::vector<RowMatrix> LearnedScores() const;

  // Bytes that it may come to hold.
  static double MaxBytes(const BilevelProblem& problem, const SessionLearnerOptions& options);

 private:
  struct Remembered {
    int32_t state, action, next;  // next < 0: ended
  };
  struct ContextState {
    ModelFrame frame;
    TransitionCounts counts;
    Replay<Remembered> replay;
    std::optional<SoftQLearner> soft_q;
    RowMatrix features;  // phi(s) as last seen, [S, m]
    Vector visits;       // of kObserved: n(s,a) at this x [S*A]
    Vector value;        // where the next solve starts
  };

  SessionLearner(BilevelProblem problem, Vector x, const SessionLearnerOptions& options)
      : problem_(std::move(problem)),
        x_(std::move(x)),
        options_(options),
        trajectories_(options.trajectory_capacity),
        next_update_(options.update_interval),
        rng_(options.seed) {}

  Vector RewardOf(size_t context) const;
  void ApplyScheduled();
  void LearnSoftQ(ContextState& state, const Remembered& step);
  // phi(s), in `buffer` where it is not one-hot.
  Features FeaturesOf(const ContextState& state, int s, std::vector<Feature>& buffer) const;
  absl::StatusOr<std::optional<ContextPolicy>> MakePolicy(size_t context, const Interrupt& interrupt);
  absl::StatusOr<std::optional<ContextPolicy>> SolveModel(size_t context, const Interrupt& interrupt);
  absl::StatusOr<std::optional<ContextPolicy>> ReadObserved(size_t context, const Interrupt& interrupt) const;
  absl::StatusOr<ContextPolicy> ReadSoftQ(size_t context) const;

  BilevelProblem problem_;
  Vector x_;
  uint32_t parameters_version_ = 1;
  SessionLearnerOptions options_;
  std::vector<ContextState> contexts_;
  TrajectoryStore trajectories_;
  std::map<uint64_t, Vector> scheduled_;
  uint64_t last_change_ = 0;  // merged_ when x_ was set
  uint64_t merged_ = 0, version_ = 0, next_update_;
  Rng rng_;
  std::vector<Feature> here_, there_;  // of the step under way
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_SESSION_LEARNER_H_
