// TransitionBatch -> transitions, straight from the columns' bytes.

#ifndef BILEVEL_SERVER_CONVERT_TRANSITION_BATCH_H_
#define BILEVEL_SERVER_CONVERT_TRANSITION_BATCH_H_

#include "absl/status/statusor.h"
#include "bilevel/v1/transition_stream.pb.h"
#include "core/streaming/transition.h"

namespace bilevel::server {

// num_features: m. Field errors relative to the batch; those of WriterQueue about the i-th transition come out by
// column: BatchError.
absl::StatusOr<TransitionBlock> DecodeBatch(const v1::TransitionBatch& batch, size_t num_features);
absl::Status BatchError(const absl::Status& status);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_TRANSITION_BATCH_H_
