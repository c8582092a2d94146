// Between a solver that reports and a stream that writes one message at a time.
//
// Progress waits in one slot where a newer report replaces an older one, never in a queue: a slow reader costs no
// memory and does not hold the solver up. The end (a last event, or none) is always delivered, exactly once, after the
// write in flight; progress that still waits then is dropped.
//
// Every function returns what the caller must do next, outside of any lock. After kWriteLast or kEnd nothing is asked
// for again, by no thread.

#ifndef BILEVEL_SERVER_JOBS_LATEST_SLOT_H_
#define BILEVEL_SERVER_JOBS_LATEST_SLOT_H_

#include <mutex>
#include <optional>
#include <utility>

namespace bilevel::server {

template <typename Event>
class LatestSlot {
 public:
  enum class Action {
    kNothing,
    kWrite,      // write in_flight(), then call OnWritten
    kWriteLast,  // write in_flight() and end the stream
    kEnd,        // end the stream without a further event
  };

  // A newer report. Ignored after PutEnd.
  Action PutProgress(Event event) {
    const std::lock_guard lock(mutex_);
    if (ending_ || broken_) return Action::kNothing;
    progress_ = std::move(event);
    return Next();
  }

  // The end; once.
  Action PutEnd(std::optional<Event> last) {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    progress_.reset();
    last_ = std::move(last);
    return Next();
  }

  // The write in flight has ended; ok is false when the reader is gone, and then nothing more is written.
  Action OnWritten(bool ok) {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    broken_ = broken_ || !ok;
    return Next();
  }

  // The event being written: unchanged from kWrite or kWriteLast until OnWritten.
  const Event& in_flight() const { return in_flight_; }

 private:
  Action Next() {
    if (writing_ || ended_) return Action::kNothing;
    if (ending_) {
      ended_ = true;
      if (broken_ || !last_.has_value()) return Action::kEnd;
      in_flight_ = std::move(*last_);
      return Action::kWriteLast;
    }
    if (broken_ || !progress_.has_value()) return Action::kNothing;
    in_flight_ = std::move(*progress_);
    progress_.reset();
    writing_ = true;
    return Action::kWrite;
  }

  std::mutex mutex_;
  Event in_flight_;
  std::optional<Event> progress_;
  std::optional<Event> last_;
  bool writing_ = false;
  bool ending_ = false;
  bool ended_ = false;
  bool broken_ = false;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_JOBS_LATEST_SLOT_H_
