#include "server/jobs/worker_pool.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>

#include "server/jobs/refusal.h"
#include "server/reasons.h"

namespace bilevel::server {
namespace {

// Of long workers: short tasks and the threads that talk come first where cores are few.
constexpr int kLongNiceness = 10;

absl::Status QueueFull(int waiting, int limit) {
  return MakeRefusal(absl::StatusCode::kResourceExhausted,
                     {.reason = reasons::kQueueFull,
                      .subject = "queue_length",
                      .description = std::to_string(waiting) + " requests wait and queue_length is " +
                                     std::to_string(limit) + "; retry later or start the server with more threads",
                      .retry_delay = kRetryDelay});
}

}  // namespace

WorkerPool::WorkerPool(const WorkerPoolOptions& options)
    : options_(options), idle_long_(options.long_threads), idle_short_(options.short_threads) {
  for (int i = 0; i < options.long_threads; ++i) {
    threads_.emplace_back([this] {
      setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()),
                  kLongNiceness);  // of this thread; may fail, and then is not
      Work(Lane::kLong);
    });
  }
  for (int i = 0; i < options.short_threads; ++i) threads_.emplace_back([this] { Work(Lane::kShort); });
}

WorkerPool::~WorkerPool() { Stop(); }

absl::StatusOr<WorkerPool::Ticket> WorkerPool::TrySubmit(Lane lane, Task task, bool continues) {
  bool wake_short = false;
  Ticket ticket = 0;
  {
    const std::lock_guard lock(mutex_);
    if (closed_ && !continues) {
      return MakeRefusal(absl::StatusCode::kUnavailable,
                         {.reason = reasons::kServerStopping,
                          .subject = "",
                          .description = "the server is stopping; retry elsewhere or later",
                          .retry_delay = kRetryDelay});
    }
    // Idle threads are about to take as many tasks off the queue; those do not count as waiting.
    const int idle = lane == Lane::kLong ? idle_long_ : idle_short_;
    const int waiting = static_cast<int>(queue(lane).size());
    if (waiting - idle >= options_.queue_length) return QueueFull(waiting, options_.queue_length);
    ticket = ++last_ticket_;
    queue(lane).push_back({ticket, std::move(task), Clock::now()});
    wake_short = lane == Lane::kShort && waiting < idle_short_;
  }
  if (wake_short) {
    short_work_.notify_one();
  } else {
    long_work_.notify_one();
  }
  return ticket;
}

void WorkerPool::RunNow(Ticket ticket) {
  Waiting taken;
  {
    const std::lock_guard lock(mutex_);
    for (std::deque<Waiting>& waiting : queues_) {
      const auto found = std::find_if(waiting.begin(), waiting.end(),
                                      [ticket](const Waiting& candidate) { return candidate.ticket == ticket; });
      if (found == waiting.end()) continue;
      taken = std::move(*found);
      waiting.erase(found);
      break;
    }
  }
  if (taken.task) taken.task(Clock::now() - taken.since);
}

void WorkerPool::RunPart(Shared& shared, std::unique_lock<std::mutex>& lock) {
  const int index = shared.next++;
  ++shared.running;
  lock.unlock();
  std::exception_ptr error;
  try {
    (*shared.part)(index);
  } catch (...) {
    error = std::current_exception();
  }
  lock.lock();
  if (error != nullptr) {
    shared.next = shared.count;
    shared.error = error;
  }
  if (--shared.running == 0 && shared.next >= shared.count) shared.ended.notify_all();
}

bool WorkerPool::HelpOut(std::unique_lock<std::mutex>& lock) {
  const auto found = std::find_if(shared_.begin(), shared_.end(), [](const Shared& s) { return s.next < s.count; });
  if (found == shared_.end()) return false;
  RunPart(*found, lock);
  return true;
}

void WorkerPool::Share(int count, const std::function<void(int)>& part) {
  std::unique_lock lock(mutex_);
  const auto mine = shared_.emplace(shared_.end());
  mine->part = &part;
  mine->count = count;
  long_work_.notify_all();
  while (mine->next < mine->count) RunPart(*mine, lock);
  mine->ended.wait(lock, [&] { return mine->running == 0; });
  const std::exception_ptr error = mine->error;
  shared_.erase(mine);
  lock.unlock();
  if (error != nullptr) std::rethrow_exception(error);
}

void WorkerPool::Close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  long_work_.notify_all();
  short_work_.notify_all();
}

void WorkerPool::Stop() {
  Close();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

std::deque<WorkerPool::Waiting>* WorkerPool::Next(Lane lane) {
  if (lane == Lane::kLong && !queue(Lane::kLong).empty()) return &queue(Lane::kLong);
  return queue(Lane::kShort).empty() ? nullptr : &queue(Lane::kShort);
}

void WorkerPool::Work(Lane lane) {
  std::condition_variable& work = lane == Lane::kLong ? long_work_ : short_work_;
  int& idle = lane == Lane::kLong ? idle_long_ : idle_short_;
  std::unique_lock lock(mutex_);
  --idle;
  while (true) {
    std::deque<Waiting>* next = Next(lane);
    if (next == nullptr) {
      if (lane == Lane::kLong && HelpOut(lock)) continue;
      if (closed_ && running_ == 0) return;
      ++idle;
      work.wait(lock);  // NOLINT(bugprone-spuriously-wake-up-functions): the loop around looks again
      --idle;
      continue;
    }
    Waiting taken = std::move(next->front());
    next->pop_front();
    ++running_;
    lock.unlock();
    taken.task(Clock::now() - taken.since);
    taken.task = nullptr;  // what it holds is released outside the lock
    lock.lock();
    if (--running_ == 0 && closed_) {
      long_work_.notify_all();
      short_work_.notify_all();
    }
  }
}

}  // namespace bilevel::server
