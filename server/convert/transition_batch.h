// TransitionBatch -> transitions, straight from the columns' bytes.

#ifndef BILEVEL_SERVER_CONVERT_TRANSITION_BATCH_H_
#define BILEVEL_SERVER_CONVERT_TRANSITION_BATCH_H_

#include <vector>

#include "absl/status/status.h"
#include "bilevel/v1/transition_stream.pb.h"
#include "core/streaming/transition.h"

namespace bilevel::server {

struct DecodedBatch {
  std::vector<Transition> steps;
  std::vector<double> features;  // [k, 2m]

  TransitionSpan span() const { return {steps, features}; }
};

// num_features: m. Fills `decoded`, whose memory is used again. Field errors relative to the batch; those of
// WriterQueue about the i-th transition come out by column: BatchError.
absl::Status DecodeBatch(const v1::TransitionBatch& batch, size_t num_features, DecodedBatch& decoded);
absl::Status BatchError(const absl::Status& status);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_TRANSITION_BATCH_H_
