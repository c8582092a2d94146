// Whether what holds memory keeps moving: requests and uploads that arrive, answers that go.
//
// Late is that of which nothing moves for `idle`, or less on average than `bytes_per_second` once the first `idle` has
// passed.

#ifndef BILEVEL_SERVER_JOBS_PACE_H_
#define BILEVEL_SERVER_JOBS_PACE_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

namespace bilevel::server {

struct PaceOptions {
  using Clock = std::chrono::steady_clock;

  Clock::duration idle = std::chrono::minutes(1);
  double bytes_per_second = 64 << 10;
  std::function<Clock::time_point()> now = Clock::now;
};

class Pace {
 public:
  using Clock = PaceOptions::Clock;

  // Begins now; options must outlive it.
  explicit Pace(const PaceOptions& options);

  // So many bytes have moved. By one thread at a time.
  void Move(uint64_t bytes);
  // By any thread.
  bool IsLate() const { return options_.now().time_since_epoch().count() > late_after_; }

 private:
  const PaceOptions& options_;
  const Clock::time_point began_;
  double moved_ = 0;
  std::atomic<Clock::rep> late_after_;
};

// What is to keep moving, and what is to happen where it does not.
class PaceWatch {
 public:
  explicit PaceWatch(PaceOptions options = {}) : options_(std::move(options)) {}
  PaceWatch(const PaceWatch&) = delete;
  PaceWatch& operator=(const PaceWatch&) = delete;

  // Watched until it is destroyed; the watch must outlive it.
  class Entry {
   public:
    ~Entry();
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;

    void Move(uint64_t bytes) { pace_.Move(bytes); }

   private:
    friend class PaceWatch;
    Entry(PaceWatch& watch, std::function<void()> on_late)
        : watch_(watch), on_late_(std::move(on_late)), pace_(watch.options_) {}

    PaceWatch& watch_;
    const std::function<void()> on_late_;
    Pace pace_;
    std::atomic<bool> told_ = false;
  };

  // on_late is called by the thread that finds it late, at most once, perhaps just after the entry was let go.
  std::shared_ptr<Entry> Watch(std::function<void()> on_late);

  // Looks at all of them.
  void TellLate();

 private:
  const PaceOptions options_;
  std::mutex mutex_;  // of the map alone
  std::map<const Entry*, std::weak_ptr<Entry>> entries_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_JOBS_PACE_H_
