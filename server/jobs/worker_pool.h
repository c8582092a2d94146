// Threads that solve, apart from the threads that talk.
//
// Two lanes, each a first-in first-out queue: long tasks run on `long_threads` workers; short tasks have threads of
// their own, so one huge solve never makes a small one wait. A long worker without long tasks helps with short ones,
// and one without either helps a task that shares its work.

#ifndef BILEVEL_SERVER_JOBS_WORKER_POOL_H_
#define BILEVEL_SERVER_JOBS_WORKER_POOL_H_

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"

namespace bilevel::server {

enum class Lane { kLong, kShort };

struct WorkerPoolOptions {
  int long_threads = 1;   // >= 1
  int short_threads = 1;  // >= 1
  int queue_length = 64;  // tasks that may wait in each lane, >= 0: with 0 a task is taken only by an idle thread
};

class WorkerPool {
 public:
  using Clock = std::chrono::steady_clock;
  // Told how long it waited. Must not throw.
  using Task = std::function<void(Clock::duration queued)>;

  // Names a task of this pool.
  using Ticket = std::uint64_t;

  explicit WorkerPool(const WorkerPoolOptions& options);
  // Stops.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Takes the task, which then runs exactly once, and returns its ticket; or refuses it: RESOURCE_EXHAUSTED
  // (QUEUE_FULL) when the lane's queue is full, UNAVAILABLE (SERVER_STOPPING) after Close. Never blocks. continues: by
  // a running task of this pool, whose work it goes on with; also taken after Close.
  absl::StatusOr<Ticket> TrySubmit(Lane lane, Task task, bool continues = false);

  // Runs a task that still waits at once, in the calling thread, so that its place is free; otherwise nothing.
  void RunNow(Ticket ticket);

  // Calls part(0), ..., part(count - 1), each once, in the calling thread and in long workers that have nothing else to
  // do, and returns when all have returned. A worker looks for tasks of its own after each part. What a part throws is
  // thrown here once all that began have ended; parts that have not begun are left out then.
  void Share(int count, const std::function<void(int)>& part);

  // Refuses new tasks from now on; those already taken, and what continues them, still run.
  void Close();

  // Close, then returns when all tasks have run and the threads have ended; RunNow must not be called any more. Not
  // from a task.
  void Stop();

 private:
  struct Waiting {
    Ticket ticket = 0;
    Task task;
    Clock::time_point since;
  };

  // Work that a task shares. Guarded by mutex_.
  struct Shared {
    const std::function<void(int)>* part = nullptr;
    int next = 0;
    int count = 0;
    int running = 0;
    std::exception_ptr error;
    std::condition_variable ended;
  };

  std::deque<Waiting>& queue(Lane lane) { return queues_[static_cast<size_t>(lane)]; }
  void Work(Lane lane);
  // The queue that a worker of this lane should serve next; null when both are empty. Needs mutex_.
  std::deque<Waiting>* Next(Lane lane);
  // Runs one part of shared work, if there is one; the lock is held on entry and on return.
  bool HelpOut(std::unique_lock<std::mutex>& lock);
  static void RunPart(Shared& shared, std::unique_lock<std::mutex>& lock);

  const WorkerPoolOptions options_;
  std::mutex mutex_;
  std::condition_variable long_work_;
  std::condition_variable short_work_;
  std::array<std::deque<Waiting>, 2> queues_;
  std::list<Shared> shared_;
  int idle_long_;  // those that have not begun yet included
  int idle_short_;
  Ticket last_ticket_ = 0;
  int running_ = 0;  // tasks, which may continue
  bool closed_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_JOBS_WORKER_POOL_H_
