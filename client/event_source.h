// What is behind an EventStream: a call of the server.

#ifndef BILEVEL_CLIENT_EVENT_SOURCE_H_
#define BILEVEL_CLIENT_EVENT_SOURCE_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>

#include "client/event_stream.h"
#include "client/status.h"

namespace bilevel::client {

template <typename Message>
class EventSource {
 public:
  using Event = typename EventStream<Message>::Event;

  EventSource() = default;
  // Cancels what is still running.
  virtual ~EventSource() = default;
  EventSource(const EventSource&) = delete;
  EventSource& operator=(const EventSource&) = delete;

  // The next event; nullopt after a regular end; the call's error otherwise.
  virtual std::optional<Event> Next() = 0;
  // From any thread.
  virtual void Cancel() = 0;
};

// A call that answers with a stream.
template <typename Message>
class EventCall final : public EventSource<Message> {
 public:
  using Event = typename EventSource<Message>::Event;

  // open: starts the call in the context.
  template <typename Open>
  explicit EventCall(const Open& open) : reader_(open(&context_)) {}

  ~EventCall() override {
    if (finished_) return;
    context_.TryCancel();
    Message unread;
    while (reader_->Read(&unread)) {
    }
    static_cast<void>(reader_->Finish());
  }

  std::optional<Event> Next() override {
    Message event;
    if (reader_->Read(&event)) return event;
    finished_ = true;
    const grpc::Status status = reader_->Finish();
    if (status.ok()) return std::nullopt;
    return FromGrpcStatus(status);
  }

  void Cancel() override { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<Message>> reader_;
  bool finished_ = false;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_EVENT_SOURCE_H_
