// A refusal that is not the request's fault alone: which limit, estimate and limit, what to do, and whether waiting
// helps.

#ifndef BILEVEL_SERVER_JOBS_REFUSAL_H_
#define BILEVEL_SERVER_JOBS_REFUSAL_H_

#include <chrono>
#include <optional>
#include <string>

#include "absl/status/status.h"

namespace bilevel::server {

// Before the same request is worth sending again.
inline constexpr std::chrono::milliseconds kRetryDelay{1000};

struct Refusal {
  std::string reason;                                    // server/reasons.h
  std::string subject;                                   // which limit; empty when no quota is involved
  std::string description;                               // estimate, limit, and what to do
  std::optional<std::chrono::milliseconds> retry_delay;  // set when the same request may succeed later
};

// A status that carries the refusal; its message is the description.
absl::Status MakeRefusal(absl::StatusCode code, const Refusal& refusal);

// OUT_OF_MEMORY: an allocation failed although the estimate fitted.
absl::Status OutOfMemory();

// What MakeRefusal put in; nothing for other statuses.
std::optional<Refusal> GetRefusal(const absl::Status& status);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_JOBS_REFUSAL_H_
