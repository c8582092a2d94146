// One Train stream.

#ifndef BILEVEL_SERVER_TRAIN_REACTOR_H_
#define BILEVEL_SERVER_TRAIN_REACTOR_H_

#include <memory>

#include "bilevel/v1/transition_stream.pb.h"
#include "server/sessions/session_registry.h"
#include "server/stream_reactor.h"

namespace bilevel::server {

class TrainReactor final : public StreamReactor<v1::TrainRequest, v1::TrainResponse> {
 public:
  // registry must outlive the gRPC server.
  explicit TrainReactor(const SessionRegistry& registry) : registry_(registry) { Begin(); }

 private:
  void Handle(const v1::TrainRequest& request) override;
  bool TakeNews(v1::TrainResponse& response) override;
  void AddLastNews() override;
  void Release() override;

  // The error ends the stream.
  absl::Status Open(const v1::TrainRequest& request);
  // The error is told in the stream.
  absl::Status Take(const v1::TrainRequest& request);

  // Under mutex_, as TakeNews.
  bool TakeProgress(v1::TrainResponse& response);
  bool TakePolicy(v1::TrainResponse& response);

  // What was taken is to be acknowledged.
  void Acknowledge();
  // The session has news.
  void Hear(const SessionNews& news);

  const SessionRegistry& registry_;

  // Set by Open, before anybody else knows the reactor.
  std::shared_ptr<Session> session_;
  Session::Lease lease_;
  uint64_t watch_ = 0;

  bool progress_due_ = false, policy_due_ = false, draining_due_ = false;
  bool told_progress_ = false;  // last, so that a policy is next
  WriterProgress told_;
  uint64_t told_version_ = 0;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_TRAIN_REACTOR_H_
