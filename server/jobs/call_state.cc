#include "server/jobs/call_state.h"

#include <algorithm>
#include <utility>

namespace bilevel::server {

void CallState::Cancel() {
  std::vector<std::function<void()>> reactions;
  {
    const std::lock_guard lock(mutex_);
    abandoned_.store(true);
    stop_.store(true);
    reactions.swap(reactions_);
  }
  for (const std::function<void()>& react : reactions) react();
}

void CallState::OnAbandon(std::function<void()> react) {
  {
    const std::lock_guard lock(mutex_);
    if (!abandoned_.load()) {
      reactions_.push_back(std::move(react));
      return;
    }
  }
  react();
}

Interrupt CallState::MakeInterrupt(Clock::time_point started, std::optional<Clock::duration> time_limit) const {
  std::optional<Clock::time_point> end;
  if (deadline_.has_value()) end = *deadline_ - kDeadlineMargin;
  if (time_limit.has_value() && *time_limit < Clock::time_point::max() - started) {
    end = std::min(end.value_or(Clock::time_point::max()), started + *time_limit);
  }
  return Interrupt(&stop_, end);
}

std::shared_ptr<CallState> CallRegistry::Open(std::optional<CallState::Clock::time_point> deadline) {
  auto call = std::make_unique<CallState>(deadline);
  {
    const std::lock_guard lock(mutex_);
    calls_.insert(call.get());
  }
  return std::shared_ptr<CallState>(call.release(), [this](CallState* ended) {
    {
      const std::lock_guard lock(mutex_);
      calls_.erase(ended);
      idle_.notify_all();
    }
    delete ended;
  });
}

void CallRegistry::StopAll() {
  const std::lock_guard lock(mutex_);
  for (CallState* call : calls_) call->StopEarly();
}

bool CallRegistry::WaitUntilIdle(CallState::Clock::duration limit) {
  std::unique_lock lock(mutex_);
  // Not wait_for: ThreadSanitizer of GCC 12 does not know pthread_cond_clockwait.
  const auto end = std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::milliseconds>(limit);
  return idle_.wait_until(lock, end, [this] { return calls_.empty(); });
}

size_t CallRegistry::size() const {
  const std::lock_guard lock(mutex_);
  return calls_.size();
}

}  // namespace bilevel::server
