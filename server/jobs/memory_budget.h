// How much memory running and waiting requests may hold together, by their own estimates.

#ifndef BILEVEL_SERVER_JOBS_MEMORY_BUDGET_H_
#define BILEVEL_SERVER_JOBS_MEMORY_BUDGET_H_

#include <functional>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"

namespace bilevel::server {

class MemoryBudget {
 public:
  // A share of the budget, given back on destruction. The budget must outlive it.
  class Reservation {
   public:
    Reservation() = default;
    Reservation(Reservation&& other) noexcept
        : budget_(std::exchange(other.budget_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
    Reservation& operator=(Reservation&& other) noexcept {
      std::swap(budget_, other.budget_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Reservation() {
      if (budget_ != nullptr) budget_->Release(bytes_);
    }

    double bytes() const { return bytes_; }
    // Gives back what is above `bytes`.
    void Shrink(double bytes) {
      if (budget_ == nullptr || bytes >= bytes_) return;
      budget_->Release(bytes_ - bytes);
      bytes_ = bytes;
    }

   private:
    friend class MemoryBudget;
    Reservation(MemoryBudget* budget, double bytes) : budget_(budget), bytes_(bytes) {}

    MemoryBudget* budget_ = nullptr;
    double bytes_ = 0;
  };

  // limit: bytes, >= 0.
  explicit MemoryBudget(double limit) : limit_(limit) {}

  // RESOURCE_EXHAUSTED naming estimate, limit and what to do: MEMORY_BUDGET_EXCEEDED when `bytes` alone is above the
  // limit, MEMORY_BUSY (with a retry delay) when only what others hold stands in the way.
  absl::StatusOr<Reservation> Reserve(double bytes);

  // A reservation where it fits at once; where it does not nobody is asked to give anything back.
  std::optional<Reservation> TryReserve(double bytes);

  // Called before a reservation is refused as MEMORY_BUSY, in its thread and without locks of the budget: gives back
  // what nobody needs any more, so that it may be tried once more. Set before the budget is shared.
  void OnShortage(std::function<void()> give_back) { give_back_ = std::move(give_back); }

  // The first of these two refusals alone.
  absl::Status CheckFits(double bytes) const;

  double limit() const { return limit_; }
  double used() const;

 private:
  void Release(double bytes);
  bool TryTake(double bytes);

  const double limit_;
  std::function<void()> give_back_;
  mutable std::mutex mutex_;
  double used_ = 0;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_JOBS_MEMORY_BUDGET_H_
