// Who may touch a session's learner: its own thread, which is often at it for long, or somebody who wants a short look
// and can be called off while waiting. Those who want a look go first.

#ifndef BILEVEL_SERVER_SESSIONS_LEARNER_LOCK_H_
#define BILEVEL_SERVER_SESSIONS_LEARNER_LOCK_H_

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "core/base/interrupt.h"

namespace bilevel::server {

class LearnerLock {
 public:
  // The learner's; waits for everybody else. With unlock() it is a BasicLockable.
  void lock() {
    std::unique_lock lock(mutex_);
    free_.wait(lock, [this] { return !held_ && looking_ == 0; });
    held_ = true;
  }

  // False when the interrupt came first.
  bool LockToLook(const Interrupt& interrupt) {
    std::unique_lock lock(mutex_);
    ++looking_;
    while (held_ && !interrupt.Check().has_value()) free_.wait_for(lock, std::chrono::milliseconds(10));
    --looking_;
    const bool got = !held_;
    held_ = true;
    if (!got) free_.notify_all();
    return got;
  }

  bool TryLock() {
    const std::lock_guard lock(mutex_);
    return !std::exchange(held_, true);
  }

  void unlock() {
    {
      const std::lock_guard lock(mutex_);
      held_ = false;
    }
    free_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable free_;
  bool held_ = false;
  int looking_ = 0;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_SESSIONS_LEARNER_LOCK_H_
