#include "server/step_reactor.h"

#include <utility>

#include "core/base/status_macros.h"
#include "server/convert/count.h"
#include "server/convert/error.h"
#include "server/convert/in_field.h"
#include "server/convert/outer_loop.h"
#include "server/convert/session.h"
#include "server/convert/session_stream.h"

namespace bilevel::server {

StepReactor::StepReactor(const v1::WatchStepsRequest& request, const SessionRegistry& registry)
    : link_(std::make_shared<Link>()) {
  link_->reactor = this;
  if (const absl::Status begun = Begin(request, registry); !begun.ok()) {
    End(ToGrpcStatus(begun));
  } else {
    Push();
  }
}

absl::Status StepReactor::Begin(const v1::WatchStepsRequest& request, const SessionRegistry& registry) {
  ASSIGN_OR_RETURN(const std::string id, InField("name", DecodeSessionName(request.name())));
  ASSIGN_OR_RETURN(told_, DecodeCount("after_number", request.after_number()));
  ASSIGN_OR_RETURN(std::shared_ptr<Session> session, registry.Find(id));
  if (session->outer_loop() == nullptr) return absl::FailedPreconditionError("the session has no outer_loop");
  session_ = std::move(session);
  watch_ = session_->Watch([link = link_](const SessionNews& news) {
    const std::lock_guard lock(link->mutex);
    if (link->reactor != nullptr) link->reactor->Hear(news);
  });
  return absl::OkStatus();
}

void StepReactor::Hear(const SessionNews& news) {
  if (news.ended || news.draining) {
    End(EndedStatus(news.draining ? StreamEnd::kServerStops : StreamEnd::kDeleted));
  } else if (news.policy) {
    Push();
  }
}

bool StepReactor::TakeNext() {
  response_.Clear();
  // Before the step is looked for: the last is told before the end.
  const std::shared_ptr<const OuterLoopState> state = session_->Status().outer_loop;
  if (const std::shared_ptr<const OuterStep> step = session_->StepAfter(told_); step != nullptr) {
    told_ = step->number;
    EncodeStep(*step, response_.mutable_step());
    return true;
  }
  if (!state->termination.has_value()) return false;
  EncodeOuterLoop(*state, response_.mutable_stopped());
  end_ = grpc::Status::OK;
  return true;
}

void StepReactor::Push() {
  std::optional<grpc::Status> end;
  {
    const std::lock_guard lock(mutex_);
    if (writing_ || finished_) return;
    if (!end_.has_value()) {
      writing_ = TakeNext();
      if (!writing_) return;
    } else {
      finished_ = true;
      end = end_;
    }
  }
  if (end.has_value()) {
    Finish(*end);
  } else {
    StartWrite(&response_);
  }
}

void StepReactor::End(const grpc::Status& status) {
  {
    const std::lock_guard lock(mutex_);
    if (!end_.has_value() || !status.ok()) end_ = status;
  }
  Push();
}

void StepReactor::OnWriteDone(bool ok) {
  {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok) end_ = grpc::Status(grpc::StatusCode::CANCELLED, "the caller is gone");
  }
  Push();
}

void StepReactor::OnDone() {
  {
    const std::lock_guard lock(link_->mutex);
    link_->reactor = nullptr;
  }
  if (session_ != nullptr) session_->EndWatch(watch_);
  delete this;
}

}  // namespace bilevel::server
