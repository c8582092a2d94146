// What this server accepts. Defaults and flags are in server/flags.cc; ListMethods reports them.

#ifndef BILEVEL_SERVER_LIMITS_H_
#define BILEVEL_SERVER_LIMITS_H_

#include <cstdint>

namespace bilevel::server {

struct Limits {
  // Largest S.
  int states = 10'000'000;
  // Largest number of stored transition probabilities in one environment.
  int64_t transitions = 1'000'000'000;
  // Largest message, bytes, either way; gRPC's default for clients.
  int64_t message_bytes = 4 << 20;
  // Of the call that is looked at: request and answer come in chunks, and may have kMaxChunkedBytes instead.
  bool in_chunks = false;
  // Sessions at a time.
  int sessions = 64;
  // Environments at a time.
  int environments = 64;
  // Threads that one request may use together: the dispatcher's.
  int threads = 1;
};

// Of streams of transitions; no flags.
inline constexpr int kMaxBatch = 8192;           // transitions of a batch
inline constexpr int kMaxSessionQueue = 65'536;  // of all writers of a session that may wait

// Of uploads of environments and of calls in chunks; no flags.
inline constexpr int kMaxUploads = 8;                                // on their way at a time
inline constexpr int kMaxPieceBytes = 1 << 20;                       // of one message of either
inline constexpr int64_t kMaxChunkedBytes = (int64_t{1} << 31) - 1;  // of a call: what protobuf can serialise

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_LIMITS_H_
