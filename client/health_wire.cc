#include "client/health_wire.h"

#include <google/protobuf/unknown_field_set.h>
#include <grpcpp/support/slice.h>

#include <vector>

namespace bilevel::client {
namespace {

constexpr int kServiceField = 1;
constexpr int kStatusField = 1;

Health ToHealth(std::uint64_t status) {
  switch (status) {
    case 1:
      return Health::kServing;
    case 2:
      return Health::kNotServing;
    case 3:
      return Health::kServiceUnknown;
    default:
      return Health::kUnknown;
  }
}

}  // namespace

grpc::ByteBuffer EncodeHealthRequest(const std::string& service) {
  google::protobuf::UnknownFieldSet message;
  if (!service.empty()) message.AddLengthDelimited(kServiceField, service);
  std::string bytes;
  message.SerializeToString(&bytes);
  const grpc::Slice slice(bytes);
  return {&slice, 1};
}

absl::StatusOr<Health> DecodeHealthResponse(const grpc::ByteBuffer& bytes) {
  std::vector<grpc::Slice> slices;
  std::string text;
  if (bytes.Valid() && bytes.Dump(&slices).ok()) {
    for (const grpc::Slice& slice : slices) text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  google::protobuf::UnknownFieldSet message;
  if (!message.ParseFromString(text)) return absl::InternalError("the health service sent no HealthCheckResponse");
  Health health = Health::kUnknown;
  for (int i = 0; i < message.field_count(); ++i) {
    const google::protobuf::UnknownField& field = message.field(i);
    if (field.number() == kStatusField && field.type() == google::protobuf::UnknownField::TYPE_VARINT) {
      health = ToHealth(field.varint());
    }
  }
  return health;
}

}  // namespace bilevel::client
