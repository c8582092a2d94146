// One Act stream.
//
// An action whose policy is still to come is waited for without a thread: the session's news try again.

#ifndef BILEVEL_SERVER_ACT_REACTOR_H_
#define BILEVEL_SERVER_ACT_REACTOR_H_

#include <memory>
#include <optional>

#include "bilevel/v1/transition_stream.pb.h"
#include "server/sessions/session_registry.h"
#include "server/stream_reactor.h"

namespace bilevel::server {

class ActReactor final : public StreamReactor<v1::ActRequest, v1::ActResponse> {
 public:
  // registry must outlive the gRPC server.
  explicit ActReactor(const SessionRegistry& registry) : registry_(registry) { Begin(); }

 private:
  void Handle(const v1::ActRequest& request) override;
  bool TakeNews(v1::ActResponse& response) override;
  void Release() override;

  // The error ends the stream.
  absl::Status Open(const v1::ActRequest& request);
  // Answers an observation, now or later; the error is told in the stream.
  absl::Status Take(const v1::ActRequest& request);
  void Reject(uint64_t sequence, const absl::Status& status);
  // Under acting_: answers what waits, if that can be done now.
  void TryToAct();
  void Hear(const SessionNews& news);

  const SessionRegistry& registry_;

  // Set by Open, before anybody else knows the reactor.
  std::shared_ptr<Session> session_;
  Session::Lease lease_;
  uint64_t watch_ = 0;
  Exploration exploration_;
  bool walks_ = false;

  std::mutex acting_;  // taken before mutex_
  std::optional<Observation> waiting_;

  bool draining_due_ = false;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_ACT_REACTOR_H_
