#include "core/streaming/merge_order.h"

#include <algorithm>
#include <utility>

namespace bilevel {

MergeOrder::Run MergeOrder::Next(std::vector<WriterQueue>& writers, size_t most) {
  const MergeOrder before = *this;
  for (size_t passed = 0; passed <= writers.size(); ++passed) {
    const size_t writer = turn_;
    BlockSlice slice = writers[writer].Pop(std::min(most, round_ - taken_));
    taken_ += slice.count;
    if (taken_ == round_) Pass(writers.size());
    if (slice.count > 0) return {writer, std::move(slice)};
    if (!writers[writer].finished()) return {};
    Pass(writers.size());
  }
  *this = before;  // all have finished
  return {};
}

void MergeOrder::Pass(size_t writers) {
  taken_ = 0;
  if (++turn_ < writers) return;
  turn_ = 0;
  ++rounds_;
}

}  // namespace bilevel
