// An Optimize call, in chunks where its request or its result is larger than one message.

#ifndef BILEVEL_CLIENT_OPTIMIZE_SOURCE_H_
#define BILEVEL_CLIENT_OPTIMIZE_SOURCE_H_

#include <memory>
#include <optional>

#include "bilevel/v1/solver_service.grpc.pb.h"
#include "client/chunk_call.h"
#include "client/event_source.h"

namespace bilevel::client {

class OptimizeSource final : public EventSource<v1::OptimizeEvent> {
 public:
  // stub must live as long as keep_alive. attempts: as in ChunkCall.
  OptimizeSource(v1::SolverService::Stub& stub, std::shared_ptr<const void> keep_alive, v1::OptimizeRequest request,
                 ChunkCall::Clock::time_point deadline, int attempts)
      : keep_alive_(std::move(keep_alive)),
        request_(std::move(request)),
        chunks_(stub, "Optimize", request_, deadline, attempts) {
    if (request_.ByteSizeLong() > kMaxMessageBytes) return;
    whole_.emplace([&](grpc::ClientContext* context) {
      context->set_deadline(deadline);
      return stub.Optimize(context, request_);
    });
  }

  std::optional<Event> Next() override {
    if (whole_.has_value() && !in_chunks_) {
      std::optional<Event> next = whole_->Next();
      // Refused before the first event.
      in_chunks_ = next.has_value() && !next->ok() && NeedsChunks(next->status());
      if (!in_chunks_) return next;
    }
    v1::OptimizeEvent event;
    const absl::StatusOr<bool> read = chunks_.Next(event);
    if (!read.ok()) return read.status();
    if (!*read) return std::nullopt;
    return event;
  }

  // What has not begun will not either.
  void Cancel() override {
    if (whole_.has_value()) whole_->Cancel();
    chunks_.Cancel();
  }

 private:
  const std::shared_ptr<const void> keep_alive_;
  const v1::OptimizeRequest request_;
  std::optional<EventCall<v1::OptimizeEvent>> whole_;
  bool in_chunks_ = false;
  ChunkCall chunks_;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_OPTIMIZE_SOURCE_H_
