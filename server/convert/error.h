// absl::Status -> grpc::Status with google.rpc details in grpc-status-details-bin.

#ifndef BILEVEL_SERVER_CONVERT_ERROR_H_
#define BILEVEL_SERVER_CONVERT_ERROR_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace bilevel::server {

// ErrorInfo{reason (server/reasons.h), domain "bilevel"} always; BadRequest for field errors; QuotaFailure and
// RetryInfo for refusals that carry them. Type URLs are those of google.rpc. OK stays OK.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_ERROR_H_
