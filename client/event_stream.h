// A stream of the server as a range of events:
//
//   for (const absl::StatusOr<v1::OptimizeEvent>& event : client.Optimize(request)) {
//     if (!event.ok()) return event.status();
//     if (event->has_progress()) ...
//     if (event->has_result()) ...   // the last one
//   }
//
// Each step of the loop waits for the next event. The range ends after the last event (an optimisation's result, or the
// estimate that answers validate_only; an outer loop's `stopped`), or after one error: a server's refusal, CANCELLED
// after Cancel(), DEADLINE_EXCEEDED, UNAVAILABLE when the connection breaks. A cancelled optimisation brings no result:
// the last progress event holds the best parameters so far. Leaving the loop early and destroying the stream cancels
// the call, and with it an optimisation's work on the server.

#ifndef BILEVEL_CLIENT_EVENT_STREAM_H_
#define BILEVEL_CLIENT_EVENT_STREAM_H_

#include <cstddef>
#include <iterator>
#include <memory>

#include "absl/status/statusor.h"
#include "bilevel/v1/session_service.pb.h"
#include "bilevel/v1/solver_service.pb.h"

namespace bilevel::client {

// Where the events come from (client/event_source.h).
template <typename Message>
class EventSource;

template <typename Message>
class EventStream {
 public:
  using Event = absl::StatusOr<Message>;

  // Single pass: every iterator of a stream stands at the same, current event.
  class Iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using difference_type = std::ptrdiff_t;
    using value_type = Event;

    const Event& operator*() const { return stream_->event_; }
    const Event* operator->() const { return &stream_->event_; }
    Iterator& operator++() {
      stream_->Advance();
      return *this;
    }
    void operator++(int) { stream_->Advance(); }
    bool operator==(std::default_sentinel_t) const { return stream_->ended_; }

   private:
    friend class EventStream;
    explicit Iterator(EventStream* stream) : stream_(stream) {}
    EventStream* stream_;
  };

  EventStream(EventStream&&) noexcept;
  EventStream& operator=(EventStream&&) noexcept;
  ~EventStream();

  // Waits for the first event. Call it once.
  Iterator begin() {
    Advance();
    return Iterator(this);
  }
  std::default_sentinel_t end() const { return {}; }

  // Asks the server to stop; the range then ends with CANCELLED, or with the last event if that was under way. May be
  // called from any thread, at any time before the stream is moved or destroyed.
  void Cancel();

 private:
  friend class BilevelClient;
  explicit EventStream(std::unique_ptr<EventSource<Message>> source);

  void Advance();

  std::unique_ptr<EventSource<Message>> source_;
  Event event_;
  bool last_ = false;
  bool ended_ = false;
};

// A running optimisation.
using OptimizeStream = EventStream<v1::OptimizeEvent>;
// The steps of a session's outer loop.
using StepStream = EventStream<v1::WatchStepsResponse>;

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_EVENT_STREAM_H_
