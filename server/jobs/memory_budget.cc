#include "server/jobs/memory_budget.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "server/jobs/refusal.h"
#include "server/reasons.h"

namespace bilevel::server {
namespace {

constexpr double kMebibyte = 1 << 20;

std::string Mebibytes(double bytes) { return absl::StrCat(bytes / kMebibyte, " MiB"); }

}  // namespace

absl::Status MemoryBudget::CheckFits(double bytes) const {
  if (bytes <= limit_) return absl::OkStatus();
  return MakeRefusal(
      absl::StatusCode::kResourceExhausted,
      {.reason = reasons::kMemoryBudgetExceeded,
       .subject = "memory_budget",
       .description = absl::StrCat("the request needs an estimated ", Mebibytes(bytes), " and memory_budget is ",
                                   Mebibytes(limit_),
                                   "; send fewer contexts or points, choose LOWER_LEVEL_METHOD_NEWTON_KRYLOV or "
                                   "LOWER_LEVEL_METHOD_SWEEPS, or start the server with a larger --memory_budget"),
       .retry_delay = std::nullopt});
}

absl::StatusOr<MemoryBudget::Reservation> MemoryBudget::Reserve(double bytes) {
  if (absl::Status status = CheckFits(bytes); !status.ok()) return status;
  if (TryTake(bytes)) return Reservation(this, bytes);
  if (give_back_) {
    give_back_();
    if (TryTake(bytes)) return Reservation(this, bytes);
  }
  return MakeRefusal(absl::StatusCode::kResourceExhausted,
                     {.reason = reasons::kMemoryBusy,
                      .subject = "memory_budget",
                      .description = absl::StrCat("the request needs an estimated ", Mebibytes(bytes),
                                                  "; other requests, sessions and environments hold ",
                                                  Mebibytes(used()), " of ", Mebibytes(limit_), "; retry later"),
                      .retry_delay = kRetryDelay});
}

std::optional<MemoryBudget::Reservation> MemoryBudget::TryReserve(double bytes) {
  if (!TryTake(bytes)) return std::nullopt;
  return Reservation(this, bytes);
}

bool MemoryBudget::TryTake(double bytes) {
  const std::lock_guard lock(mutex_);
  if (used_ + bytes > limit_) return false;
  used_ += bytes;
  return true;
}

double MemoryBudget::used() const {
  const std::lock_guard lock(mutex_);
  return used_;
}

void MemoryBudget::Release(double bytes) {
  const std::lock_guard lock(mutex_);
  used_ -= bytes;
}

}  // namespace bilevel::server
