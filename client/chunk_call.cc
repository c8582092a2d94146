#include "client/chunk_call.h"

#include <google/protobuf/io/zero_copy_stream.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/backoff.h"
#include "client/status.h"

namespace bilevel::client {
namespace {

using std::chrono::milliseconds;

// The largest that the server takes.
constexpr int kChunkBytes = 1 << 20;
constexpr std::uint64_t kMaxTotalBytes = (std::uint64_t{1} << 31) - 1;
// As of calls in one message.
constexpr Backoff::Delay kFirstDelay{0.2}, kMaxDelay{5.0};

// What a message is serialised into: each MiB is sent once it is full.
template <typename Stream>
class Chunks final : public google::protobuf::io::ZeroCopyOutputStream {
 public:
  Chunks(Stream& stream, const std::string& method, std::uint64_t total_bytes) : stream_(stream) {
    chunk_.set_method(method);
    chunk_.set_total_bytes(total_bytes);
  }

  bool Next(void** data, int* size) override {
    if (filled_ == kChunkBytes && !Flush()) return false;
    chunk_.mutable_data()->resize(kChunkBytes);
    *data = chunk_.mutable_data()->data() + filled_;
    *size = kChunkBytes - filled_;
    count_ += *size;
    filled_ = kChunkBytes;
    return true;
  }
  void BackUp(int count) override {
    filled_ -= count;
    count_ -= count;
  }
  int64_t ByteCount() const override { return count_; }

  // What is left, and the end.
  void Finish() {
    chunk_.mutable_data()->resize(static_cast<std::size_t>(filled_));
    stream_.WriteLast(chunk_, grpc::WriteOptions());
  }

 private:
  bool Flush() {
    if (!stream_.Write(chunk_)) return false;
    chunk_.clear_method();
    chunk_.clear_total_bytes();
    filled_ = 0;
    return true;
  }

  Stream& stream_;
  v1::CallChunk chunk_;
  int filled_ = 0;
  int64_t count_ = 0;
};

}  // namespace

bool NeedsChunks(const absl::Status& status) {
  const auto info = StatusDetail<v1::rpc::ErrorInfo>(status);
  return info.has_value() ? info->reason() == "RESPONSE_TOO_LARGE" : absl::IsResourceExhausted(status);
}

ChunkCall::ChunkCall(v1::SolverService::StubInterface& stub, std::string method,
                     const google::protobuf::Message& request, Clock::time_point deadline, int attempts)
    : stub_(stub), method_(std::move(method)), request_(request), deadline_(deadline), attempts_(attempts) {}

ChunkCall::~ChunkCall() {
  if (stream_ == nullptr) return;
  Cancel();
  while (stream_->Read(&chunk_)) {
  }
  End();
}

absl::StatusOr<bool> ChunkCall::Next(google::protobuf::Message& answer) {
  if (!std::exchange(begun_, true)) {
    const std::uint64_t size = request_.ByteSizeLong();
    if (size > kMaxTotalBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("the request has ", size, " bytes; chunks can bring ", kMaxTotalBytes));
    }
    if (!Open()) return FromGrpcStatus(status_);
  } else if (!stream_->Read(&chunk_)) {
    End();
    if (!status_.ok()) return FromGrpcStatus(status_);
    return false;
  }
  const std::uint64_t total_bytes = chunk_.total_bytes();
  std::string bytes = std::move(*chunk_.mutable_data());
  if (total_bytes <= kMaxTotalBytes) bytes.reserve(total_bytes);
  while (bytes.size() < total_bytes && stream_->Read(&chunk_)) bytes += chunk_.data();
  if (bytes.size() < total_bytes) {
    End();
    if (!status_.ok()) return FromGrpcStatus(status_);
  }
  if (bytes.size() != total_bytes || !answer.ParseFromString(bytes)) {
    return absl::DataLossError(
        absl::StrCat("the chunks do not make an answer: ", bytes.size(), " of ", total_bytes, " bytes"));
  }
  return true;
}

bool ChunkCall::Open() {
  Backoff backoff(kFirstDelay, kMaxDelay, std::random_device{}());
  for (int attempt = 1;; ++attempt) {
    {
      const std::lock_guard lock(mutex_);
      context_ = std::make_unique<grpc::ClientContext>();
      context_->set_deadline(deadline_);
      if (cancelled_) context_->TryCancel();
    }
    stream_ = stub_.CallInChunks(context_.get());
    Send();
    if (stream_->Read(&chunk_)) return true;
    End();
    if (status_.ok())
      status_ = grpc::Status(grpc::StatusCode::DATA_LOSS, "the server ended the call without an answer");
    if (status_.error_code() != grpc::StatusCode::UNAVAILABLE || attempt == attempts_) return false;
    if (!Wait(std::chrono::duration_cast<Clock::duration>(backoff.Next()))) return false;
  }
}

// What breaks it shows when the stream ends.
void ChunkCall::Send() {
  Chunks chunks(*stream_, method_, request_.ByteSizeLong());
  if (request_.SerializeToZeroCopyStream(&chunks)) chunks.Finish();
}

void ChunkCall::End() {
  status_ = stream_->Finish();
  stream_.reset();
}

// Whether there is time left for another attempt.
bool ChunkCall::Wait(Clock::duration delay) {
  const Clock::time_point until = Clock::now() + delay;
  if (until >= deadline_) return false;
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (cancelled_) {
        status_ = grpc::Status(grpc::StatusCode::CANCELLED, "CANCELLED");
        return false;
      }
    }
    const Clock::time_point now = Clock::now();
    if (now >= until) return true;
    std::this_thread::sleep_for(std::min<Clock::duration>(until - now, milliseconds(50)));
  }
}

void ChunkCall::Cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  if (context_ != nullptr) context_->TryCancel();
}

}  // namespace bilevel::client
