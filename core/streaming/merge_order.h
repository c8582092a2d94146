// In what order the transitions of several writers are learned from: writer after writer, `round` transitions of each,
// and again. The order depends on what the writers send and on nothing else: not on batches, timing or threads. A
// writer that is behind is waited for; one that has finished is passed over once it is empty.

#ifndef BILEVEL_CORE_STREAMING_MERGE_ORDER_H_
#define BILEVEL_CORE_STREAMING_MERGE_ORDER_H_

#include <optional>
#include <vector>

#include "core/streaming/writer_queue.h"

namespace bilevel {

class MergeOrder {
 public:
  // round >= 1.
  explicit MergeOrder(int round) : round_(round) {}

  struct Merged {
    size_t writer;
    Transition transition;
  };
  // The next transition; nothing while the writer whose turn it is has none, or when all have finished.
  std::optional<Merged> Next(std::vector<WriterQueue>& writers);

  // Whose turn it is.
  size_t turn() const { return turn_; }
  uint64_t merged() const { return merged_; }

 private:
  void Pass(size_t writers) {
    turn_ = (turn_ + 1) % writers;
    taken_ = 0;
  }

  int round_;
  size_t turn_ = 0;
  int taken_ = 0;  // of this turn
  uint64_t merged_ = 0;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_MERGE_ORDER_H_
