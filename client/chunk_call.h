// One call of SolverService in chunks (CallInChunks): for a request or an answer that is larger than one message.

#ifndef BILEVEL_CLIENT_CHUNK_CALL_H_
#define BILEVEL_CLIENT_CHUNK_CALL_H_

#include <google/protobuf/message.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "bilevel/v1/solver_service.grpc.pb.h"

namespace bilevel::client {

// The largest message that a server takes, unless it was told otherwise (--max_message_bytes). Told less, it refuses
// what is between, which then goes in chunks after all; told less than a chunk's MiB, it takes no chunks either.
inline constexpr std::size_t kMaxMessageBytes = 4 << 20;

// Whether a call was refused because its answer, or its request, is larger than one message. The latter gRPC itself
// refuses, with no ErrorInfo; the service's own refusals all have one.
bool NeedsChunks(const absl::Status& status);

class ChunkCall {
 public:
  using Clock = std::chrono::system_clock;

  // request is called by `method`; both stub and request must outlive it. attempts: at a call that fails with
  // UNAVAILABLE before its first reply, >= 1.
  ChunkCall(v1::SolverService::StubInterface& stub, std::string method, const google::protobuf::Message& request,
            Clock::time_point deadline, int attempts);
  // Cancels what is still running.
  ~ChunkCall();
  ChunkCall(const ChunkCall&) = delete;
  ChunkCall& operator=(const ChunkCall&) = delete;

  // The next message of the answer; false at its end. The first call sends the request. DATA_LOSS when the chunks make
  // no message.
  absl::StatusOr<bool> Next(google::protobuf::Message& answer);

  // From any thread.
  void Cancel();

 private:
  using Stream = grpc::ClientReaderWriterInterface<v1::CallChunk, v1::CallChunk>;

  // Sends the request and reads the first chunk: false where there is none, and the call has ended with status_.
  bool Open();
  void Send();
  void End();
  bool Wait(Clock::duration delay);

  v1::SolverService::StubInterface& stub_;
  const std::string method_;
  const google::protobuf::Message& request_;
  const Clock::time_point deadline_;
  const int attempts_;

  std::mutex mutex_;  // of the next two
  std::unique_ptr<grpc::ClientContext> context_;
  bool cancelled_ = false;

  std::unique_ptr<Stream> stream_;  // while it is open
  v1::CallChunk chunk_;             // read and not yet taken, while begun_
  bool begun_ = false;
  grpc::Status status_;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CHUNK_CALL_H_
