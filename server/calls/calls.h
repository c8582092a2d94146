// The calls of SolverService without gRPC: decode, run, encode. One file for each.
//
// Called on a worker, after admission. Errors are field errors with paths from the request, or bugs of ours; a limit or
// a cancellation is no error (Termination says so). validate_only decodes everything and answers with the estimate.

#ifndef BILEVEL_SERVER_CALLS_CALLS_H_
#define BILEVEL_SERVER_CALLS_CALLS_H_

#include <functional>

#include "absl/status/status.h"
#include "bilevel/v1/solver_service.pb.h"
#include "server/calls/run.h"

namespace bilevel::server {

absl::Status SolveLowerLevel(const v1::SolveLowerLevelRequest& request, const Run& run,
                             v1::SolveLowerLevelResponse* response);

absl::Status EvaluateHypergradient(const v1::EvaluateHypergradientRequest& request, const Run& run,
                                   v1::EvaluateHypergradientResponse* response);

absl::Status Pullback(const v1::PullbackRequest& request, const Run& run, v1::PullbackResponse* response);

absl::Status CheckGradient(const v1::CheckGradientRequest& request, const Run& run,
                           v1::CheckGradientResponse* response);

// last: the result, or the estimate. on_progress is called on the same thread.
absl::Status Optimize(const v1::OptimizeRequest& request, const Run& run,
                      const std::function<void(v1::OptimizeEvent)>& on_progress, v1::OptimizeEvent* last);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CALLS_CALLS_H_
