// A follower that acts through us: observations of one environment in, actions out, transitions completed on the way.
//
// What is drawn depends on the seed, the writer, the episode, the step and the policy alone. An observation that comes
// again gets its action again, so an environment may ask again whatever it is unsure of.

#ifndef BILEVEL_CORE_STREAMING_ACTOR_H_
#define BILEVEL_CORE_STREAMING_ACTOR_H_

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "core/streaming/session_learner.h"

namespace bilevel {

// How the follower tries what its policy would not.
struct Exploration {
  enum class Kind {
    kNone,
    kUniform,     // with probability `share` uniform over the available actions
    kLeastTried,  // with probability `share` the action that this actor tried least often in this state, the first of
                  // them
  };
  Kind kind = Kind::kNone;
  double share = 0.1;  // in [0, 1]
};

struct Observation {
  uint64_t sequence = 0;  // of the transition that it completes; 0: an episode begins
  uint64_t episode = 0;
  int32_t state = 0;
  StepKind kind = StepKind::kRunning;
  int32_t context = 0;  // at an episode's beginning
  double leader_reward = Transition::kNone;
  std::vector<double> features;  // of the state [m]
};

struct ActedStep {
  uint64_t episode = 0;
  int32_t action = 0;
  double log_probability = 0;       // exploration included
  uint64_t policy_version = 0;      // 0: there was none yet, uniform
  uint32_t parameters_version = 0;  // of the policy's x
  bool ended = false;               // no action: the episode is over
};

class Actor {
 public:
  // writer: part of the seed.
  Actor(std::shared_ptr<const TransitionRules> rules, uint64_t seed, size_t writer)
      : rules_(std::move(rules)), seed_(seed), writer_(writer) {}

  // Whether the observation was taken before. accepted: the writer's transitions so far. Errors: FAILED_PRECONDITION
  // for a gap, INVALID_ARGUMENT (field errors) for what does not fit the episode.
  absl::StatusOr<bool> IsKnown(const Observation& observation, uint64_t accepted) const;

  // Of a new one: the transition that it completes; nothing when an episode begins. INVALID_ARGUMENT (field errors),
  // RESOURCE_EXHAUSTED for too many open episodes.
  absl::StatusOr<std::optional<TransitionBlock>> Complete(const Observation& observation) const;

  // The observation is taken.
  void Take(const Observation& observation);

  // The action drawn after a known observation; nothing when none was drawn yet.
  std::optional<ActedStep> Drawn(const Observation& observation) const;

  // Draws it. policy: null for none.
  ActedStep Draw(const Observation& observation, const PolicySnapshot* policy, const Exploration& exploration);

 private:
  // Where an open episode stands.
  struct Episode {
    uint64_t sequence = 0;  // of the last observation
    uint64_t steps = 0;
    int32_t state = 0;
    int32_t context = 0;
    std::vector<double> features;
    std::optional<ActedStep> drawn;
  };

  absl::Status CheckState(const Observation& observation, int32_t context) const;
  Vector Probabilities(const Episode& episode, const PolicySnapshot* policy, const Exploration& exploration) const;
  std::vector<int> Available(const Episode& episode) const;

  std::shared_ptr<const TransitionRules> rules_;
  uint64_t seed_;
  size_t writer_;
  absl::flat_hash_map<uint64_t, Episode> episodes_;
  absl::flat_hash_map<std::pair<int32_t, int64_t>, uint32_t> tried_;  // (context, s*A + a)
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_ACTOR_H_
