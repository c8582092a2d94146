// A follower that acts through us: observations of one environment in, actions out, transitions completed on the way.
//
// What is drawn depends on the seed, the writer, which of its episodes it is, the step, the policy and what this actor
// tried before. An observation that comes again gets its action again, so an environment may ask again whatever it is
// unsure of.
//
// Where the environment can be set to any state, an episode's end asks it for two walks (continuations.h) from one of
// the episode's steps (s_h, a_h), h uniform: from s_h by a_h, and from s_h as the follower chooses. The environment
// runs them as episodes, whenever it likes; nothing is explored in them. Before each further step a coin ends a walk
// with probability 1 - gamma.

#ifndef BILEVEL_CORE_STREAMING_ACTOR_H_
#define BILEVEL_CORE_STREAMING_ACTOR_H_

#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "core/base/rng.h"
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
  // At a beginning: which walk it is, and of what episode.
  WalkKind walk = WalkKind::kNone;
  uint64_t walk_of = 0;
};

// What the environment is asked for.
struct Walk {
  WalkKind kind = WalkKind::kNone;
  uint64_t of_episode = 0;
  int32_t state = 0;  // it begins there
  int32_t context = 0;
};

struct ActedStep {
  uint64_t episode = 0;
  int32_t action = 0;
  double log_probability = 0;       // exploration included; 0 where the action was given, not drawn
  uint64_t policy_version = 0;      // 0: there was none yet, uniform
  uint32_t parameters_version = 0;  // of the policy's x
  bool ended = false;               // no action: the episode or walk is over
  std::vector<Walk> walks;          // asked for, where an episode ended
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

  // The observation is taken. walks: whether they are asked for where it ends an episode.
  void Take(const Observation& observation, bool walks = false);

  // The action drawn after a known observation; nothing when none was drawn yet.
  std::optional<ActedStep> Drawn(const Observation& observation) const;

  // Draws it. policy: null for none. exploration: none in walks.
  ActedStep Draw(const Observation& observation, const PolicySnapshot* policy, const Exploration& exploration);

  // Bytes that it may come to hold, but for the actions that it tried.
  static double MaxBytes(size_t open_episodes, size_t num_features);

 private:
  // Where an open episode stands.
  struct Episode {
    uint64_t number =
        0;              // 1, 2, ...: in the order in which they began; of a walk: by that of its episode, and its kind
    uint64_t name = 0;  // as the environment calls it; of a walk: the number of the episode that it is of
    WalkKind walk = WalkKind::kNone;
    uint64_t sequence = 0;  // of the last observation
    uint64_t steps = 0;
    int32_t state = 0;
    int32_t context = 0;
    std::vector<double> features;
    std::optional<ActedStep> drawn;
    int32_t walk_state = 0, walk_action = 0;  // (s_h, a_h); of kFromChoice: the first action
  };
  // Walks of an episode that ended.
  struct Asked {
    uint64_t number = 0;    // of the episode
    uint64_t sequence = 0;  // of the observation that ended it
    int32_t state = 0;
    int32_t action = 0;
    int32_t context = 0;
    std::array<bool, kWalkKinds> begun = {};
  };
  // What a number is drawn for.
  enum class Purpose : uint64_t { kAction, kWalkStep, kCoin };

  absl::Status CheckState(const Observation& observation, int32_t context) const;
  absl::Status CheckBegin(const Observation& observation) const;
  void Begin(const Observation& observation);
  void End(const Observation& observation, bool walks);
  void Ask(const Observation& observation, const Episode& episode);
  Rng RngOf(const Episode& episode, Purpose purpose) const;
  // Whether a coin ends the walk after the step under way.
  bool Stops(const Episode& episode) const;
  Vector Probabilities(const Episode& episode, const PolicySnapshot* policy, const Exploration& exploration) const;
  std::vector<int> Available(const Episode& episode) const;

  std::shared_ptr<const TransitionRules> rules_;
  uint64_t seed_;
  size_t writer_;
  uint64_t begun_ = 0;
  absl::flat_hash_map<uint64_t, Episode> episodes_;  // open, walks among them
  // As many walks are remembered as episodes may be open, the latest; by episode.
  absl::flat_hash_map<uint64_t, Asked> asked_;
  std::deque<std::pair<uint64_t, uint64_t>> order_;                // of asked_: episode, sequence; some are replaced
  absl::flat_hash_set<std::pair<uint64_t, WalkKind>> open_walks_;  // by episode
  // The observation after which a coin last ended a walk: episode, sequence.
  std::optional<std::pair<uint64_t, uint64_t>> stopped_;
  absl::flat_hash_map<std::pair<int32_t, int64_t>, uint32_t> tried_;  // (context, s*A + a)
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_ACTOR_H_
