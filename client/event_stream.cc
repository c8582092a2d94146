#include "client/event_stream.h"

#include <utility>

#include "client/event_source.h"

namespace bilevel::client {
namespace {

bool IsLast(const v1::OptimizeEvent& event) { return !event.has_progress(); }
bool IsLast(const v1::WatchStepsResponse& event) { return !event.has_step(); }

}  // namespace

template <typename Message>
EventStream<Message>::EventStream(std::unique_ptr<EventSource<Message>> source) : source_(std::move(source)) {}
template <typename Message>
EventStream<Message>::EventStream(EventStream&&) noexcept = default;
template <typename Message>
EventStream<Message>& EventStream<Message>::operator=(EventStream&&) noexcept = default;
template <typename Message>
EventStream<Message>::~EventStream() = default;

template <typename Message>
void EventStream<Message>::Cancel() {
  source_->Cancel();
}

template <typename Message>
void EventStream<Message>::Advance() {
  if (last_) {
    ended_ = true;
    return;
  }
  std::optional<Event> next = source_->Next();
  event_ = next ? *std::move(next) : absl::InternalError("the server ended the stream without its last message");
  last_ = !event_.ok() || IsLast(*event_);
}

template class EventStream<v1::OptimizeEvent>;
template class EventStream<v1::WatchStepsResponse>;

}  // namespace bilevel::client
