// One step of a follower, as a writer streams it.

#ifndef BILEVEL_CORE_STREAMING_TRANSITION_H_
#define BILEVEL_CORE_STREAMING_TRANSITION_H_

#include <cstdint>
#include <limits>
#include <vector>

namespace bilevel {

enum class StepKind : uint8_t {
  kRunning,     // the episode goes on in next_state
  kTerminated,  // the environment ended it: nothing follows, next_state is ignored
  kTruncated,   // the writer stopped looking: next_state was reached
};

struct Transition {
  static constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

  uint64_t episode = 0;  // numbered by its writer; episodes may interleave
  int32_t state = 0;
  int32_t action = 0;
  int32_t next_state = 0;
  int32_t context = 0;
  double leader_reward = kNone;             // a sample, where it is not a known table
  double behavior_log_probability = kNone;  // of the action, by whoever acted; <= 0; none: the follower itself
  uint32_t parameters_version = 0;          // of the x that the follower saw; 0: the newest when it is merged
  StepKind kind = StepKind::kRunning;
  bool begins = false;  // whether it is the first of its episode; WriterQueue says so
};

// Transitions in order, and for each the m features of its state and then those of the next.
struct TransitionBlock {
  std::vector<Transition> steps;
  std::vector<double> features;  // [k, 2m]
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_TRANSITION_H_
