#include "server/jobs/pace.h"

#include <algorithm>
#include <vector>

namespace bilevel::server {
namespace {

using Clock = PaceOptions::Clock;

// Beyond this nobody looks, and durations do not overflow.
constexpr double kMostSeconds = 1e9;

Clock::rep Count(Clock::time_point time) { return time.time_since_epoch().count(); }

}  // namespace

Pace::Pace(const PaceOptions& options)
    : options_(options), began_(options.now()), late_after_(Count(began_ + options.idle)) {}

void Pace::Move(uint64_t bytes) {
  moved_ += static_cast<double>(bytes);
  const std::chrono::duration<double> earned(std::min(moved_ / options_.bytes_per_second, kMostSeconds));
  late_after_ =
      Count(std::min(options_.now(), began_ + std::chrono::duration_cast<Clock::duration>(earned)) + options_.idle);
}

PaceWatch::Entry::~Entry() {
  const std::lock_guard lock(watch_.mutex_);
  watch_.entries_.erase(this);
}

std::shared_ptr<PaceWatch::Entry> PaceWatch::Watch(std::function<void()> on_late) {
  std::shared_ptr<Entry> entry(new Entry(*this, std::move(on_late)));
  const std::lock_guard lock(mutex_);
  entries_.emplace(entry.get(), entry);
  return entry;
}

void PaceWatch::TellLate() {
  std::vector<std::shared_ptr<Entry>> here;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, weak] : entries_) {
      if (std::shared_ptr<Entry> entry = weak.lock(); entry != nullptr) here.push_back(std::move(entry));
    }
  }
  for (const std::shared_ptr<Entry>& entry : here) {
    if (entry->pace_.IsLate() && !entry->told_.exchange(true)) entry->on_late_();
  }
}

}  // namespace bilevel::server
