// What was seen of an environment: how often (s,a) led to s2 or ended the episode, and where episodes began.
//
// Memory follows the distinct (s,a,s2) seen, not S*A*S, up to a number fixed at creation. The first successors of a row
// stand in blocks of one cache line, found by the row; those beyond, and where episodes began, in a hash table. What is
// counted does not depend on the order of the calls, unless the number is reached.

#ifndef BILEVEL_CORE_STREAMING_TRANSITION_COUNTS_H_
#define BILEVEL_CORE_STREAMING_TRANSITION_COUNTS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace bilevel {

class TransitionCounts {
 public:
  // num_states: S >= 1; num_rows: S*A; max_distinct >= 1.
  TransitionCounts(int num_states, int64_t num_rows, uint64_t max_distinct);

  // One transition out of `row` = s*A + a. False when it is of a kind not seen before and there is no room for one
  // more: then it is counted in dropped() alone.
  bool AddStep(int64_t row, int next_state) { return Count(AddSuccessor(row, next_state), total_); }
  bool AddTermination(int64_t row) { return Count(AddSuccessor(row, num_states_), total_); }
  // An episode that began in `state`.
  bool AddStart(int state) { return Count(AddRare(KeyOf(num_rows_, state)), starts_); }

  uint64_t total() const { return total_; }      // steps and terminations
  uint64_t starts() const { return starts_; }    // episodes
  uint64_t dropped() const { return dropped_; }  // of all three kinds
  uint64_t distinct() const { return distinct_; }

  // Bytes now; and at most, where S*A = num_rows.
  uint64_t bytes() const;
  static uint64_t MaxBytes(uint64_t max_distinct, int64_t num_rows);

  // In increasing order of (row, column); column S: the episode ended; row S*A: episodes that began in state `column`.
  struct Entry {
    int64_t row;
    int column;
    uint64_t count;
  };
  std::vector<Entry> Sorted() const;

 private:
  static constexpr int kInBlock = 7;
  static constexpr int kMaxBlocks = 4;  // of a row
  // Entries of one row, filled from the front.
  struct alignas(64) Block {
    std::array<int32_t, 8> columns;  // the last one: number of the row's next block, 0 for none
    std::array<uint32_t, 8> counts;  // modulo 2^32; the last one: entries in use
  };
  static_assert(sizeof(Block) == 64);
  static constexpr int kPageRows = 4096;
  using Page = std::array<uint32_t, kPageRows>;  // number of each row's first block, 0 for none

  uint64_t KeyOf(int64_t row, int column) const {
    return static_cast<uint64_t>(row) * (static_cast<uint64_t>(num_states_) + 1) + static_cast<uint64_t>(column);
  }
  bool Count(bool added, uint64_t& counter) {
    ++(added ? counter : dropped_);
    return added;
  }
  bool AddSuccessor(int64_t row, int column);
  bool AddFirst(int64_t row, int column);
  // Into the hash table.
  bool AddRare(uint64_t key);
  uint32_t NewBlock(int column);

  int num_states_;
  int64_t num_rows_;
  uint64_t max_distinct_;
  uint64_t total_ = 0, starts_ = 0, dropped_ = 0, distinct_ = 0;
  std::vector<std::unique_ptr<Page>> pages_;
  std::vector<Block> blocks_;  // block 0 is none
  absl::flat_hash_map<uint64_t, uint64_t> rare_;
  absl::flat_hash_map<uint64_t, uint64_t> carries_;  // what blocks' counts leave out, in units of 2^32
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_TRANSITION_COUNTS_H_
