// The connection behind a TrainStream: opens streams one after another, and moves batches from the buffer to the server
// and its answers back.
//
// Two threads, both with gRPC's blocking calls: one writes, waits, and begins again with the next stream; the other,
// one for each stream, opens it and reads. Neither holds a lock while it is in gRPC, but for TryCancel.

#ifndef BILEVEL_CLIENT_TRAIN_LINK_H_
#define BILEVEL_CLIENT_TRAIN_LINK_H_

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "bilevel/v1/session_service.grpc.pb.h"
#include "client/backoff.h"
#include "client/train_stream.h"

namespace bilevel::client {

class TrainStream::Link {
 public:
  using Clock = TransitionBuffer::Clock;

  // The stub must stay valid as long as `owner` lives, which the link keeps.
  Link(v1::SessionService::StubInterface& stub, std::shared_ptr<const void> owner, std::string session,
       const TrainOptions& options);
  // Cancels.
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  // Waits for the first opening; the error is final.
  absl::Status WaitUntilOpened(Clock::time_point deadline);
  void Cancel(absl::Status why);

  TransitionBuffer& buffer() { return buffer_; }
  std::uint64_t first_accepted() const;
  int connections() const;
  std::optional<v1::PolicyUpdate> policy() const;

 private:
  using Stream = grpc::ClientReaderWriterInterface<v1::TrainRequest, v1::TrainResponse>;

  void Run();
  // One stream, from its opening to its end; how it ended. OK: the finish was taken. again: the one before failed.
  absl::Status RunStream(bool again);
  // Until when the server may take to answer the opening, and what to say when it does not: why an earlier stream ended
  // says more.
  Clock::time_point OpenDeadline() const;
  absl::Status NoAnswer() const;
  // Sends until there is nothing more to do in this stream. True when the last message was a finish.
  bool Send(Stream& stream, grpc::ClientContext& context);
  // Opens, and then handles what the server says, until the stream ends.
  void Receive(Stream& stream, grpc::ClientContext& context);
  absl::Status Handle(const v1::TrainResponse& response);
  absl::Status HandleOpened(const v1::WriterProgress& progress);
  absl::Status HandleRejected(const v1::Rejected& rejected);
  // Ends the stream under way from our side.
  void Break(const absl::Status& why, grpc::ClientContext& context);
  // Interrupted by Cancel.
  void Sleep(std::chrono::duration<double> delay);

  v1::SessionService::StubInterface& stub_;
  const std::shared_ptr<const void> owner_;
  const std::string session_;
  const TrainOptions options_;
  TransitionBuffer buffer_;
  Backoff backoff_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool cancelled_ = false;
  grpc::ClientContext* context_ = nullptr;  // of the stream under way
  std::optional<std::uint64_t> first_accepted_;
  int connections_ = 0;
  std::optional<v1::PolicyUpdate> policy_;
  absl::Status last_end_;  // of the stream before; OK once there is another
  // Of the stream under way.
  absl::Status broken_;  // why we ended it
  std::optional<std::chrono::duration<double>> draining_;
  Clock::time_point last_success_ = Clock::now();

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_TRAIN_LINK_H_
