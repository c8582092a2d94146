// Sizes above what this server accepts.

#ifndef BILEVEL_SERVER_ENVIRONMENTS_SIZE_LIMIT_H_
#define BILEVEL_SERVER_ENVIRONMENTS_SIZE_LIMIT_H_

#include <cstdint>

#include "absl/status/status.h"

namespace bilevel::server {

// RESOURCE_EXHAUSTED (SIZE_LIMIT_EXCEEDED); the limit is that of the flag max_{subject}.
absl::Status AboveLimit(const char* subject, uint64_t value, int64_t limit);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_ENVIRONMENTS_SIZE_LIMIT_H_
