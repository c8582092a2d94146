#include "server/train_reactor.h"

#include <algorithm>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "server/convert/error.h"
#include "server/convert/in_field.h"
#include "server/convert/session.h"
#include "server/convert/transition_batch.h"

namespace bilevel::server {

TrainReactor::TrainReactor(const SessionRegistry& registry) : registry_(registry), link_(std::make_shared<Link>()) {
  link_->reactor = this;
  StartRead(&request_);
}

void TrainReactor::OnReadDone(bool ok) {
  if (!ok) {
    // The writer has said all it has to say; what it was not told yet goes first.
    End(grpc::Status::OK);
    return;
  }
  if (session_ == nullptr) {
    if (const absl::Status opened = Open(request_); !opened.ok()) {
      End(ToGrpcStatus(opened));
      return;
    }
    Push();
  } else if (const absl::Status taken = Take(request_); taken.code() == absl::StatusCode::kAborted) {
    End(ToGrpcStatus(taken));
    return;
  } else if (!taken.ok()) {
    Reject(taken);
    return;
  }
  Read();
}

void TrainReactor::Read() {
  const std::lock_guard lock(mutex_);
  if (!finished_ && !end_.has_value()) StartRead(&request_);
}

absl::Status TrainReactor::Open(const v1::TrainRequest& request) {
  if (!request.has_open()) return FieldError("open", "is absent; the first message of a stream opens it");
  ASSIGN_OR_RETURN(const std::string id, InField("open.session", DecodeSessionName(request.open().session())));
  ASSIGN_OR_RETURN(session_, registry_.Find(id));
  const std::string writer = request.open().writer_id().empty() ? "default" : request.open().writer_id();
  const auto reach = [link = link_](auto&& use) {
    const std::lock_guard lock(link->mutex);
    if (link->reactor != nullptr) use(*link->reactor);
  };
  ASSIGN_OR_RETURN(lease_, session_->Open(writer, [reach] {
    reach([](TrainReactor& reactor) {
      reactor.End(grpc::Status(grpc::StatusCode::ABORTED,
                               "a newer stream of this writer took this one's place, or the "
                               "session ended"));
    });
  }));
  watch_ = session_->Watch([reach](bool policy) { reach([policy](TrainReactor& reactor) { reactor.Tell(policy); }); });
  ASSIGN_OR_RETURN(const WriterProgress progress, session_->Progress(lease_));
  v1::TrainResponse response;
  EncodeProgress(progress, response.mutable_opened());
  const std::lock_guard lock(mutex_);
  told_ = progress;
  urgent_ = std::move(response);
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

void TrainReactor::Reject(const absl::Status& status) {
  const grpc::Status told = ToGrpcStatus(status);
  v1::TrainResponse response;
  response.mutable_rejected()->set_first_sequence(request_.batch().first_sequence());
  v1::rpc::Status* message = response.mutable_rejected()->mutable_status();
  if (!message->ParseFromString(told.error_details())) message->Clear();
  message->set_code(static_cast<int>(told.error_code()));
  message->set_message(told.error_message());
  {
    const std::lock_guard lock(mutex_);
    urgent_ = std::move(response);
    read_after_urgent_ = true;
  }
  Push();
}

void TrainReactor::Tell(bool policy) {
  {
    const absl::StatusOr<WriterProgress> progress = session_->Progress(lease_);
    const std::lock_guard lock(mutex_);
    // Credit is told when it has grown by a good part of the queue: who waits for it has no more to wait for then.
    const bool news = progress.ok() && (progress->accepted > told_.accepted ||
                                        progress->credit >= told_.credit + std::max<uint64_t>(1, told_.capacity / 4));
    if (!policy && !news) return;
    progress_due_ = progress_due_ || news;
    policy_due_ = policy_due_ || policy;
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

void TrainReactor::End(const grpc::Status& status) {
  {
    const std::lock_guard lock(mutex_);
    if (!end_.has_value()) end_ = status;
  }
  Push();
}

// Puts the next message into in_flight_; under mutex_.
bool TrainReactor::NextMessage() {
  if (urgent_.has_value()) {
    in_flight_ = *std::exchange(urgent_, std::nullopt);
    return true;
  }
  if (session_ == nullptr) return false;
  if (std::exchange(progress_due_, false)) {
    const absl::StatusOr<WriterProgress> progress = session_->Progress(lease_);
    if (progress.ok()) {
      told_ = *progress;
      in_flight_.Clear();
      EncodeProgress(*progress, in_flight_.mutable_ack());
      return true;
    }
  }
  if (std::exchange(policy_due_, false)) {
    const std::shared_ptr<const PolicySnapshot> policy = session_->policy();
    if (policy != nullptr && policy->version > told_version_) {
      told_version_ = policy->version;
      in_flight_.Clear();
      in_flight_.mutable_policy()->set_version(static_cast<double>(policy->version));
      in_flight_.mutable_policy()->set_merged(static_cast<double>(policy->merged));
      return true;
    }
  }
  return false;
}

void TrainReactor::Push() {
  std::optional<grpc::Status> end;
  {
    const std::lock_guard lock(mutex_);
    if (writing_ || finished_) return;
    const bool failed = end_.has_value() && !end_->ok();
    if (!failed && NextMessage()) {
      writing_ = true;
    } else if (end_.has_value()) {
      finished_ = true;
      end = end_;
    } else {
      return;
    }
  }
  if (end.has_value()) {
    Finish(*end);
  } else {
    StartWrite(&in_flight_);
  }
}

void TrainReactor::OnWriteDone(bool ok) {
  bool read = false;
  {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok && !end_.has_value()) end_ = grpc::Status(grpc::StatusCode::CANCELLED, "the caller is gone");
    read = !urgent_.has_value() && std::exchange(read_after_urgent_, false);
  }
  if (read) Read();
  Push();
}

void TrainReactor::OnDone() {
  {
    const std::lock_guard lock(link_->mutex);
    link_->reactor = nullptr;
  }
  if (session_ != nullptr) {
    session_->EndWatch(watch_);
    session_->Close(lease_);
  }
  delete this;
}

}  // namespace bilevel::server
