#include "client/status.h"

#include <grpcpp/support/status.h>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace bilevel::client {
namespace {

// Adds "name: description" unless the line says so already.
void AddToLine(const std::string& name, const std::string& description, std::string& line) {
  if (!name.empty() && absl::StrContains(line, name)) return;
  if (!line.empty()) line += "; ";
  absl::StrAppend(&line, name, name.empty() || description.empty() ? "" : ": ", description);
}

std::string RetryText(const google::protobuf::Duration& delay) {
  const double seconds = static_cast<double>(delay.seconds()) + 1e-9 * delay.nanos();
  return absl::StrCat("retry after ", seconds, " s");
}

// The message with every field path, quota and retry delay that the details know.
std::string OneLine(const std::string& message, const absl::Status& details) {
  std::string line = message;
  if (const auto bad = StatusDetail<v1::rpc::BadRequest>(details)) {
    for (const auto& violation : bad->field_violations()) AddToLine(violation.field(), violation.description(), line);
  }
  if (const auto quota = StatusDetail<v1::rpc::QuotaFailure>(details)) {
    for (const auto& violation : quota->violations()) AddToLine(violation.subject(), violation.description(), line);
  }
  if (const auto retry = StatusDetail<v1::rpc::RetryInfo>(details)) {
    if (!absl::StrContains(line, "retry")) AddToLine("", RetryText(retry->retry_delay()), line);
  }
  return absl::StrReplaceAll(line, {{"\r", " "}, {"\n", " "}, {"\t", " "}});
}

}  // namespace

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  // A stopping server ends what comes too late without a word.
  if (status.error_code() == grpc::StatusCode::CANCELLED && status.error_message() == "CANCELLED") {
    return absl::CancelledError("the call was cancelled: by this client, or by a server that stops");
  }
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  absl::Status details(code, "");
  v1::rpc::Status decoded;
  if (decoded.ParseFromString(status.error_details())) {
    for (const auto& detail : decoded.details()) details.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
  absl::Status result(code, OneLine(status.error_message(), details));
  details.ForEachPayload([&result](auto type_url, const absl::Cord& payload) { result.SetPayload(type_url, payload); });
  return result;
}

}  // namespace bilevel::client
