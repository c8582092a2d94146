// Errors of the service as absl::Status.
//
// Code: the gRPC code, whose numbers absl shares. Message: one line, which names each offending field. Details: every
// detail of the server's google.rpc.Status is a payload under its type URL, so
//
//   std::optional<v1::rpc::BadRequest> bad = StatusDetail<v1::rpc::BadRequest>(status);
//
// reads the field paths, and so does a google.rpc.BadRequest of the caller's own, parsed from
// status.GetPayload("type.googleapis.com/google.rpc.BadRequest"). The details that the service sends are in
// bilevel/v1/error_details.proto: ErrorInfo (reason), BadRequest, RetryInfo, QuotaFailure.

#ifndef BILEVEL_CLIENT_STATUS_H_
#define BILEVEL_CLIENT_STATUS_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "bilevel/v1/error_details.pb.h"

namespace grpc {
class Status;
}

namespace bilevel::client {

absl::Status FromGrpcStatus(const grpc::Status& status);

// The detail of that kind, for the messages of bilevel.v1.rpc; nullopt when there is none.
template <typename Detail>
std::optional<Detail> StatusDetail(const absl::Status& status) {
  const auto payload = status.GetPayload("type.googleapis.com/google.rpc." + Detail::descriptor()->name());
  Detail detail;
  if (!payload || !detail.ParseFromString(std::string(*payload))) return std::nullopt;
  return detail;
}

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_STATUS_H_
