#include "server/act_reactor.h"

#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "server/convert/error.h"
#include "server/convert/in_field.h"
#include "server/convert/session.h"
#include "server/convert/session_stream.h"

namespace bilevel::server {

void ActReactor::Handle(const v1::ActRequest& request) {
  if (session_ == nullptr) {
    if (const absl::Status opened = Open(request); !opened.ok()) End(ToGrpcStatus(opened));
    return;
  }
  if (const absl::Status taken = Take(request); !taken.ok()) Reject(request.observation().sequence(), taken);
}

void ActReactor::Reject(uint64_t sequence, const absl::Status& status) {
  if (EndsStream(status)) {
    End(ToGrpcStatus(status));
    return;
  }
  v1::ActResponse response;
  EncodeRejected(sequence, status, response.mutable_rejected());
  Answer(std::move(response));
}

absl::Status ActReactor::Open(const v1::ActRequest& request) {
  if (!request.has_open()) return FieldError("open", "is absent; the first message of a stream opens it");
  ASSIGN_OR_RETURN(const std::string id, InField("open.session", DecodeSessionName(request.open().session())));
  ASSIGN_OR_RETURN(exploration_, InField("open.exploration", DecodeExploration(request.open().exploration())));
  walks_ = request.open().walks();
  ASSIGN_OR_RETURN(std::shared_ptr<Session> session, registry_.Find(id));
  if (session->options().follower != Follower::kSimulated) {
    return absl::FailedPreconditionError(
        "the session's follower is not SIMULATED; create it with FOLLOWER_SIMULATED for it to act here");
  }
  ASSIGN_OR_RETURN(lease_, session->Open(DecodeWriter(request.open().writer_id()), [link = link()](StreamEnd why) {
    Reach<ActReactor>(*link, [why](ActReactor& reactor) { reactor.End(EndedStatus(why)); });
  }));
  session_ = std::move(session);
  ASSIGN_OR_RETURN(const WriterProgress progress, session_->Progress(lease_));
  v1::ActResponse response;
  EncodeProgress(progress, response.mutable_opened());
  Answer(std::move(response));
  watch_ = session_->Watch([link = link()](const SessionNews& news) {
    Reach<ActReactor>(*link, [&news](ActReactor& reactor) { reactor.Hear(news); });
  });
  return absl::OkStatus();
}

absl::Status ActReactor::Take(const v1::ActRequest& request) {
  switch (request.message_case()) {
    case v1::ActRequest::kObservation: {
      ASSIGN_OR_RETURN(Observation observation, InField("observation", DecodeObservation(request.observation())));
      const std::lock_guard lock(acting_);
      waiting_ = std::move(observation);
      TryToAct();
      return absl::OkStatus();
    }
    case v1::ActRequest::kFinish: {
      RETURN_IF_ERROR(InField("finish", session_->Finish(lease_, request.finish().last_sequence())));
      ASSIGN_OR_RETURN(const WriterProgress progress, session_->Progress(lease_));
      v1::ActResponse response;
      EncodeProgress(progress, response.mutable_opened());
      Answer(std::move(response));
      return absl::OkStatus();
    }
    case v1::ActRequest::kOpen:
      return FieldError("open", "is given twice; a stream has one writer");
    default:
      return FieldError("message", "is absent; must be observation or finish");
  }
}

void ActReactor::TryToAct() {
  if (!waiting_.has_value()) return;
  const absl::StatusOr<std::optional<ActedStep>> step = session_->Act(lease_, *waiting_, exploration_, walks_);
  if (step.ok() && !step->has_value()) return;
  const Observation observation = *std::exchange(waiting_, std::nullopt);
  if (!step.ok()) {
    Reject(observation.sequence, InField("observation", step.status()));
    return;
  }
  v1::ActResponse response;
  EncodeAction(**step, response.mutable_action());
  if (const auto progress = session_->Progress(lease_); progress.ok()) {
    response.mutable_action()->set_accepted_sequence(progress->accepted);
  }
  Answer(std::move(response));
}

void ActReactor::Hear(const SessionNews& news) {
  {
    const std::lock_guard lock(acting_);
    TryToAct();
  }
  if (!news.draining) return;
  {
    const std::lock_guard lock(mutex_);
    draining_due_ = true;
  }
  Push();
}

bool ActReactor::TakeNews(v1::ActResponse& response) {
  if (!std::exchange(draining_due_, false)) return false;
  EncodeDraining(response.mutable_draining());
  return true;
}

void ActReactor::Release() {
  if (session_ == nullptr) return;
  session_->EndWatch(watch_);
  session_->Close(lease_);
}

}  // namespace bilevel::server
