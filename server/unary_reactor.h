// One unary call on its way through a worker.
//
// gRPC keeps the reactor, the request and the response until Finish, even when the client is long gone; the thread
// that ran it, a worker or the one that cancelled it while it waited, ends every call exactly once and touches nothing
// of it afterwards.

#ifndef BILEVEL_SERVER_UNARY_REACTOR_H_
#define BILEVEL_SERVER_UNARY_REACTOR_H_

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "server/convert/error.h"
#include "server/jobs/call_state.h"

namespace bilevel::server {

class UnaryReactor final : public grpc::ServerUnaryReactor {
 public:
  explicit UnaryReactor(std::shared_ptr<CallState> call) : call_(std::move(call)) {}

  const std::shared_ptr<CallState>& call() const { return call_; }

  // Once.
  void End(const absl::Status& status) { Finish(ToGrpcStatus(status)); }

 private:
  void OnCancel() override { call_->Cancel(); }
  void OnDone() override { delete this; }

  const std::shared_ptr<CallState> call_;
};

// A call that is over when it is answered, on gRPC's own thread.
inline grpc::ServerUnaryReactor* AnswerAtOnce(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

// Nothing when the client set none.
inline std::optional<CallState::Clock::time_point> DeadlineOf(const grpc::CallbackServerContext& context) {
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return std::nullopt;
  const auto left = deadline - std::chrono::system_clock::now();
  if (left > std::chrono::hours(24 * 365)) return std::nullopt;
  return CallState::Clock::now() + std::chrono::duration_cast<CallState::Clock::duration>(left);
}

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_UNARY_REACTOR_H_
