#include "server/convert/estimate.h"

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "server/convert/array.h"

namespace bilevel::server {

absl::StatusOr<PlugInOptions> DecodePlugIn(const v1::EstimatorOptions& message) {
  constexpr int kMaxRedraws = 10'000;
  PlugInOptions options;
  if (message.has_redraws()) options.redraws = message.redraws();
  if (options.redraws < 0 || options.redraws == 1 || options.redraws > kMaxRedraws) {
    return FieldError("redraws", absl::StrCat("is ", options.redraws, "; must be 0 or in [2, ", kMaxRedraws, "]"));
  }
  options.seed = message.seed();
  return options;
}

void EncodePlugIn(const PlugInGradient& found, uint64_t seed, v1::HypergradientEstimate* message) {
  const int64_t n = found.point.gradient.size();
  message->set_estimator(v1::ESTIMATOR_PLUG_IN);
  EncodeReals(found.point.gradient, {n}, message->mutable_gradient());
  message->set_objective(found.point.objective);
  if (found.standard_error.size() != 0) {
    EncodeReals(found.standard_error, {n}, message->mutable_standard_error());
    EncodeReals(found.bias, {n}, message->mutable_bias());
    message->set_objective_standard_error(found.objective_standard_error);
    message->set_objective_bias(found.objective_bias);
  }
  message->set_effective_sample_size(found.redraws);
  message->set_unseen_rows(static_cast<double>(found.unseen_rows));
  message->set_seed(seed);
}

}  // namespace bilevel::server
