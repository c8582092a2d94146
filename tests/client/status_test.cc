#include "client/status.h"

#include <grpcpp/support/status.h>
#include <gtest/gtest.h>

namespace bilevel::client {
namespace {

template <typename Detail>
void AddDetail(const Detail& detail, v1::rpc::Status& status) {
  google::protobuf::Any& any = *status.add_details();
  any.set_type_url("type.googleapis.com/google.rpc." + Detail::descriptor()->name());
  any.set_value(detail.SerializeAsString());
}

grpc::Status Refusal(const std::string& message) {
  v1::rpc::BadRequest bad;
  v1::rpc::BadRequest::FieldViolation& first = *bad.add_field_violations();
  first.set_field("problem.contexts[0].discount");
  first.set_description("is 1; must be in [0, 1)");
  v1::rpc::BadRequest::FieldViolation& second = *bad.add_field_violations();
  second.set_field("problem.contexts[0].temperature");
  second.set_description("is 0;\nmust be > 0");
  v1::rpc::Status status;
  AddDetail(bad, status);
  return {grpc::StatusCode::INVALID_ARGUMENT, message, status.SerializeAsString()};
}

TEST(Status, MessageIsOneLineThatNamesEveryField) {
  EXPECT_EQ(FromGrpcStatus(Refusal("the request is wrong")).message(),
            "the request is wrong; problem.contexts[0].discount: is 1; must be in [0, 1); "
            "problem.contexts[0].temperature: is 0; must be > 0");
}

TEST(Status, FieldsThatTheMessageNamesAreNotRepeated) {
  EXPECT_EQ(FromGrpcStatus(Refusal("problem.contexts[0].discount is 1")).message(),
            "problem.contexts[0].discount is 1; problem.contexts[0].temperature: is 0; must be > 0");
}

TEST(Status, DetailsCanBeRead) {
  const absl::Status status = FromGrpcStatus(Refusal(""));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  const auto bad = StatusDetail<v1::rpc::BadRequest>(status);
  ASSERT_TRUE(bad.has_value());
  EXPECT_EQ(bad->field_violations(0).field(), "problem.contexts[0].discount");
  EXPECT_FALSE(StatusDetail<v1::rpc::RetryInfo>(status).has_value());
  EXPECT_TRUE(status.GetPayload("type.googleapis.com/google.rpc.BadRequest").has_value());
}

TEST(Status, QuotaAndRetryAreReadable) {
  v1::rpc::QuotaFailure quota;
  quota.add_violations()->set_subject("memory_budget");
  quota.mutable_violations(0)->set_description("2 GB above 1 GB");
  v1::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(2);
  v1::rpc::Status details;
  AddDetail(quota, details);
  AddDetail(retry, details);
  const grpc::Status status(grpc::StatusCode::RESOURCE_EXHAUSTED, "too big", details.SerializeAsString());
  EXPECT_EQ(FromGrpcStatus(status).message(), "too big; memory_budget: 2 GB above 1 GB; retry after 2 s");
}

TEST(Status, BytesThatAreNoDetailsAreIgnored) {
  const grpc::Status status(grpc::StatusCode::INTERNAL, "broken", "\xff\xff\xff");
  EXPECT_EQ(FromGrpcStatus(status).message(), "broken");
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
}

}  // namespace
}  // namespace bilevel::client
