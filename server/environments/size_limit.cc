#include "server/environments/size_limit.h"

#include "absl/strings/str_cat.h"
#include "server/jobs/refusal.h"
#include "server/reasons.h"

namespace bilevel::server {

absl::Status AboveLimit(const char* subject, uint64_t value, int64_t limit) {
  return MakeRefusal(
      absl::StatusCode::kResourceExhausted,
      {.reason = reasons::kSizeLimitExceeded,
       .subject = subject,
       .description = absl::StrCat("the request has ", value, " ", subject, " and max_", subject, " is ", limit,
                                   "; send a smaller environment, or start the server with a larger --max_", subject),
       .retry_delay = std::nullopt});
}

}  // namespace bilevel::server
