// One step of a follower, as a writer streams it.

#ifndef BILEVEL_CORE_STREAMING_TRANSITION_H_
#define BILEVEL_CORE_STREAMING_TRANSITION_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace bilevel {

enum class StepKind : uint8_t {
  kRunning,     // the episode goes on in next_state
  kTerminated,  // the environment ended it: nothing follows, next_state is ignored
  kTruncated,   // the writer stopped looking: next_state was reached
};

// A walk on from a step (s_h, a_h) of an episode, for scores without a critic (continuations.h).
enum class WalkKind : uint8_t {
  kNone,        // no walk: an episode
  kFromChoice,  // begins in s_h, by a_h
  kFromState,   // begins in s_h, as the follower chooses
};
inline constexpr size_t kWalkKinds = 3;

struct Transition {
  static constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

  uint64_t episode = 0;  // numbered by its writer; episodes may interleave. Of a walk: the one that it goes on from
  int32_t state = 0;
  int32_t action = 0;
  int32_t next_state = 0;
  int32_t context = 0;
  double leader_reward = kNone;             // a sample, where it is not a known table
  double behavior_log_probability = kNone;  // of the action, by whoever acted; <= 0; none: the follower itself
  uint32_t parameters_version = 0;          // of the x that the follower saw; 0: the newest when it is merged
  StepKind kind = StepKind::kRunning;
  bool begins = false;  // whether it is the first of its episode or walk; WriterQueue says so
  WalkKind walk = WalkKind::kNone;
  bool stopped = false;  // a walk's coin ended it: truncated, and complete
};
static_assert(sizeof(Transition) == 48);  // one is copied for each that is learned from

// Transitions in order, and for each the m features of its state and then those of the next.
struct TransitionBlock {
  std::vector<Transition> steps;
  std::vector<double> features;  // [k, 2m]
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_TRANSITION_H_
