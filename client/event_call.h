// The gRPC call behind an EventStream.

#ifndef BILEVEL_CLIENT_EVENT_CALL_H_
#define BILEVEL_CLIENT_EVENT_CALL_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>

#include "bilevel/v1/session_service.grpc.pb.h"
#include "bilevel/v1/solver_service.grpc.pb.h"
#include "client/event_stream.h"

namespace bilevel::client {

template <typename Message>
class EventStream<Message>::Call {
 public:
  // open: starts the call in the context.
  template <typename Open>
  explicit Call(const Open& open) : reader_(open(&context_)) {}
  // Cancels what is still running.
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // The next event; nullopt after a regular end; the call's error otherwise.
  std::optional<Event> Next();
  void Cancel() { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<Message>> reader_;
  bool finished_ = false;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_EVENT_CALL_H_
