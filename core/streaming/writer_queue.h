// One writer's transitions: accepted exactly once, in order, and held until they are merged.
//
// Sequence numbers count single transitions; the first is 1. A batch is taken all or none. What lies at or below
// accepted() was taken before and is skipped, so a writer may send again whatever it is unsure of; how the stream was
// cut into batches leaves no trace. Batches are handed on as they came, without a copy.

#ifndef BILEVEL_CORE_STREAMING_WRITER_QUEUE_H_
#define BILEVEL_CORE_STREAMING_WRITER_QUEUE_H_

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "core/streaming/transition.h"

namespace bilevel {

// What transitions have to fit.
struct TransitionRules {
  struct World {
    int num_states = 0;
    int num_actions = 0;
    std::vector<uint8_t> available_actions;  // [S*A]; empty: all
    double discount = 1;                     // gamma, by which walks end
  };
  std::vector<World> contexts;
  size_t max_open_episodes = 4096;  // of one writer
  size_t num_features = 0;          // m
};

// Transitions [begin, begin + count) of a block.
struct BlockSlice {
  std::shared_ptr<const TransitionBlock> block;
  size_t begin = 0;
  size_t count = 0;
};

class WriterQueue {
 public:
  // capacity: transitions that may wait, >= 1.
  WriterQueue(std::shared_ptr<const TransitionRules> rules, size_t capacity)
      : rules_(std::move(rules)), capacity_(capacity) {}

  // Transitions first, first + 1, ... . newest_parameters: the newest version of x. Errors take nothing:
  // INVALID_ARGUMENT (a field error "[i].state" for the i-th of the batch) for a transition that breaks a rule;
  // FAILED_PRECONDITION for a gap after accepted(), or after Finish; RESOURCE_EXHAUSTED beyond credit(), or for too
  // many open episodes. Features must have the size that the rules ask for.
  absl::Status Offer(uint64_t first, TransitionBlock batch, uint32_t newest_parameters);

  // No more will come after accepted(). INVALID_ARGUMENT unless last == accepted().
  absl::Status Finish(uint64_t last);
  bool finished() const { return finished_; }
  absl::Status CheckOpen() const;  // FAILED_PRECONDITION: it has finished

  // The next transitions in order, at most `most`; none when none wait.
  BlockSlice Pop(size_t most);

  uint64_t accepted() const { return accepted_; }
  uint64_t merged() const { return merged_; }
  // The highest number that may be sent now.
  uint64_t credit() const { return merged_ + capacity_; }
  size_t open_episodes() const { return episodes_[0].size() + episodes_[1].size() + episodes_[2].size(); }

 private:
  // Where an open episode stands.
  struct Standing {
    int32_t state;
    int32_t context;
  };
  using Episodes = absl::flat_hash_map<uint64_t, Standing>;
  // What Check changed, to be taken back: episodes and walks as they stood before.
  struct Change {
    WalkKind walk;
    uint64_t episode;
    std::optional<Standing> before;
  };
  using Undo = std::vector<Change>;

  absl::Status CheckRoom(size_t count) const;
  // Follows the episodes through the transitions from `known` on, and says which begin them.
  absl::Status Check(std::vector<Transition>& steps, size_t known, uint32_t newest_parameters, Undo& undo);
  bool IsPlain(const Transition& step, const std::optional<Standing>& standing) const;
  absl::Status CheckStep(const Transition& step, const std::optional<Standing>& standing,
                         uint32_t newest_parameters) const;
  void Put(WalkKind walk, uint64_t episode, const std::optional<Standing>& standing);
  void Push(TransitionBlock batch, size_t known);

  std::shared_ptr<const TransitionRules> rules_;
  size_t capacity_;
  uint64_t accepted_ = 0, merged_ = 0;
  bool finished_ = false;
  // Not yet popped; of the first, transitions [begin, ...). A block that was popped from is not touched any more.
  struct Waiting {
    std::shared_ptr<TransitionBlock> block;
    size_t begin;
    bool popped;
  };
  std::deque<Waiting> waiting_;
  std::array<Episodes, kWalkKinds> episodes_;  // open, by WalkKind
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_WRITER_QUEUE_H_
