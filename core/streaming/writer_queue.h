// One writer's transitions: accepted exactly once, in order, and held until they are merged.
//
// Sequence numbers count single transitions; the first is 1. A batch is taken all or none. What lies at or below
// accepted() was taken before and is skipped, so a writer may send again whatever it is unsure of; how the stream was
// cut into batches leaves no trace.

#ifndef BILEVEL_CORE_STREAMING_WRITER_QUEUE_H_
#define BILEVEL_CORE_STREAMING_WRITER_QUEUE_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "core/streaming/transition.h"

namespace bilevel {

// What transitions have to fit.
struct TransitionRules {
  struct World {
    int num_states = 0;
    int num_actions = 0;
    std::vector<uint8_t> available_actions;  // [S*A]; empty: all
  };
  std::vector<World> contexts;
  size_t max_open_episodes = 4096;  // of one writer
};

class WriterQueue {
 public:
  // capacity: transitions that may wait, >= 1.
  WriterQueue(std::shared_ptr<const TransitionRules> rules, size_t capacity)
      : rules_(std::move(rules)), capacity_(capacity) {}

  // Transitions first, first + 1, ... . Errors take nothing: INVALID_ARGUMENT (a field error "[i].state" for the i-th
  // of the batch) for a transition that breaks a rule; FAILED_PRECONDITION for a gap after accepted(), or after Finish;
  // RESOURCE_EXHAUSTED beyond credit(), or for too many open episodes.
  absl::Status Offer(uint64_t first, std::span<const Transition> batch);

  // No more will come after accepted(). INVALID_ARGUMENT unless last == accepted().
  absl::Status Finish(uint64_t last);
  bool finished() const { return finished_; }

  // The next transition in order; nothing when none waits.
  std::optional<Transition> Pop();

  uint64_t accepted() const { return accepted_; }
  uint64_t merged() const { return accepted_ - waiting_.size(); }
  // The highest number that may be sent now.
  uint64_t credit() const { return merged() + capacity_; }
  size_t open_episodes() const { return episodes_.size(); }

 private:
  // Where an open episode stands.
  struct Episode {
    int32_t state;
    int32_t context;
  };
  // Of a batch, not yet taken: no value where it closes the episode.
  using Changes = std::map<uint64_t, std::optional<Episode>>;

  // Where an episode stands after the changes; nothing when it is not open.
  std::optional<Episode> StandingOf(uint64_t episode, const Changes& changes) const;
  absl::Status Check(const Transition& transition, Changes& changes) const;
  absl::Status CheckNumbers(const Transition& transition) const;

  std::shared_ptr<const TransitionRules> rules_;
  size_t capacity_;
  uint64_t accepted_ = 0;
  bool finished_ = false;
  std::deque<Transition> waiting_;
  std::map<uint64_t, Episode> episodes_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_WRITER_QUEUE_H_
