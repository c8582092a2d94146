#include "core/streaming/merge_order.h"

namespace bilevel {

std::optional<MergeOrder::Merged> MergeOrder::Next(std::vector<WriterQueue>& writers) {
  for (size_t passed = 0; passed <= writers.size(); ++passed) {
    if (taken_ == round_) Pass(writers.size());
    const size_t writer = turn_;
    if (const std::optional<Transition> transition = writers[writer].Pop(); transition.has_value()) {
      ++taken_;
      ++merged_;
      return Merged{writer, *transition};
    }
    if (!writers[writer].finished()) return std::nullopt;
    Pass(writers.size());
  }
  return std::nullopt;
}

}  // namespace bilevel
