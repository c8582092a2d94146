// When to stop early: the caller's cancellation and the time limit. Every loop of core looks at it.

#ifndef BILEVEL_CORE_BASE_INTERRUPT_H_
#define BILEVEL_CORE_BASE_INTERRUPT_H_

#include <atomic>
#include <chrono>
#include <optional>
#include <string>

namespace bilevel {

// Why a computation stopped. Reaching a limit is an outcome, not an error.
enum class StopReason {
  kConverged,
  kIterationLimit,
  kTimeLimit,
  kEvaluationLimit,
  kCancelled,
  kDiverged,
};

struct Termination {
  StopReason reason = StopReason::kConverged;
  std::string detail;
};

// Copyable view of a cancellation flag (may be null; must outlive the computation) and a point in time.
class Interrupt {
 public:
  using Clock = std::chrono::steady_clock;

  // Never interrupts.
  Interrupt() = default;
  Interrupt(const std::atomic<bool>* cancelled, std::optional<Clock::time_point> deadline)
      : cancelled_(cancelled), deadline_(deadline) {}

  // The reason to stop now, if any. About 30 ns.
  std::optional<StopReason> Check() const {
    if (cancelled_ != nullptr && cancelled_->load(std::memory_order_relaxed)) return StopReason::kCancelled;
    if (deadline_.has_value() && Clock::now() >= *deadline_) return StopReason::kTimeLimit;
    return std::nullopt;
  }

  // The same cancellation with another point in time.
  Interrupt WithDeadline(Clock::time_point deadline) const { return Interrupt(cancelled_, deadline); }

 private:
  const std::atomic<bool>* cancelled_ = nullptr;
  std::optional<Clock::time_point> deadline_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_BASE_INTERRUPT_H_
