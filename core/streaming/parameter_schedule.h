// Which x holds when, counted in transitions: x_1 from the start, and changes to come.

#ifndef BILEVEL_CORE_STREAMING_PARAMETER_SCHEDULE_H_
#define BILEVEL_CORE_STREAMING_PARAMETER_SCHEDULE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "core/mdp/tabular_mdp.h"

namespace bilevel {

class ParameterSchedule {
 public:
  explicit ParameterSchedule(Vector x) : x_(std::move(x)) {}

  // Changes that may be to come at a time; each holds one x.
  static constexpr size_t kMostToCome = 16;

  // x after `after` transitions, default: now; at: how many there were so far. What was already set for that moment
  // gives way. FAILED_PRECONDITION when after < at, unless that very change was the last one made; RESOURCE_EXHAUSTED
  // beyond kMostToCome.
  absl::Status Set(std::optional<uint64_t> after, Vector x, uint64_t at);

  // When x changes next.
  std::optional<uint64_t> next() const {
    return to_come_.empty() ? std::nullopt : std::optional(to_come_.begin()->first);
  }
  // There were `at` transitions. True when x changed.
  bool Reach(uint64_t at);
  // The outer loop has moved x. What was set for this moment is still to come.
  void Move(Vector x);

  const Vector& x() const { return x_; }
  uint32_t version() const { return version_; }  // of x: 1, 2, ...
  // Of the last change to come.
  uint32_t newest() const { return version_ + static_cast<uint32_t>(to_come_.size()); }

 private:
  Vector x_;
  uint32_t version_ = 1;
  std::optional<std::pair<uint64_t, Vector>> last_set_;  // that was made
  std::map<uint64_t, Vector> to_come_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_PARAMETER_SCHEDULE_H_
