// The gRPC call behind an OptimizeStream.

#ifndef BILEVEL_CLIENT_OPTIMIZE_CALL_H_
#define BILEVEL_CLIENT_OPTIMIZE_CALL_H_

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <optional>

#include "bilevel/v1/solver_service.grpc.pb.h"
#include "client/optimize_stream.h"

namespace bilevel::client {

class OptimizeStream::Call {
 public:
  Call(v1::SolverService::Stub& solver, const v1::OptimizeRequest& request,
       std::chrono::system_clock::time_point deadline);
  // Cancels what is still running.
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // The next event; nullopt after a regular end; the call's error otherwise.
  std::optional<Event> Next();
  void Cancel() { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::OptimizeEvent>> reader_;
  bool finished_ = false;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_OPTIMIZE_CALL_H_
