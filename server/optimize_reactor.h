// One Optimize stream: progress while the worker runs, latest wins; then the result, and the end.

#ifndef BILEVEL_SERVER_OPTIMIZE_REACTOR_H_
#define BILEVEL_SERVER_OPTIMIZE_REACTOR_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>
#include <utility>

#include "bilevel/v1/solver_service.pb.h"
#include "server/convert/error.h"
#include "server/jobs/call_state.h"
#include "server/jobs/latest_slot.h"

namespace bilevel::server {

class OptimizeReactor final : public grpc::ServerWriteReactor<v1::OptimizeEvent> {
 public:
  explicit OptimizeReactor(std::shared_ptr<CallState> call) : call_(std::move(call)) {}

  const std::shared_ptr<CallState>& call() const { return call_; }

  // The worker's: progress, then the last event (filled through last()), then End, once. A call that was cancelled
  // while it waited gets End alone, in the thread that cancelled it.
  void Report(v1::OptimizeEvent event) { Do(slot_.PutProgress(std::move(event))); }
  v1::OptimizeEvent* last() { return &last_; }
  void End(const absl::Status& status) {
    status_ = ToGrpcStatus(status);
    Do(status.ok() ? slot_.PutEnd(std::move(last_)) : slot_.PutEnd(std::nullopt));
  }

 private:
  using Slot = LatestSlot<v1::OptimizeEvent>;

  void OnCancel() override { call_->Cancel(); }
  void OnWriteDone(bool ok) override { Do(slot_.OnWritten(ok)); }
  void OnDone() override { delete this; }

  // After the last two actions `this` may be gone.
  void Do(Slot::Action action) {
    switch (action) {
      case Slot::Action::kNothing:
        break;
      case Slot::Action::kWrite:
        StartWrite(&slot_.in_flight());
        break;
      case Slot::Action::kWriteLast:
        StartWriteAndFinish(&slot_.in_flight(), grpc::WriteOptions(), status_);
        break;
      case Slot::Action::kEnd:
        Finish(status_);
        break;
    }
  }

  const std::shared_ptr<CallState> call_;
  v1::OptimizeEvent last_;
  grpc::Status status_;  // set before the slot is told of the end
  Slot slot_;
};

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_OPTIMIZE_REACTOR_H_
