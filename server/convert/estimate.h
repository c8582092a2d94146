// How a hyper-gradient is to be estimated from samples, and what came of it, between messages and core.

#ifndef BILEVEL_SERVER_CONVERT_ESTIMATE_H_
#define BILEVEL_SERVER_CONVERT_ESTIMATE_H_

#include "absl/status/statusor.h"
#include "bilevel/v1/estimate.pb.h"
#include "core/streaming/session_estimate.h"

namespace bilevel::server {

// All but the lower level.
absl::StatusOr<EstimatorOptions> DecodeEstimator(const v1::EstimatorOptions& message);

// All but on_model.
void EncodeEstimate(const GradientEstimate& estimate, v1::HypergradientEstimate* message);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_ESTIMATE_H_
