// Why a call was refused: ErrorInfo.reason, one machine-readable word for each cause. Documented in proto/README.md.

#ifndef BILEVEL_SERVER_REASONS_H_
#define BILEVEL_SERVER_REASONS_H_

namespace bilevel::server::reasons {

// INVALID_ARGUMENT: a field breaks its rule; BadRequest has path, value and rule.
inline constexpr char kInvalidField[] = "INVALID_FIELD";
// RESOURCE_EXHAUSTED for good: more states or stored transitions than this server accepts.
inline constexpr char kSizeLimitExceeded[] = "SIZE_LIMIT_EXCEEDED";
// RESOURCE_EXHAUSTED for good: the request alone needs more than the whole memory budget.
inline constexpr char kMemoryBudgetExceeded[] = "MEMORY_BUDGET_EXCEEDED";
// RESOURCE_EXHAUSTED for good: the answer would not fit into one message.
inline constexpr char kResponseTooLarge[] = "RESPONSE_TOO_LARGE";
// RESOURCE_EXHAUSTED until one is deleted: as many sessions are open as this server keeps.
inline constexpr char kSessionLimit[] = "SESSION_LIMIT";
// RESOURCE_EXHAUSTED until one is deleted: as many environments are stored as this server keeps.
inline constexpr char kEnvironmentLimit[] = "ENVIRONMENT_LIMIT";
// RESOURCE_EXHAUSTED for now: as many uploads are on their way as this server takes at a time.
inline constexpr char kUploadLimit[] = "UPLOAD_LIMIT";
// RESOURCE_EXHAUSTED for now: other requests hold the memory.
inline constexpr char kMemoryBusy[] = "MEMORY_BUSY";
// RESOURCE_EXHAUSTED for now: too many requests wait.
inline constexpr char kQueueFull[] = "QUEUE_FULL";
// RESOURCE_EXHAUSTED for now: the machine ran out of memory although the estimate fitted.
inline constexpr char kOutOfMemory[] = "OUT_OF_MEMORY";
// UNAVAILABLE: the server is stopping.
inline constexpr char kServerStopping[] = "SERVER_STOPPING";
// CANCELLED: the caller is gone; no client sees it.
inline constexpr char kCallCancelled[] = "CALL_CANCELLED";
// INTERNAL: a bug of ours.
inline constexpr char kInternal[] = "INTERNAL_ERROR";

}  // namespace bilevel::server::reasons

#endif  // BILEVEL_SERVER_REASONS_H_
