// How streams that outlive connections come back.

#ifndef BILEVEL_CLIENT_RECONNECT_H_
#define BILEVEL_CLIENT_RECONNECT_H_

#include <chrono>

#include "absl/status/status.h"

namespace bilevel::client {

struct ReconnectOptions {
  // Before the first attempt after a success, > 0; doubles up to max_delay, each time shortened at random by up to
  // half.
  std::chrono::milliseconds initial_delay{100};
  std::chrono::milliseconds max_delay{10'000};
  // Give up (UNAVAILABLE) when no connection has come about for so long, >= 0.
  std::chrono::milliseconds retry_for{600'000};
  // An opening, a finish, or the end of a stream that is closing must be answered within this, > 0.
  std::chrono::milliseconds answer_timeout{10'000};

  absl::Status Validate() const;
};

// Whether a new stream may do better after this end. Whatever says that request, writer or session are wrong stays
// wrong; the rest is about connections and servers, and a stream is safe to open again after any end.
bool IsFinal(const absl::Status& status);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_RECONNECT_H_
