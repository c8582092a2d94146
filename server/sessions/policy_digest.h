// A policy's digest: equal bytes, equal digests, so that two can be compared without being sent.

#ifndef BILEVEL_SERVER_SESSIONS_POLICY_DIGEST_H_
#define BILEVEL_SERVER_SESSIONS_POLICY_DIGEST_H_

#include <string>

#include "core/streaming/session_learner.h"

namespace bilevel::server {

// SHA-256, 32 bytes, over version, merged and parameters_version as U64, x, and then pi of each context, all
// little-endian, reals as F64.
std::string DigestOf(const PolicySnapshot& policy);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_SESSIONS_POLICY_DIGEST_H_
