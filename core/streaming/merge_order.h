// In what order the transitions of several writers are learned from: writer after writer, `round` transitions of each,
// and again. The order depends on what the writers send and on nothing else: not on batches, timing or threads. A
// writer that is behind is waited for; one that has finished is passed over once it is empty.

#ifndef BILEVEL_CORE_STREAMING_MERGE_ORDER_H_
#define BILEVEL_CORE_STREAMING_MERGE_ORDER_H_

#include <vector>

#include "core/streaming/writer_queue.h"

namespace bilevel {

class MergeOrder {
 public:
  // round >= 1.
  explicit MergeOrder(int round) : round_(static_cast<size_t>(round)) {}

  // The next transitions, at most `most`, all of one writer and of one round; none when the writer whose turn it is has
  // none, or when all have finished.
  struct Run {
    size_t writer = 0;
    BlockSlice slice;
  };
  Run Next(std::vector<WriterQueue>& writers, size_t most);

  // Whose turn it is.
  size_t turn() const { return turn_; }
  // Rounds that are complete. A writer's transition k is of round (k - 1) / `round`.
  uint64_t rounds() const { return rounds_; }

 private:
  void Pass(size_t writers);

  size_t round_;
  size_t turn_ = 0;
  size_t taken_ = 0;  // of this turn
  uint64_t rounds_ = 0;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_MERGE_ORDER_H_
