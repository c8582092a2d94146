// The connection behind an ActStream: one request under way, answered over as many connections as it takes. A thread of
// each connection opens it and reads; whoever asks, writes.

#ifndef BILEVEL_CLIENT_ACT_LINK_H_
#define BILEVEL_CLIENT_ACT_LINK_H_

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "bilevel/v1/session_service.grpc.pb.h"
#include "client/act_stream.h"
#include "client/backoff.h"

namespace bilevel::client {

class ActStream::Link {
 public:
  using Clock = std::chrono::steady_clock;

  // The stub must stay valid as long as `owner` lives, which the link keeps.
  Link(v1::SessionService::StubInterface& stub, std::shared_ptr<const void> owner, std::string session,
       const ActOptions& options);
  // Cancels.
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  absl::Status Open(Clock::time_point deadline);
  absl::StatusOr<v1::Action> Observe(const v1::Observation& observation, Clock::time_point deadline);
  absl::Status Finish(Clock::time_point deadline);
  void Cancel();

  const ActOptions& options() const { return options_; }
  std::uint64_t accepted() const;

 private:
  using Stream = grpc::ClientReaderWriterInterface<v1::ActRequest, v1::ActResponse>;

  // One connection. Destroying it cancels it.
  class Connection {
   public:
    // wait: for a connection; else the attempt fails at once where there is none.
    Connection(v1::SessionService::StubInterface& stub, const v1::ActRequest& open, bool wait);
    ~Connection();
    bool Write(const v1::ActRequest& request) { return stream_->Write(request); }
    void WritesDone() { stream_->WritesDone(); }
    void Cancel() { context_.TryCancel(); }
    enum class Got { kResponse, kEnd, kNothing };
    // The next message but draining, or how the stream ended; kNothing at the deadline.
    Got Next(Clock::time_point deadline, v1::ActResponse& response, absl::Status& end);
    std::optional<std::chrono::duration<double>> draining() const;

   private:
    void Run(const v1::ActRequest& open);

    grpc::ClientContext context_;
    std::unique_ptr<Stream> stream_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::optional<v1::ActResponse> response_;  // one at a time: one request is under way
    std::optional<std::chrono::duration<double>> draining_;
    std::optional<absl::Status> end_;
    std::thread reader_;
  };

  // Sends the request until it is answered; null: opens a connection alone. OK without a response where the server
  // ended the stream in order, after a finish.
  absl::StatusOr<std::optional<v1::ActResponse>> Ask(const v1::ActRequest* request, Clock::time_point deadline);
  // One attempt. `late` when it was the deadline. again: the one before failed.
  absl::StatusOr<std::optional<v1::ActResponse>> AskOnce(const v1::ActRequest* request, Clock::time_point deadline,
                                                         bool again, bool& late);
  absl::StatusOr<std::shared_ptr<Connection>> Connect(Clock::time_point deadline, bool again, bool& late);
  absl::Status HandleOpened(const v1::WriterProgress& progress);
  // False when cancelled.
  bool Sleep(std::chrono::duration<double> delay);
  // The next request opens another connection.
  void Drop();

  v1::SessionService::StubInterface& stub_;
  const std::shared_ptr<const void> owner_;
  const std::string session_;
  const ActOptions options_;
  std::mutex asking_;  // taken first
  Backoff backoff_;
  std::optional<v1::ActRequest> unanswered_;
  absl::Status final_;
  std::uint64_t last_ = 0;                       // number of the last transition
  Clock::time_point not_before_ = Clock::now();  // the next connection

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<Connection> connection_;
  std::uint64_t accepted_ = 0;
  bool opened_ = false;
  bool cancelled_ = false;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_ACT_LINK_H_
