// The newest steps of a session's outer loop, for readers who come at any time.

#ifndef BILEVEL_SERVER_SESSIONS_STEP_LOG_H_
#define BILEVEL_SERVER_SESSIONS_STEP_LOG_H_

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <utility>

#include "core/streaming/session_descent.h"

namespace bilevel::server {

class StepLog {
 public:
  explicit StepLog(int64_t num_parameters) : capacity_(CapacityFor(num_parameters)) {}

  // step: numbered one more than the last.
  void Add(std::shared_ptr<const OuterStep> step) {
    if (kept_.size() == capacity_) kept_.pop_front();
    kept_.push_back(std::move(step));
  }

  // The first that is kept after this number, or null.
  std::shared_ptr<const OuterStep> After(uint64_t number) const {
    const auto next = std::find_if(kept_.begin(), kept_.end(), [&](const auto& step) { return step->number > number; });
    return next == kept_.end() ? nullptr : *next;
  }

  std::shared_ptr<const OuterStep> last() const { return kept_.empty() ? nullptr : kept_.back(); }

  // Steps that are kept, in [16, 1024]: few where n is large.
  static size_t CapacityFor(int64_t num_parameters) {
    return static_cast<size_t>(std::clamp<int64_t>(200'000 / std::max<int64_t>(num_parameters, 1), 16, 1024));
  }
  // Bytes that it may come to hold.
  static double MaxBytes(int64_t num_parameters) {
    return static_cast<double>(CapacityFor(num_parameters)) * (8.0 * 12 * static_cast<double>(num_parameters) + 2048);
  }

 private:
  size_t capacity_;
  std::deque<std::shared_ptr<const OuterStep>> kept_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_SESSIONS_STEP_LOG_H_
