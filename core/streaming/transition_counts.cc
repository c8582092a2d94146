#include "core/streaming/transition_counts.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace bilevel {
namespace {

constexpr uint64_t kFirstSlots = 64;

// At most three quarters of the slots are taken.
bool Holds(uint64_t slots, uint64_t distinct) { return distinct <= slots / 4 * 3; }

// The finaliser of splitmix64: neighbouring keys end far apart.
uint64_t Scramble(uint64_t key) {
  key = (key ^ (key >> 30)) * 0xbf58476d1ce4e5b9u;
  key = (key ^ (key >> 27)) * 0x94d049bb133111ebu;
  return key ^ (key >> 31);
}

}  // namespace

TransitionCounts::TransitionCounts(int num_states, int64_t num_rows, uint64_t max_distinct)
    : num_states_(static_cast<uint64_t>(num_states)),
      num_rows_(static_cast<uint64_t>(num_rows)),
      max_distinct_(max_distinct),
      keys_(kFirstSlots, 0),
      counts_(kFirstSlots, 0) {}

uint64_t TransitionCounts::MaxBytes(uint64_t max_distinct) {
  uint64_t slots = kFirstSlots;
  while (!Holds(slots, max_distinct)) slots *= 2;
  // Old and new table stand side by side while it grows.
  return (slots > kFirstSlots ? slots + slots / 2 : slots) * kSlotBytes;
}

bool TransitionCounts::Add(uint64_t row, uint64_t column) {
  const uint64_t key = row * (num_states_ + 1) + column + 1;
  size_t slot = SlotOf(key);
  if (keys_[slot] == 0) {
    if (distinct_ == max_distinct_) {
      ++dropped_;
      return false;
    }
    if (!Holds(keys_.size(), distinct_ + 1)) {
      Grow();
      slot = SlotOf(key);
    }
    keys_[slot] = key;
    ++distinct_;
  }
  ++counts_[slot];
  ++(row == num_rows_ ? starts_ : total_);
  return true;
}

// Where the key is, or where it would go.
size_t TransitionCounts::SlotOf(uint64_t key) const {
  const size_t mask = keys_.size() - 1;
  size_t slot = Scramble(key) & mask;
  while (keys_[slot] != 0 && keys_[slot] != key) slot = (slot + 1) & mask;
  return slot;
}

void TransitionCounts::Grow() {
  std::vector<uint64_t> keys(2 * keys_.size(), 0), counts(keys.size(), 0);
  keys.swap(keys_);
  counts.swap(counts_);
  for (size_t i = 0; i < keys.size(); ++i) {
    if (keys[i] == 0) continue;
    const size_t slot = SlotOf(keys[i]);
    keys_[slot] = keys[i];
    counts_[slot] = counts[i];
  }
}

std::vector<TransitionCounts::Entry> TransitionCounts::Sorted() const {
  std::vector<std::pair<uint64_t, uint64_t>> pairs;
  pairs.reserve(distinct_);
  for (size_t i = 0; i < keys_.size(); ++i) {
    if (keys_[i] != 0) pairs.emplace_back(keys_[i] - 1, counts_[i]);
  }
  std::sort(pairs.begin(), pairs.end());
  std::vector<Entry> entries;
  entries.reserve(pairs.size());
  for (const auto& [key, count] : pairs) {
    entries.push_back(
        {static_cast<int64_t>(key / (num_states_ + 1)), static_cast<int>(key % (num_states_ + 1)), count});
  }
  return entries;
}

}  // namespace bilevel
