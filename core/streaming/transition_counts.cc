#include "core/streaming/transition_counts.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace bilevel {
namespace {

constexpr uint64_t kFirstSlots = 64;

// At most half of the slots are taken: probes stay short.
bool Holds(uint64_t slots, uint64_t distinct) { return distinct <= slots / 2; }

}  // namespace

TransitionCounts::TransitionCounts(int num_states, int64_t num_rows, uint64_t max_distinct)
    : num_states_(static_cast<uint64_t>(num_states)),
      num_rows_(static_cast<uint64_t>(num_rows)),
      max_distinct_(max_distinct),
      slots_(kFirstSlots),
      shift_(64 - std::countr_zero(kFirstSlots)) {}

uint64_t TransitionCounts::MaxBytes(uint64_t max_distinct) {
  uint64_t slots = kFirstSlots;
  while (!Holds(slots, max_distinct)) slots *= 2;
  // Old and new table stand side by side while it grows.
  return (slots > kFirstSlots ? slots + slots / 2 : slots) * kSlotBytes;
}

bool TransitionCounts::Add(uint64_t row, uint64_t column) {
  const uint64_t key = KeyOf(row, column);
  size_t slot = SlotOf(key);
  if (slots_[slot].key == 0) {
    if (distinct_ == max_distinct_) {
      ++dropped_;
      return false;
    }
    if (!Holds(slots_.size(), distinct_ + 1)) {
      Grow();
      slot = SlotOf(key);
    }
    slots_[slot].key = key;
    ++distinct_;
  }
  ++slots_[slot].count;
  ++(row == num_rows_ ? starts_ : total_);
  return true;
}

// Where the key is, or where it would go.
size_t TransitionCounts::SlotOf(uint64_t key) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = FirstSlot(key);
  while (slots_[slot].key != 0 && slots_[slot].key != key) slot = (slot + 1) & mask;
  return slot;
}

void TransitionCounts::Grow() {
  std::vector<Slot> before(2 * slots_.size());
  before.swap(slots_);
  --shift_;
  for (const Slot& old : before) {
    if (old.key != 0) slots_[SlotOf(old.key)] = old;
  }
}

std::vector<TransitionCounts::Entry> TransitionCounts::Sorted() const {
  std::vector<std::pair<uint64_t, uint64_t>> pairs;
  pairs.reserve(distinct_);
  for (const Slot& slot : slots_) {
    if (slot.key != 0) pairs.emplace_back(slot.key - 1, slot.count);
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
