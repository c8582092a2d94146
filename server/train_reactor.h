// One Train stream.
//
// Batches are taken in gRPC's threads: that is decoding and a copy under a lock, never learning. The next message is
// read when the answer to a rejected one is on its way, so what waits to be written is bounded: one rejection, and one
// slot each for progress and policy where newer replaces older.

#ifndef BILEVEL_SERVER_TRAIN_REACTOR_H_
#define BILEVEL_SERVER_TRAIN_REACTOR_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <mutex>
#include <optional>

#include "bilevel/v1/session_service.pb.h"
#include "server/sessions/session_registry.h"

namespace bilevel::server {

class TrainReactor final : public grpc::ServerBidiReactor<v1::TrainRequest, v1::TrainResponse> {
 public:
  // registry must outlive the gRPC server.
  explicit TrainReactor(const SessionRegistry& registry);

 private:
  // How other threads reach the reactor while it lives.
  struct Link {
    std::mutex mutex;
    TrainReactor* reactor;
  };

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override { End(grpc::Status(grpc::StatusCode::CANCELLED, "the caller is gone")); }
  void OnDone() override;

  // The error ends the stream.
  absl::Status Open(const v1::TrainRequest& request);
  // The error is told in the stream.
  absl::Status Take(const v1::TrainRequest& request);
  void Reject(const absl::Status& status);
  // The next message, unless the stream ends.
  void Read();

  // The stream ends once what is being written is written.
  void End(const grpc::Status& status);
  // What was taken is to be acknowledged.
  void Acknowledge();
  // The learner went on.
  void Tell(bool policy);
  // Writes what is due, or ends.
  void Push();
  bool NextMessage();

  const SessionRegistry& registry_;
  const std::shared_ptr<Link> link_;
  v1::TrainRequest request_;

  // Set by Open, before anybody else knows the reactor.
  std::shared_ptr<Session> session_;
  Session::Lease lease_;
  uint64_t watch_ = 0;

  std::mutex mutex_;
  v1::TrainResponse in_flight_;
  std::optional<v1::TrainResponse> urgent_;  // opened, or a rejection
  bool read_after_urgent_ = false;
  bool progress_due_ = false, policy_due_ = false;
  WriterProgress told_;
  uint64_t told_version_ = 0;
  bool writing_ = false, finished_ = false;
  std::optional<grpc::Status> end_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_TRAIN_REACTOR_H_
