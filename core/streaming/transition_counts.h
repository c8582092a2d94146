// What was seen of an environment: how often (s,a) led to s2 or ended the episode, and where episodes began.
//
// Memory follows the distinct (s,a,s2) seen, not S*A*S: an open-addressing table that doubles up to a size fixed at
// creation. What is counted does not depend on the order of the calls, unless the table fills up.

#ifndef BILEVEL_CORE_STREAMING_TRANSITION_COUNTS_H_
#define BILEVEL_CORE_STREAMING_TRANSITION_COUNTS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace bilevel {

class TransitionCounts {
 public:
  // num_states: S >= 1; num_rows: S*A; max_distinct >= 1.
  TransitionCounts(int num_states, int64_t num_rows, uint64_t max_distinct);

  // One transition out of `row` = s*A + a. False when it is of a kind not seen before and there is no room for one
  // more: then it is counted in dropped() alone.
  bool AddStep(int64_t row, int next_state) {
    return Add(static_cast<uint64_t>(row), static_cast<uint64_t>(next_state));
  }
  bool AddTermination(int64_t row) { return Add(static_cast<uint64_t>(row), num_states_); }
  // That AddStep will be called soon.
  void Prefetch(int64_t row, int next_state) const {
    __builtin_prefetch(&slots_[FirstSlot(KeyOf(static_cast<uint64_t>(row), static_cast<uint64_t>(next_state)))], 1);
  }
  // An episode that began in `state`.
  bool AddStart(int state) { return Add(num_rows_, static_cast<uint64_t>(state)); }

  uint64_t total() const { return total_; }      // steps and terminations
  uint64_t starts() const { return starts_; }    // episodes
  uint64_t dropped() const { return dropped_; }  // of all three kinds
  uint64_t distinct() const { return distinct_; }

  // Bytes of the table now, and at most.
  uint64_t bytes() const { return slots_.size() * kSlotBytes; }
  static uint64_t MaxBytes(uint64_t max_distinct);

  // In increasing order of (row, column); column S: the episode ended; row S*A: episodes that began in state `column`.
  struct Entry {
    int64_t row;
    int column;
    uint64_t count;
  };
  std::vector<Entry> Sorted() const;

 private:
  struct Slot {
    uint64_t key = 0;  // row * (S + 1) + column + 1; 0: empty
    uint64_t count = 0;
  };
  static constexpr uint64_t kSlotBytes = sizeof(Slot);

  uint64_t KeyOf(uint64_t row, uint64_t column) const { return row * (num_states_ + 1) + column + 1; }
  // Where a key is looked for first: the high bits of a product with 2^64 over the golden ratio, so that neighbours end
  // far apart.
  size_t FirstSlot(uint64_t key) const { return static_cast<size_t>((key * 0x9e3779b97f4a7c15u) >> shift_); }
  bool Add(uint64_t row, uint64_t column);
  size_t SlotOf(uint64_t key) const;
  void Grow();

  uint64_t num_states_, num_rows_, max_distinct_;
  uint64_t total_ = 0, starts_ = 0, dropped_ = 0, distinct_ = 0;
  std::vector<Slot> slots_;  // 2^(64 - shift_)
  int shift_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_TRANSITION_COUNTS_H_
