#include "client/reconnect.h"

#include "absl/strings/str_cat.h"

namespace bilevel::client {

absl::Status ReconnectOptions::Validate() const {
  const auto positive = [](const char* name, std::chrono::milliseconds value) {
    if (value.count() > 0) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(name, " is ", value.count(), " ms; must be > 0"));
  };
  if (absl::Status status = positive("initial_delay", initial_delay); !status.ok()) return status;
  if (absl::Status status = positive("answer_timeout", answer_timeout); !status.ok()) return status;
  if (max_delay < initial_delay) {
    return absl::InvalidArgumentError(absl::StrCat("max_delay is ", max_delay.count(),
                                                   " ms; must be >= initial_delay = ", initial_delay.count(), " ms"));
  }
  if (retry_for.count() < 0) {
    return absl::InvalidArgumentError(absl::StrCat("retry_for is ", retry_for.count(), " ms; must be >= 0"));
  }
  return absl::OkStatus();
}

bool IsFinal(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kUnimplemented:
      return true;
    default:
      return false;
  }
}

}  // namespace bilevel::client
