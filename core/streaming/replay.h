// The last transitions, to be learned from again.

#ifndef BILEVEL_CORE_STREAMING_REPLAY_H_
#define BILEVEL_CORE_STREAMING_REPLAY_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/base/rng.h"

namespace bilevel {

// A ring: beyond its capacity a new item takes the place of the oldest.
template <typename Item>
class Replay {
 public:
  // capacity >= 1. Memory is taken as it fills.
  explicit Replay(size_t capacity) : capacity_(capacity) {}

  void Add(const Item& item) {
    if (items_.size() < capacity_) {
      items_.push_back(item);
    } else {
      items_[added_ % capacity_] = item;
    }
    ++added_;
  }

  void Clear() {
    items_.clear();
    added_ = 0;
  }

  // Uniform among what is held; there must be something.
  const Item& Draw(Rng& rng) const { return items_[rng.Below(items_.size())]; }

  // All that is held, in no order that means anything once the ring is full.
  std::span<const Item> items() const { return items_; }

  size_t size() const { return items_.size(); }
  uint64_t added() const { return added_; }

 private:
  size_t capacity_;
  uint64_t added_ = 0;
  std::vector<Item> items_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_REPLAY_H_
