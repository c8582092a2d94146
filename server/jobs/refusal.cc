#include "server/jobs/refusal.h"

#include <cstdlib>

#include "absl/strings/cord.h"
#include "server/reasons.h"

namespace bilevel::server {
namespace {

constexpr char kReasonUrl[] = "bilevel/reason";
constexpr char kSubjectUrl[] = "bilevel/subject";
constexpr char kRetryUrl[] = "bilevel/retry_milliseconds";

}  // namespace

absl::Status MakeRefusal(absl::StatusCode code, const Refusal& refusal) {
  absl::Status status(code, refusal.description);
  status.SetPayload(kReasonUrl, absl::Cord(refusal.reason));
  if (!refusal.subject.empty()) status.SetPayload(kSubjectUrl, absl::Cord(refusal.subject));
  if (refusal.retry_delay.has_value()) {
    status.SetPayload(kRetryUrl, absl::Cord(std::to_string(refusal.retry_delay->count())));
  }
  return status;
}

absl::Status OutOfMemory() {
  return MakeRefusal(
      absl::StatusCode::kResourceExhausted,
      {.reason = reasons::kOutOfMemory,
       .subject = "memory",
       .description = "the server ran out of memory; retry later or start it with a smaller --memory_budget",
       .retry_delay = kRetryDelay});
}

std::optional<Refusal> GetRefusal(const absl::Status& status) {
  const auto reason = status.GetPayload(kReasonUrl);
  if (!reason.has_value()) return std::nullopt;
  Refusal refusal;
  refusal.reason = std::string(*reason);
  if (const auto subject = status.GetPayload(kSubjectUrl); subject.has_value()) refusal.subject = std::string(*subject);
  refusal.description.assign(status.message().data(), status.message().size());
  if (const auto retry = status.GetPayload(kRetryUrl); retry.has_value()) {
    refusal.retry_delay = std::chrono::milliseconds(std::atoll(std::string(*retry).c_str()));
  }
  return refusal;
}

}  // namespace bilevel::server
