// When to stop early: the caller's cancellation and the time limit. Every loop of core looks at it.

#ifndef BILEVEL_CORE_BASE_INTERRUPT_H_
#define BILEVEL_CORE_BASE_INTERRUPT_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <utility>

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

// Called from inside long computations, in their thread, about once in `interval`: signs of life.
class Pulse {
 public:
  using Clock = std::chrono::steady_clock;

  Pulse(std::function<void()> beat, Clock::duration interval)
      : beat_(std::move(beat)), interval_(interval), next_(Clock::now() + interval) {}

  void MaybeBeat() {
    const Clock::time_point now = Clock::now();
    if (now < next_) return;
    next_ = now + interval_;
    beat_();
  }

 private:
  std::function<void()> beat_;
  Clock::duration interval_;
  Clock::time_point next_;
};

// Copyable view of a cancellation flag (may be null; must outlive the computation) and a point in time.
class Interrupt {
 public:
  using Clock = std::chrono::steady_clock;

  // Never interrupts.
  Interrupt() = default;
  Interrupt(const std::atomic<bool>* cancelled, std::optional<Clock::time_point> deadline)
      : cancelled_(cancelled), deadline_(deadline) {}

  // The reason to stop now, if any. About 30 ns for each of deadline and pulse.
  std::optional<StopReason> Check() const {
    if (pulse_ != nullptr) pulse_->MaybeBeat();
    if (cancelled_ != nullptr && cancelled_->load(std::memory_order_relaxed)) return StopReason::kCancelled;
    if (also_ != nullptr && also_->load(std::memory_order_relaxed)) return StopReason::kCancelled;
    if (deadline_.has_value() && Clock::now() >= *deadline_) return StopReason::kTimeLimit;
    return std::nullopt;
  }

  // The same, which another flag cancels as well; it must outlive the computation. One such at most.
  Interrupt AlsoBy(const std::atomic<bool>& cancelled) const {
    Interrupt result = *this;
    result.also_ = &cancelled;
    return result;
  }

  // The same cancellation with another point in time.
  Interrupt WithDeadline(Clock::time_point deadline) const {
    Interrupt result = *this;
    result.deadline_ = deadline;
    return result;
  }

  // The same cancellation with the deadline brought forward, to leave only this share of the time that remains now.
  Interrupt WithShareOfTime(double share) const {
    if (!deadline_.has_value()) return *this;
    const Clock::time_point now = Clock::now();
    return WithDeadline(now + std::chrono::duration_cast<Clock::duration>(share * (*deadline_ - now)));
  }

  // The same for another thread, which must not share a pulse.
  Interrupt WithoutPulse() const {
    Interrupt result = *this;
    result.pulse_ = nullptr;
    return result;
  }

  // The same with a pulse, which must outlive the computation.
  Interrupt WithPulse(Pulse& pulse) const {
    Interrupt result = *this;
    result.pulse_ = &pulse;
    return result;
  }

 private:
  const std::atomic<bool>* cancelled_ = nullptr;
  const std::atomic<bool>* also_ = nullptr;
  std::optional<Clock::time_point> deadline_;
  Pulse* pulse_ = nullptr;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_BASE_INTERRUPT_H_
