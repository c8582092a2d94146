#include "core/streaming/parameter_schedule.h"

#include "core/base/text.h"

namespace bilevel {

absl::Status ParameterSchedule::Set(uint64_t after, Vector x, uint64_t at) {
  if (version_ > 1 && after == since_ && x == x_) return absl::OkStatus();
  if (after < at) {
    return absl::FailedPreconditionError(
        absl::StrCat("after_merged is ", after, "; ", at, " transitions are merged already"));
  }
  if (!to_come_.contains(after) && to_come_.size() >= kMostToCome) {
    return absl::ResourceExhaustedError(absl::StrCat(kMostToCome, " changes of x are still to come; wait for some"));
  }
  to_come_[after] = std::move(x);
  return absl::OkStatus();
}

bool ParameterSchedule::Reach(uint64_t at) {
  if (to_come_.empty() || to_come_.begin()->first != at) return false;
  x_ = std::move(to_come_.begin()->second);
  to_come_.erase(to_come_.begin());
  since_ = at;
  ++version_;
  return true;
}

void ParameterSchedule::Move(Vector x, uint32_t version, uint64_t at) {
  if (version_++ != version) return;
  x_ = std::move(x);
  since_ = at;
}

}  // namespace bilevel
