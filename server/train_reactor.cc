#include "server/train_reactor.h"

#include <algorithm>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "server/convert/error.h"
#include "server/convert/in_field.h"
#include "server/convert/session.h"
#include "server/convert/session_stream.h"
#include "server/convert/transition_batch.h"

namespace bilevel::server {

void TrainReactor::Handle(const v1::TrainRequest& request) {
  if (session_ == nullptr) {
    if (const absl::Status opened = Open(request); !opened.ok()) End(ToGrpcStatus(opened));
    return;
  }
  const absl::Status taken = Take(request);
  if (taken.ok()) {
    Done();
  } else if (EndsStream(taken)) {
    End(ToGrpcStatus(taken));
  } else {
    v1::TrainResponse response;
    EncodeRejected(request.batch().first_sequence(), taken, response.mutable_rejected());
    Answer(std::move(response));
  }
}

absl::Status TrainReactor::Open(const v1::TrainRequest& request) {
  if (!request.has_open()) return FieldError("open", "is absent; the first message of a stream opens it");
  ASSIGN_OR_RETURN(const std::string id, InField("open.session", DecodeSessionName(request.open().session())));
  ASSIGN_OR_RETURN(std::shared_ptr<Session> session, registry_.Find(id));
  ASSIGN_OR_RETURN(lease_, session->Open(DecodeWriter(request.open().writer_id()), [link = link()](StreamEnd why) {
    Reach<TrainReactor>(*link, [why](TrainReactor& reactor) { reactor.End(EndedStatus(why)); });
  }));
  session_ = std::move(session);
  ASSIGN_OR_RETURN(told_, session_->Progress(lease_));
  v1::TrainResponse response;
  EncodeProgress(told_, response.mutable_opened());
  Answer(std::move(response));
  watch_ = session_->Watch([link = link()](const SessionNews& news) {
    Reach<TrainReactor>(*link, [&news](TrainReactor& reactor) { reactor.Hear(news); });
  });
  return absl::OkStatus();
}

absl::Status TrainReactor::Take(const v1::TrainRequest& request) {
  switch (request.message_case()) {
    case v1::TrainRequest::kBatch: {
      ASSIGN_OR_RETURN(TransitionBlock batch, InField("batch", DecodeBatch(request.batch(), session_->num_features())));
      const absl::StatusOr<bool> taken = session_->Offer(lease_, request.batch().first_sequence(), std::move(batch));
      if (!taken.ok()) return InField("batch", BatchError(taken.status()));
      if (!*taken) Acknowledge();
      return absl::OkStatus();
    }
    case v1::TrainRequest::kFinish:
      RETURN_IF_ERROR(InField("finish", session_->Finish(lease_, request.finish().last_sequence())));
      Acknowledge();
      return absl::OkStatus();
    case v1::TrainRequest::kOpen:
      return FieldError("open", "is given twice; a stream has one writer");
    default:
      return FieldError("message", "is absent; must be batch or finish");
  }
}

void TrainReactor::Hear(const SessionNews& news) {
  {
    const absl::StatusOr<WriterProgress> progress = session_->Progress(lease_);
    const std::lock_guard lock(mutex_);
    // Credit is told when it has grown by a good part of the queue: who waits for it has no more to wait for then.
    const bool further =
        progress.ok() && (progress->accepted > told_.accepted ||
                          progress->credit >= told_.credit + std::max<uint64_t>(1, told_.capacity / 4));
    if (ending() || (!further && !news.policy && !news.draining)) return;
    progress_due_ = progress_due_ || further;
    policy_due_ = policy_due_ || news.policy;
    draining_due_ = draining_due_ || news.draining;
  }
  Push();
}

void TrainReactor::Acknowledge() {
  {
    const std::lock_guard lock(mutex_);
    progress_due_ = true;
  }
  Push();
}

void TrainReactor::AddLastNews() {
  const std::lock_guard lock(mutex_);
  progress_due_ = session_ != nullptr;
}

bool TrainReactor::TakeNews(v1::TrainResponse& response) {
  if (session_ == nullptr) return false;
  if (std::exchange(draining_due_, false)) {
    EncodeDraining(response.mutable_draining());
    return true;
  }
  // In turn, so that neither keeps the other from being told.
  return told_progress_ ? TakePolicy(response) || TakeProgress(response)
                        : TakeProgress(response) || TakePolicy(response);
}

bool TrainReactor::TakeProgress(v1::TrainResponse& response) {
  if (!std::exchange(progress_due_, false)) return false;
  const absl::StatusOr<WriterProgress> progress = session_->Progress(lease_);
  if (!progress.ok()) return false;
  told_ = *progress;
  told_progress_ = true;
  EncodeProgress(told_, response.mutable_ack());
  return true;
}

bool TrainReactor::TakePolicy(v1::TrainResponse& response) {
  if (!std::exchange(policy_due_, false)) return false;
  const std::shared_ptr<const PublishedPolicy> policy = session_->policy();
  if (policy == nullptr || policy->version <= told_version_) return false;
  told_version_ = policy->version;
  told_progress_ = false;
  EncodePolicyUpdate(*policy, response.mutable_policy());
  return true;
}

void TrainReactor::Release() {
  if (session_ == nullptr) return;
  session_->EndWatch(watch_);
  session_->Close(lease_);
}

}  // namespace bilevel::server
