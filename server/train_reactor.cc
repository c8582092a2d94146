#include "server/train_reactor.h"

#include <algorithm>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "server/convert/error.h"
#include "server/convert/in_field.h"
#include "server/convert/session.h"

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
  } else if (const absl::Status taken = Take(request_); taken.ok()) {
    Acknowledge();
  } else if (taken.code() == absl::StatusCode::kAborted) {
    End(ToGrpcStatus(taken));
    return;
  } else {
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
  capacity_ = progress.capacity;
  v1::TrainResponse response;
  EncodeProgress(progress, response.mutable_opened());
  const std::lock_guard lock(mutex_);
  told_credit_ = progress.credit;
  urgent_ = std::move(response);
  return absl::OkStatus();
}

absl::Status TrainReactor::Take(const v1::TrainRequest& request) {
  switch (request.message_case()) {
    case v1::TrainRequest::kBatch: {
      RETURN_IF_ERROR(InField("batch", DecodeBatch(request.batch(), session_->num_features(), batch_)));
      return InField("batch", BatchError(session_->Offer(lease_, request.batch().first_sequence(), batch_.span())));
    }
    case v1::TrainRequest::kFinish:
      return InField("finish", session_->Finish(lease_, request.finish().last_sequence()));
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

// Credit is told when it has grown by a good part of the queue: a writer that waits for it has no more to wait for.
void TrainReactor::Tell(bool policy) {
  {
    const absl::StatusOr<WriterProgress> progress = session_->Progress(lease_);
    const std::lock_guard lock(mutex_);
    const bool credit = progress.ok() && progress->credit >= told_credit_ + std::max<uint64_t>(1, capacity_ / 4);
    if (!policy && !credit) return;
    progress_due_ = progress_due_ || credit;
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
      told_credit_ = progress->credit;
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
