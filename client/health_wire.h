// The two messages of grpc.health.v1.Health/Check, written and read by hand: a copy of health.proto in this library
// would clash with the one that a caller's process may link.
//
//   HealthCheckRequest  { string service = 1; }
//   HealthCheckResponse { ServingStatus status = 1; }

#ifndef BILEVEL_CLIENT_HEALTH_WIRE_H_
#define BILEVEL_CLIENT_HEALTH_WIRE_H_

#include <grpcpp/support/byte_buffer.h>

#include <string>

#include "absl/status/statusor.h"
#include "client/bilevel_client.h"

namespace bilevel::client {

grpc::ByteBuffer EncodeHealthRequest(const std::string& service);

// Fields that are not known are skipped. INTERNAL when the bytes are no such message.
absl::StatusOr<Health> DecodeHealthResponse(const grpc::ByteBuffer& bytes);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_HEALTH_WIRE_H_
