// What a call and the thread that works for it share: whether somebody wants it to stop, and when it must.

#ifndef BILEVEL_SERVER_JOBS_CALL_STATE_H_
#define BILEVEL_SERVER_JOBS_CALL_STATE_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_set>
#include <vector>

#include "core/base/interrupt.h"

namespace bilevel::server {

class CallState {
 public:
  using Clock = std::chrono::steady_clock;

  // What is reached this long before the call's deadline is sent, so that it arrives before gRPC drops it.
  static constexpr std::chrono::milliseconds kDeadlineMargin{200};

  explicit CallState(std::optional<Clock::time_point> deadline) : deadline_(deadline) {}

  // The caller is gone: nobody waits for an answer. Runs what OnAbandon left.
  void Cancel();
  // `react` runs once, when the caller is gone: in Cancel, or here when that has been. May be called several times.
  void OnAbandon(std::function<void()> react);
  // The server stops: the answer so far is still wanted.
  void StopEarly() { stop_.store(true); }

  bool abandoned() const { return abandoned_.load(); }
  // Whether the server, not the caller, asked to stop.
  bool stopped_early() const { return stop_.load() && !abandoned_.load(); }

  // Stops on either wish, and at min(started + time_limit, deadline - kDeadlineMargin). Valid while this lives.
  Interrupt MakeInterrupt(Clock::time_point started, std::optional<Clock::duration> time_limit) const;

 private:
  const std::optional<Clock::time_point> deadline_;
  std::atomic<bool> stop_ = false;
  std::atomic<bool> abandoned_ = false;
  std::mutex mutex_;
  std::vector<std::function<void()>> reactions_;
};

// The calls in progress.
class CallRegistry {
 public:
  CallRegistry() = default;
  CallRegistry(const CallRegistry&) = delete;
  CallRegistry& operator=(const CallRegistry&) = delete;

  // A new call; it is in progress until the last copy of the pointer is gone. The registry must outlive it.
  std::shared_ptr<CallState> Open(std::optional<CallState::Clock::time_point> deadline);

  // StopEarly for every call in progress.
  void StopAll();

  // Waits until no call is in progress; false when that took longer than `limit`.
  bool WaitUntilIdle(CallState::Clock::duration limit);

  size_t size() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable idle_;
  std::unordered_set<CallState*> calls_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_JOBS_CALL_STATE_H_
