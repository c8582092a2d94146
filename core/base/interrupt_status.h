// What a call says that was interrupted before it had an answer.

#ifndef BILEVEL_CORE_BASE_INTERRUPT_STATUS_H_
#define BILEVEL_CORE_BASE_INTERRUPT_STATUS_H_

#include "absl/status/status.h"
#include "core/base/interrupt.h"

namespace bilevel {

// interrupt: one whose Check has a reason.
inline absl::Status InterruptStatus(const Interrupt& interrupt) {
  return interrupt.Check() == StopReason::kCancelled
             ? absl::CancelledError("the call was cancelled")
             : absl::DeadlineExceededError("the time limit passed before there was an answer");
}

}  // namespace bilevel

#endif  // BILEVEL_CORE_BASE_INTERRUPT_STATUS_H_
