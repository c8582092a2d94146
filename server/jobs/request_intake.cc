#include "server/jobs/request_intake.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/base/field_error.h"

namespace bilevel::server {
namespace {

constexpr size_t kBlockBytes = 1 << 20;

}  // namespace

RequestIntake::Arrival::Arrival(uint64_t total_bytes, MemoryBudget::Reservation reservation,
                                std::function<void()> on_late)
    : total_bytes_(total_bytes), on_late_(std::move(on_late)) {
  whole_.reservation = std::move(reservation);
}

absl::Status RequestIntake::Arrival::CheckHere() const { return here_ ? absl::OkStatus() : TooSlow(); }

absl::Status RequestIntake::Arrival::Take(std::string_view data) {
  const std::lock_guard lock(mutex_);
  if (absl::Status here = CheckHere(); !here.ok()) return here;
  if (data.size() > total_bytes_ - taken_) {
    return FieldError("data",
                      absl::StrCat("brings ", taken_ + data.size(), " bytes and total_bytes is ", total_bytes_));
  }
  if (!data.empty()) pace_->Move(data.size());
  while (!data.empty()) {
    if (taken_ % kBlockBytes == 0) {
      whole_.blocks.emplace_back();
      whole_.blocks.back().reserve(std::min<uint64_t>(kBlockBytes, total_bytes_ - taken_));
    }
    const size_t size = std::min(data.size(), kBlockBytes - taken_ % kBlockBytes);
    whole_.blocks.back().append(data.substr(0, size));
    taken_ += size;
    data.remove_prefix(size);
  }
  return absl::OkStatus();
}

absl::StatusOr<RequestIntake::Whole> RequestIntake::Arrival::Finish() {
  const std::lock_guard lock(mutex_);
  if (absl::Status here = CheckHere(); !here.ok()) return here;
  if (taken_ < total_bytes_) {
    return FieldError("total_bytes", absl::StrCat("is ", total_bytes_, " and ", taken_, " bytes came"));
  }
  here_ = false;
  return std::move(whole_);
}

void RequestIntake::Arrival::Forget() {
  {
    const std::lock_guard lock(mutex_);
    if (!here_) return;
    here_ = false;
    whole_ = {};
  }
  on_late_();
}

absl::StatusOr<std::shared_ptr<RequestIntake::Arrival>> RequestIntake::Open(uint64_t total_bytes,
                                                                            std::function<void()> on_late) {
  ForgetLate();
  absl::StatusOr<MemoryBudget::Reservation> reservation = budget_.Reserve(static_cast<double>(total_bytes));
  if (!reservation.ok()) return reservation.status();
  const std::shared_ptr<Arrival> arrival(new Arrival(total_bytes, *std::move(reservation), std::move(on_late)));
  arrival->pace_ = watch_.Watch([weak = std::weak_ptr<Arrival>(arrival)] {
    if (const std::shared_ptr<Arrival> late = weak.lock(); late != nullptr) late->Forget();
  });
  return arrival;
}

absl::Status RequestIntake::TooSlow() { return absl::AbortedError("the request arrived too slowly; it was forgotten"); }

}  // namespace bilevel::server
