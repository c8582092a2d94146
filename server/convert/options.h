// Options of requests -> options of core. Field errors are relative to the request ("lower_level.max_sweeps").

#ifndef BILEVEL_SERVER_CONVERT_OPTIONS_H_
#define BILEVEL_SERVER_CONVERT_OPTIONS_H_

#include <chrono>
#include <optional>

#include "absl/status/statusor.h"
#include "bilevel/v1/solver_service.pb.h"
#include "core/hypergradient/finite_difference.h"
#include "core/problem/bilevel_problem.h"
#include "core/solvers/optimize.h"

namespace bilevel::server {

absl::StatusOr<LowerLevelOptions> DecodeLowerLevel(const v1::LowerLevelOptions& options);

// > 0; nothing when the request names none. Relative to `time_limit`'s message.
template <typename Request>
absl::StatusOr<std::optional<std::chrono::nanoseconds>> DecodeTimeLimit(const Request& request);
absl::StatusOr<std::chrono::nanoseconds> DecodeDuration(const google::protobuf::Duration& duration);

absl::StatusOr<FiniteDifferenceOptions> DecodeFiniteDifference(const v1::CheckGradientRequest& request);

absl::StatusOr<MethodOptions> DecodeMethod(const v1::OptimizeRequest& request);

// All of OuterOptions but the warm start.
absl::StatusOr<OuterOptions> DecodeOuter(const v1::OptimizeRequest& request);

// A field error of core's Optimize, with its path on the wire.
absl::Status OptimizeErrorOnTheWire(const v1::OptimizeRequest& request, const absl::Status& status);

// One entry for each context, or none at all; each vector [S] and finite, or empty. Relative to `warm_start`.
absl::StatusOr<WarmStart> DecodeWarmStart(const v1::WarmStart& start, const BilevelProblem& problem);

template <typename Request>
absl::StatusOr<std::optional<std::chrono::nanoseconds>> DecodeTimeLimit(const Request& request) {
  if (!request.has_time_limit()) return std::optional<std::chrono::nanoseconds>();
  absl::StatusOr<std::chrono::nanoseconds> limit = DecodeDuration(request.time_limit());
  if (!limit.ok()) return limit.status();
  return std::optional<std::chrono::nanoseconds>(*limit);
}

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_OPTIONS_H_
