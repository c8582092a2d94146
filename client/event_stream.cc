#include "client/event_stream.h"

#include <utility>

#include "client/event_call.h"
#include "client/status.h"

namespace bilevel::client {
namespace {

bool IsLast(const v1::OptimizeEvent& event) { return !event.has_progress(); }
bool IsLast(const v1::WatchStepsResponse& event) { return !event.has_step(); }

}  // namespace

template <typename Message>
EventStream<Message>::Call::~Call() {
  if (finished_) return;
  context_.TryCancel();
  Message unread;
  while (reader_->Read(&unread)) {
  }
  static_cast<void>(reader_->Finish());
}

template <typename Message>
std::optional<typename EventStream<Message>::Event> EventStream<Message>::Call::Next() {
  Message event;
  if (reader_->Read(&event)) return event;
  finished_ = true;
  const grpc::Status status = reader_->Finish();
  if (status.ok()) return std::nullopt;
  return FromGrpcStatus(status);
}

template <typename Message>
EventStream<Message>::EventStream(std::unique_ptr<Call> call) : call_(std::move(call)) {}
template <typename Message>
EventStream<Message>::EventStream(EventStream&&) noexcept = default;
template <typename Message>
EventStream<Message>& EventStream<Message>::operator=(EventStream&&) noexcept = default;
template <typename Message>
EventStream<Message>::~EventStream() = default;

template <typename Message>
void EventStream<Message>::Cancel() {
  call_->Cancel();
}

template <typename Message>
void EventStream<Message>::Advance() {
  if (last_) {
    ended_ = true;
    return;
  }
  std::optional<Event> next = call_->Next();
  event_ = next ? *std::move(next) : absl::InternalError("the server ended the stream without its last message");
  last_ = !event_.ok() || IsLast(*event_);
}

template class EventStream<v1::OptimizeEvent>;
template class EventStream<v1::WatchStepsResponse>;

}  // namespace bilevel::client
