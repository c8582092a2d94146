// One step of a follower, as a writer of a session streams it; the columns of v1::TransitionBatch.

#ifndef BILEVEL_CLIENT_TRANSITION_H_
#define BILEVEL_CLIENT_TRANSITION_H_

#include <cstdint>
#include <optional>
#include <vector>

namespace bilevel::client {

enum class StepKind : std::uint8_t {
  kRunning = 0,     // the episode goes on in next_state
  kTerminated = 1,  // the environment ended it; next_state is ignored
  kTruncated = 2,   // the writer stopped looking; next_state was reached
};

struct Transition {
  std::uint64_t episode = 0;  // numbered by the writer; episodes may interleave
  std::uint32_t state = 0;
  std::uint32_t action = 0;
  std::uint32_t next_state = 0;
  StepKind kind = StepKind::kRunning;
  std::uint32_t context = 0;
  std::optional<double> leader_reward = std::nullopt;              // a sample, finite
  std::optional<double> behavior_log_probability = std::nullopt;   // of the action, by whoever acted; <= 0
  std::optional<std::uint64_t> parameters_version = std::nullopt;  // of the x that the follower saw
  std::vector<double> features = {};                               // of state; [m] in sessions with num_features m
  std::vector<double> next_features = {};                          // of next_state; may be empty where terminated

  friend bool operator==(const Transition&, const Transition&) = default;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_TRANSITION_H_
