// How a hyper-gradient is to be estimated from samples, and what came of it, between messages and core.

#ifndef BILEVEL_SERVER_CONVERT_ESTIMATE_H_
#define BILEVEL_SERVER_CONVERT_ESTIMATE_H_

#include "absl/status/statusor.h"
#include "bilevel/v1/estimate.pb.h"
#include "core/streaming/plug_in.h"

namespace bilevel::server {

absl::StatusOr<PlugInOptions> DecodePlugIn(const v1::EstimatorOptions& options);

void EncodePlugIn(const PlugInGradient& found, uint64_t seed, v1::HypergradientEstimate* message);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_ESTIMATE_H_
