#include "server/jobs/request_intake.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/base/field_error.h"

namespace bilevel::server {
namespace {

constexpr size_t kBlockBytes = 1 << 20;

}  // namespace

RequestIntake::Arrival::Arrival(RequestIntake& intake, uint64_t total_bytes, MemoryBudget::Reservation reservation,
                                std::function<void()> on_late)
    : intake_(intake),
      total_bytes_(total_bytes),
      on_late_(std::move(on_late)),
      began_(intake.options_.now()),
      last_(began_) {
  whole_.reservation = std::move(reservation);
}

RequestIntake::Arrival::~Arrival() {
  const std::lock_guard lock(intake_.mutex_);
  intake_.arrivals_.erase(this);
}

absl::Status RequestIntake::Arrival::CheckHere() const {
  if (here_) return absl::OkStatus();
  return absl::AbortedError("the request arrived too slowly; it was forgotten");
}

absl::Status RequestIntake::Arrival::Take(std::string_view data) {
  const std::lock_guard lock(mutex_);
  if (absl::Status here = CheckHere(); !here.ok()) return here;
  if (data.size() > total_bytes_ - taken_) {
    return FieldError("data",
                      absl::StrCat("brings ", taken_ + data.size(), " bytes and total_bytes is ", total_bytes_));
  }
  if (!data.empty()) last_ = intake_.options_.now();
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

bool RequestIntake::Arrival::IsLate(Clock::time_point now) const {
  const std::lock_guard lock(mutex_);
  if (!here_) return false;
  const std::chrono::duration<double> earned(static_cast<double>(taken_) / intake_.options_.bytes_per_second);
  return now - last_ > intake_.options_.idle || now - began_ > intake_.options_.idle + earned;
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
  const std::shared_ptr<Arrival> arrival(new Arrival(*this, total_bytes, *std::move(reservation), std::move(on_late)));
  const std::lock_guard lock(mutex_);
  arrivals_.emplace(arrival.get(), arrival);
  return arrival;
}

void RequestIntake::ForgetLate() {
  std::vector<std::shared_ptr<Arrival>> here;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, weak] : arrivals_) {
      if (std::shared_ptr<Arrival> arrival = weak.lock(); arrival != nullptr) here.push_back(std::move(arrival));
    }
  }
  const RequestIntakeOptions::Clock::time_point now = options_.now();
  for (const std::shared_ptr<Arrival>& arrival : here) {
    if (arrival->IsLate(now)) arrival->Forget();
  }
}

}  // namespace bilevel::server
