#include "client/optimize_stream.h"

#include <utility>

#include "client/optimize_call.h"
#include "client/status.h"

namespace bilevel::client {

OptimizeStream::Call::Call(v1::SolverService::Stub& solver, const v1::OptimizeRequest& request,
                           std::chrono::system_clock::time_point deadline) {
  context_.set_deadline(deadline);
  reader_ = solver.Optimize(&context_, request);
}

OptimizeStream::Call::~Call() {
  if (finished_) return;
  context_.TryCancel();
  v1::OptimizeEvent unread;
  while (reader_->Read(&unread)) {
  }
  static_cast<void>(reader_->Finish());
}

std::optional<OptimizeStream::Event> OptimizeStream::Call::Next() {
  v1::OptimizeEvent event;
  if (reader_->Read(&event)) return event;
  finished_ = true;
  const grpc::Status status = reader_->Finish();
  if (status.ok()) return std::nullopt;
  return FromGrpcStatus(status);
}

OptimizeStream::OptimizeStream(std::unique_ptr<Call> call) : call_(std::move(call)) {}
OptimizeStream::OptimizeStream(OptimizeStream&&) noexcept = default;
OptimizeStream& OptimizeStream::operator=(OptimizeStream&&) noexcept = default;
OptimizeStream::~OptimizeStream() = default;

void OptimizeStream::Cancel() { call_->Cancel(); }

void OptimizeStream::Advance() {
  if (last_) {
    ended_ = true;
    return;
  }
  std::optional<Event> next = call_->Next();
  event_ = next ? *std::move(next) : absl::InternalError("the server ended the stream without a result");
  last_ = !event_.ok() || !event_->has_progress();
}

}  // namespace bilevel::client
