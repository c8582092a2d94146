// What a session learns: from transitions, one after the other, to the follower's policy at the leader's x.
//
// The state depends on the transitions and their order alone, and a policy is made after every `update_interval` of
// them: learning twice from the same order gives the same bits.

#ifndef BILEVEL_CORE_STREAMING_SESSION_LEARNER_H_
#define BILEVEL_CORE_STREAMING_SESSION_LEARNER_H_

#include <memory>
#include <optional>
#include <vector>

#include "core/streaming/plug_in.h"
#include "core/streaming/replay.h"
#include "core/streaming/soft_q_learner.h"
#include "core/streaming/writer_queue.h"

namespace bilevel {

struct SessionLearnerOptions {
  enum class Route {
    kCount,   // transitions are counted and no policy is made: for measuring, and for estimates on request
    kPlugIn,  // the exact solution of the estimated model
    kSoftQ,   // soft Q-learning, no model in its way
  };
  Route route = Route::kPlugIn;
  uint64_t update_interval = 10'000;   // transitions, >= 1
  ModelPrior prior;                    // of kPlugIn, and of residuals
  uint64_t max_distinct = 1'000'000;   // (s,a,s2) and starts counted in one context, >= 1
  SoftQOptions soft_q;                 // the rest: of kSoftQ
  uint64_t replay_capacity = 100'000;  // transitions of one context, >= 1
  int replay_draws = 4;                // learned from again for each that comes, in [0, 1000]
  uint64_t seed = 0;                   // of these draws
  LowerLevelOptions lower_level;       // of kPlugIn

  // A field error names the option out of range.
  absl::Status Validate() const;
};

// The follower of one context as far as it is known.
struct ContextPolicy {
  Vector pi;      // [S*A]
  Vector log_pi;  // [S*A]
  Vector value;   // V [S]
  // max |V - T V| on the model that the counts estimate: rounding for kPlugIn; for kSoftQ how far learning has come.
  double residual = 0;
  int64_t unseen_rows = 0;  // available (s,a) never seen
};

struct PolicySnapshot {
  uint64_t version = 0;  // 1, 2, ...
  uint64_t merged = 0;   // transitions that it has learned from
  Vector parameters;     // x
  std::vector<ContextPolicy> contexts;
};

class SessionLearner {
 public:
  // problem: its environments say sizes, available actions and, where `initial_known`, where episodes begin; their
  // transitions are not looked at. Dynamics must not depend on x. Field errors: options.
  static absl::StatusOr<SessionLearner> Create(BilevelProblem problem, bool initial_known, Vector x,
                                               const SessionLearnerOptions& options);

  // One transition, valid for the problem. Cost: O(1); kSoftQ: O((1 + replay_draws) A d).
  void Learn(const Transition& transition);

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
  const ModelPrior& prior() const { return options_.prior; }

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
    Vector value;  // where the next solve starts
  };

  SessionLearner(BilevelProblem problem, Vector x, const SessionLearnerOptions& options)
      : problem_(std::move(problem)),
        x_(std::move(x)),
        options_(options),
        next_update_(options.update_interval),
        rng_(options.seed) {}

  void LearnSoftQ(ContextState& state, const Remembered& step);
  absl::StatusOr<std::optional<ContextPolicy>> SolveModel(size_t context, const Interrupt& interrupt);
  absl::StatusOr<ContextPolicy> ReadSoftQ(size_t context) const;

  BilevelProblem problem_;
  Vector x_;
  SessionLearnerOptions options_;
  std::vector<ContextState> contexts_;
  uint64_t merged_ = 0, version_ = 0, next_update_;
  Rng rng_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_SESSION_LEARNER_H_
