#include "core/streaming/parameter_schedule.h"

#include "core/base/text.h"

namespace bilevel {

absl::Status ParameterSchedule::Set(std::optional<uint64_t> after, Vector x, uint64_t at) {
  if (after.has_value() && last_set_.has_value() && last_set_->first == *after && last_set_->second == x) {
    return absl::OkStatus();
  }
  if (after.value_or(at) < at) {
    return absl::FailedPreconditionError(
        absl::StrCat("after_merged is ", *after, "; ", at, " transitions are merged already"));
  }
  const uint64_t when = after.value_or(at);
  if (!to_come_.contains(when) && to_come_.size() >= kMostToCome) {
    return absl::ResourceExhaustedError(absl::StrCat(kMostToCome, " changes of x are still to come; wait for some"));
  }
  to_come_[when] = std::move(x);
  return absl::OkStatus();
}

bool ParameterSchedule::Reach(uint64_t at) {
  if (to_come_.empty() || to_come_.begin()->first != at) return false;
  x_ = std::move(to_come_.begin()->second);
  to_come_.erase(to_come_.begin());
  last_set_ = {at, x_};
  ++version_;
  return true;
}

void ParameterSchedule::Move(Vector x) {
  x_ = std::move(x);
  ++version_;
}

}  // namespace bilevel
