// What a session learns: from transitions, one after the other, to the follower's policy at the leader's x.
//
// The state depends on the transitions, their order and where x changes between them, and on nothing else; a policy is
// made after every `update_interval` of them: learning twice from the same order gives the same bits. Where drift is
// looked for (drift.h), its windows end at given numbers of transitions; after an alarm that forgets, a policy is due
// at once.

#ifndef BILEVEL_CORE_STREAMING_SESSION_LEARNER_H_
#define BILEVEL_CORE_STREAMING_SESSION_LEARNER_H_

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/streaming/context_learner.h"
#include "core/streaming/trajectory_store.h"
#include "core/streaming/writer_queue.h"

namespace bilevel {

struct PolicySnapshot {
  uint64_t version = 0;  // 1, 2, ...
  uint64_t merged = 0;   // transitions that it has learned from
  Vector parameters;     // x
  uint32_t parameters_version = 0;
  std::vector<ContextPolicy> contexts;
  std::optional<GradientEstimate> estimate;  // where it was asked for and could be made
  DriftLog drifts;
  std::shared_ptr<const OuterStep> step;  // the last of the descent, when one was taken since the last policy
};

class SessionLearner {
 public:
  // problem: its environments say sizes, available actions and, where `initial_known`, where episodes begin; their
  // transitions are not looked at. Dynamics must not depend on x. Field errors: options.
  static absl::StatusOr<SessionLearner> Create(BilevelProblem problem, bool initial_known, Vector x,
                                               const SessionLearnerOptions& options);

  // One transition, valid by Rules(), and its features [2m]. Cost: see ContextLearner; at a window's end that of
  // DriftWindow.
  void Learn(size_t writer, const Transition& transition, std::span<const double> features = {});

  // x from now on; a descent begins anew there.
  void SetParameters(Vector x);

  // The next step of the descent; no policy yet. preferences: of an estimator that looks at them. Errors: as
  // SessionDescent, FAILED_PRECONDITION without a descent.
  absl::StatusOr<std::shared_ptr<const OuterStep>> Step(const Interrupt& interrupt,
                                                        std::vector<Preference> preferences = {});

  // A policy, due or not. Nothing when interrupted.
  absl::StatusOr<std::optional<PolicySnapshot>> MakePolicy(const Interrupt& interrupt);

  // Whether a policy is due: update_interval transitions after the last, or something was forgotten.
  bool due() const { return next_policy() == merged_; }
  // After how many transitions one is due; none where they are only counted.
  std::optional<uint64_t> next_policy() const {
    if (options_->route == SessionLearnerOptions::Route::kCount) return std::nullopt;
    return next_update_;
  }

  // Makes it, after a step of the descent where that does not wait for requests. Cost: see ContextLearner, and the
  // estimates'. Nothing when interrupted.
  absl::StatusOr<std::optional<PolicySnapshot>> Update(const Interrupt& interrupt);

  // What transitions have to fit.
  TransitionRules Rules(size_t max_open_episodes) const;

  uint64_t merged() const { return merged_; }
  // No policy is due before; not of kCount. Drift may make it due at a window's end.
  uint64_t next_update() const { return std::min(next_update_, window_end_); }
  // What is known, for estimates; trajectories on demand.
  SessionData Data(bool trajectories) const;
  uint64_t dropped() const;  // transitions of a new kind for which there was no room
  const BilevelProblem& problem() const { return *problem_; }
  const Vector& parameters() const { return x_; }
  uint32_t parameters_version() const { return parameters_version_; }  // 1, 2, ...
  const SessionLearnerOptions& options() const { return *options_; }
  const TrajectoryStore& trajectories() const { return trajectories_; }
  const std::optional<SessionDescent>& descent() const { return descent_; }
  // Of the descent; null before the first.
  const std::shared_ptr<const OuterStep>& last_step() const { return step_; }
  const DriftLog& drifts() const { return drifts_; }
  // SessionData's.
  std::vector<uint32_t> eras() const;

  // Bytes that it may come to hold.
  static double MaxBytes(const BilevelProblem& problem, const SessionLearnerOptions& options);

 private:
  SessionLearner(BilevelProblem problem, Vector x, const SessionLearnerOptions& options)
      : problem_(std::make_unique<const BilevelProblem>(std::move(problem))),
        options_(std::make_unique<const SessionLearnerOptions>(options)),
        x_(std::move(x)),
        trajectories_(options.trajectory_capacity),
        next_update_(options.update_interval),
        window_end_(options.drift.has_value() ? options.drift->window : std::numeric_limits<uint64_t>::max()),
        rng_(options.seed) {}

  Vector RewardOf(size_t context) const;
  // What the descent's next step asks for.
  SessionData DataOfStep(std::vector<Preference> preferences) const;
  void Move(Vector x);
  // Nothing when interrupted.
  absl::StatusOr<std::optional<double>> Residual(const Interrupt& interrupt);
  // Compares the window, tells, forgets, and begins the next.
  void CloseWindow();

  std::unique_ptr<const BilevelProblem> problem_;
  std::unique_ptr<const SessionLearnerOptions> options_;
  Vector x_;
  uint32_t parameters_version_ = 1;
  std::vector<ContextLearner> contexts_;
  TrajectoryStore trajectories_;
  std::optional<SessionDescent> descent_;
  std::shared_ptr<const OuterStep> step_;  // the last
  bool step_told_ = true;                  // by a policy
  uint64_t merged_ = 0, version_ = 0, next_update_;
  uint64_t window_end_;               // never, where drift is not looked for
  uint64_t windows_compared_ = 0;     // k of drift.h
  uint64_t window_trajectories_ = 0;  // TrajectoryStore::begun() as the window began
  uint64_t forgotten_ = 0;            // transitions
  DriftLog drifts_;
  Rng rng_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_SESSION_LEARNER_H_
