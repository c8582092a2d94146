#include "server/upload_reactor.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "server/convert/error.h"
#include "server/convert/in_field.h"
#include "server/convert/stored_environment.h"

namespace bilevel::server {

void UploadReactor::OnReadDone(bool ok) {
  {
    const std::lock_guard lock(mutex_);
    ok_ = ok;
    waits_ = true;
    if (taking_) return;
    taking_ = true;
  }
  TakeAll();
}

void UploadReactor::TakeAll() {
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      taking_ = waits_;
      if (!waits_) return;
      waits_ = false;
      if (!ok_) break;
    }
    std::swap(read_, taken_);
    if (taken_.sha256().empty()) StartRead(&read_);
    const absl::StatusOr<bool> goes_on = Take(taken_);
    if (goes_on.ok() && *goes_on) continue;
    Finish(ToGrpcStatus(goes_on.status()));
    return;
  }
  Finish(ToGrpcStatus(End()));
}

absl::StatusOr<bool> UploadReactor::Take(const v1::UploadEnvironmentRequest& request) {
  if (!lease_.has_value()) {
    RETURN_IF_ERROR(InField("upload_id", CheckUploadId(request.upload_id())));
    id_ = request.upload_id();
    ASSIGN_OR_RETURN(lease_, registry_.Open(id_, request.offset()));
  } else if (!request.upload_id().empty() && request.upload_id() != id_) {
    registry_.Abandon(*lease_);
    return FieldError("upload_id", absl::StrCat("is \"", request.upload_id(), "\" in a stream of ", id_,
                                                "; a stream is of one upload"));
  }
  RETURN_IF_ERROR(registry_.Take(*lease_, request.offset(), request.data()));
  if (request.sha256().empty()) return true;
  ASSIGN_OR_RETURN(const EnvironmentStore::Added added, registry_.Finish(*lease_, request.sha256()));
  EncodeStoredEnvironment(added.environment, response_->mutable_environment());
  response_->set_existed(added.existed);
  return false;
}

// Of the messages, without the last one's digest. The upload stays: perhaps a connection broke.
absl::Status UploadReactor::End() const {
  if (!lease_.has_value()) return FieldError("upload_id", "is absent; the first message of a stream names the upload");
  return FieldError("sha256", "is absent; the last message must bring it");
}

}  // namespace bilevel::server
