// One WatchSteps call: the steps of a session's outer loop, as they are taken, until it has stopped.

#ifndef BILEVEL_SERVER_STEP_REACTOR_H_
#define BILEVEL_SERVER_STEP_REACTOR_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <mutex>
#include <optional>

#include "bilevel/v1/session_service.pb.h"
#include "server/sessions/session_registry.h"

namespace bilevel::server {

class StepReactor final : public grpc::ServerWriteReactor<v1::WatchStepsResponse> {
 public:
  StepReactor(const v1::WatchStepsRequest& request, const SessionRegistry& registry);

 private:
  // How the session reaches the reactor while it lives.
  struct Link {
    std::mutex mutex;
    StepReactor* reactor;
  };

  absl::Status Begin(const v1::WatchStepsRequest& request, const SessionRegistry& registry);
  void Hear(const SessionNews& news);
  // Writes what is due, or ends.
  void Push();
  // Under mutex_: whether there is something to write, in response_.
  bool TakeNext();
  void End(const grpc::Status& status);

  void OnWriteDone(bool ok) override;
  void OnCancel() override { End(grpc::Status(grpc::StatusCode::CANCELLED, "the caller is gone")); }
  void OnDone() override;

  const std::shared_ptr<Link> link_;
  std::shared_ptr<Session> session_;
  uint64_t watch_ = 0;
  std::mutex mutex_;
  uint64_t told_ = 0;  // number of the last step
  v1::WatchStepsResponse response_;
  bool writing_ = false, finished_ = false;
  std::optional<grpc::Status> end_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_STEP_REACTOR_H_
