#include "server/convert/error.h"

#include <string>

#include "bilevel/v1/error_details.pb.h"
#include "core/base/field_error.h"
#include "server/jobs/refusal.h"
#include "server/reasons.h"

namespace bilevel::server {
namespace {

void AddDetail(const google::protobuf::Message& detail, v1::rpc::Status& status) {
  google::protobuf::Any* any = status.add_details();
  any->set_type_url("type.googleapis.com/google.rpc." + detail.GetDescriptor()->name());
  detail.SerializeToString(any->mutable_value());
}

std::string ReasonOf(const absl::Status& status) {
  if (GetFieldViolation(status).has_value()) return reasons::kInvalidField;
  if (const auto refusal = GetRefusal(status); refusal.has_value()) return refusal->reason;
  if (absl::IsCancelled(status)) return reasons::kCallCancelled;
  // The code says it all.
  const bool ours = absl::IsInternal(status) || absl::IsUnknown(status);
  return ours ? reasons::kInternal : "";
}

void AddBadRequest(const absl::Status& status, v1::rpc::Status& message) {
  const auto violation = GetFieldViolation(status);
  if (!violation.has_value()) return;
  v1::rpc::BadRequest bad_request;
  v1::rpc::BadRequest::FieldViolation* field = bad_request.add_field_violations();
  field->set_field(violation->field);
  field->set_description(violation->description);
  AddDetail(bad_request, message);
}

void AddRefusal(const absl::Status& status, v1::rpc::Status& message) {
  const auto refusal = GetRefusal(status);
  if (!refusal.has_value()) return;
  if (!refusal->subject.empty()) {
    v1::rpc::QuotaFailure quota;
    v1::rpc::QuotaFailure::Violation* violation = quota.add_violations();
    violation->set_subject(refusal->subject);
    violation->set_description(refusal->description);
    AddDetail(quota, message);
  }
  if (refusal->retry_delay.has_value()) {
    v1::rpc::RetryInfo retry;
    const auto milliseconds = refusal->retry_delay->count();
    retry.mutable_retry_delay()->set_seconds(milliseconds / 1000);
    retry.mutable_retry_delay()->set_nanos(static_cast<int>(milliseconds % 1000) * 1'000'000);
    AddDetail(retry, message);
  }
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const std::string text(status.message().data(), status.message().size());
  v1::rpc::Status message;
  message.set_code(static_cast<int>(status.code()));
  message.set_message(text);
  v1::rpc::ErrorInfo info;
  info.set_reason(ReasonOf(status));
  info.set_domain("bilevel");
  if (!info.reason().empty()) AddDetail(info, message);
  AddBadRequest(status, message);
  AddRefusal(status, message);
  return {static_cast<grpc::StatusCode>(status.code()), text, message.SerializeAsString()};
}

}  // namespace bilevel::server
