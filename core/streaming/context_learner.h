// What one context of a session learns, by the session's route: counts, and a policy out of them, out of a learner of
// its own, or as the follower was seen to act.

#ifndef BILEVEL_CORE_STREAMING_CONTEXT_LEARNER_H_
#define BILEVEL_CORE_STREAMING_CONTEXT_LEARNER_H_

#include <optional>
#include <span>
#include <vector>

#include "core/streaming/drift_window.h"
#include "core/streaming/observed_policy.h"
#include "core/streaming/plug_in.h"
#include "core/streaming/replay.h"
#include "core/streaming/session_learner_options.h"
#include "core/streaming/soft_q_learner.h"
#include "core/streaming/transition.h"

namespace bilevel {

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

// What every call says of the context: who it is, and the follower's reward at x. References must outlive the call.
struct ContextSetting {
  const Context& context;
  const Vector& reward;  // r at x [S*A]
};

class ContextLearner {
 public:
  // initial_known: whether the environment says where episodes begin. options must outlive this.
  ContextLearner(const ContextSetting& setting, bool initial_known, const SessionLearnerOptions& options);

  // One transition, valid for the context, and its features [2m]. newest: it was made at the x of today. Cost: O(1);
  // kSoftQ: O((1 + replay_draws) A d).
  void Learn(const Transition& transition, std::span<const double> features, bool newest, Rng& rng);

  // x moved.
  void Move(const ContextSetting& setting);

  // Where drift is looked for: the window against what came before it, and the end of the window.
  DriftWindow::Comparison CompareWindow() { return drift_->Compare(); }
  // An alarm is what drifted: unless options say to keep it, what was learned before the window is forgotten, after
  // `transitions` all of it, after `policy` alone what the follower was seen to do. Where Q was learned it stays, as a
  // start. Transitions forgotten.
  uint64_t CloseWindow(bool transitions, bool policy);

  // The policy. Cost: kPlugIn: one solve; kObserved: one linear solve; kSoftQ: one sweep. Nothing when interrupted.
  absl::StatusOr<std::optional<ContextPolicy>> MakePolicy(const ContextSetting& setting, const Interrupt& interrupt);

  // log pi [S*A] as it is learned or seen, without a model, -infinity where it never goes; nothing for kPlugIn and
  // kCount.
  std::optional<Vector> ModelFreeLogPolicy() const;
  // Where grad Q is learned: grad Q - grad V at the learned policy [S*A, d]. mdp: the context's.
  std::optional<RowMatrix> LearnedScore(const TabularMdp& mdp) const;
  // The same at the x before, learned from the same transitions as those at x; where options' descent LearnsPairs and x
  // moved, else empty.
  Vector PreviousLogPolicy() const;
  RowMatrix PreviousScore(const TabularMdp& mdp) const;

  const ModelFrame& frame() const { return frame_; }
  // How often what came before was forgotten.
  uint32_t era() const { return era_; }
  ContextCounts Counts() const { return {frame_, counts_.Sorted()}; }
  uint64_t dropped() const { return dropped_before_ + counts_.dropped(); }

  // Bytes that it may come to hold.
  static double MaxBytes(const Context& context, const SessionLearnerOptions& options);

 private:
  struct Remembered {
    int32_t state, action, next;  // next < 0: ended
  };

  int64_t RowOf(int state, int action) const { return int64_t{state} * frame_.num_actions + action; }
  std::span<const uint8_t> AvailableIn(int state) const;
  // phi(s), in `buffer`.
  Features FeaturesOf(int state, std::vector<Feature>& buffer) const;
  void LearnSoftQ(const Remembered& step);
  Vector LogPolicyOf(const SoftQLearner& learner) const;
  RowMatrix ScoreOf(const SoftQLearner& learner, const TabularMdp& mdp) const;
  void Count(const DriftWindow::Step& step);
  absl::StatusOr<std::optional<ContextPolicy>> ReadPolicy(const ContextSetting& setting, const Interrupt& interrupt);
  absl::StatusOr<std::optional<ContextPolicy>> SolveModel(const ContextSetting& setting, const EstimatedModel& model,
                                                          const Interrupt& interrupt);
  std::optional<ContextPolicy> ReadObserved(const ContextSetting& setting, const EstimatedModel& model,
                                            const Interrupt& interrupt) const;
  std::optional<ContextPolicy> ReadSoftQ(const ContextSetting& setting, const EstimatedModel& model,
                                         const Interrupt& interrupt) const;

  const SessionLearnerOptions* options_;
  ModelFrame frame_;
  TransitionCounts counts_;
  uint64_t dropped_before_ = 0;  // of counts that were forgotten
  std::optional<DriftWindow> drift_;
  uint32_t era_ = 0;
  Vector visits_;  // of kObserved: n(s,a) at the x of today [S*A]
  Vector value_;   // of kPlugIn: where the next solve starts
  // Of kSoftQ.
  std::optional<SoftQLearner> soft_q_;
  std::optional<SoftQLearner> previous_soft_q_;  // goes on learning at the x before
  Replay<Remembered> replay_;
  RowMatrix features_;                 // phi(s) as last seen, [S, m]
  std::vector<Feature> here_, there_;  // of the step under way
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_CONTEXT_LEARNER_H_
