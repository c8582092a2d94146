// A server in this process, reached over loopback.

#ifndef BILEVEL_TESTS_SERVER_LOOPBACK_H_
#define BILEVEL_TESTS_SERVER_LOOPBACK_H_

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>

#include "bilevel/v1/error_details.pb.h"
#include "bilevel/v1/solver_service.grpc.pb.h"
#include "server/bilevel_server.h"

namespace bilevel::server {

inline ServerOptions LoopbackOptions(int threads = 2) {
  ServerOptions options;
  options.listen = "127.0.0.1:0";
  options.dispatcher.threads = threads;
  return options;
}

class Loopback {
 public:
  explicit Loopback(const ServerOptions& options = LoopbackOptions())
      : server_(BilevelServer::Start(options).value()),
        channel_(grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials())),
        stub_(v1::SolverService::NewStub(channel_)) {}

  BilevelServer& server() { return *server_; }
  const std::shared_ptr<grpc::Channel>& channel() { return channel_; }
  v1::SolverService::Stub& stub() { return *stub_; }

 private:
  std::unique_ptr<BilevelServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::SolverService::Stub> stub_;
};

inline void SetDeadline(grpc::ClientContext& context, std::chrono::milliseconds from_now) {
  context.set_deadline(std::chrono::system_clock::now() + from_now);
}

// The details of an error, as a client with its own googleapis would read them.
struct ErrorDetails {
  v1::rpc::ErrorInfo info;
  v1::rpc::BadRequest bad_request;
  v1::rpc::QuotaFailure quota;
  bool has_retry = false;
};

inline ErrorDetails DetailsOf(const grpc::Status& status) {
  v1::rpc::Status message;
  message.ParseFromString(status.error_details());
  ErrorDetails details;
  for (const google::protobuf::Any& any : message.details()) {
    const std::string prefix = "type.googleapis.com/google.rpc.";
    if (any.type_url() == prefix + "ErrorInfo") details.info.ParseFromString(any.value());
    if (any.type_url() == prefix + "BadRequest") details.bad_request.ParseFromString(any.value());
    if (any.type_url() == prefix + "QuotaFailure") details.quota.ParseFromString(any.value());
    if (any.type_url() == prefix + "RetryInfo") details.has_retry = true;
  }
  return details;
}

}  // namespace bilevel::server

#endif  // BILEVEL_TESTS_SERVER_LOOPBACK_H_
