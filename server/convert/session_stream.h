// The messages of Train and Act, but for transitions (transition_batch.h).

#ifndef BILEVEL_SERVER_CONVERT_SESSION_STREAM_H_
#define BILEVEL_SERVER_CONVERT_SESSION_STREAM_H_

#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/statusor.h"
#include "bilevel/v1/transition_stream.pb.h"
#include "server/sessions/session.h"

namespace bilevel::server {

// Vectors beyond this stay out of news and of the state of sessions: GetPolicy and EstimateHypergradient have them.
inline constexpr Eigen::Index kMaxEntriesInNews = 1000;

// An empty name means "default".
std::string DecodeWriter(const std::string& writer_id);

absl::StatusOr<Exploration> DecodeExploration(const v1::Exploration& message);
absl::StatusOr<Observation> DecodeObservation(const v1::Observation& message);

void EncodeProgress(const WriterProgress& progress, v1::WriterProgress* message);
void EncodeRejected(uint64_t first_sequence, const absl::Status& status, v1::Rejected* message);
void EncodeAction(const ActedStep& step, v1::Action* message);
void EncodePolicyUpdate(const PublishedPolicy& policy, v1::PolicyUpdate* message);
void EncodeDraining(v1::Draining* message);

grpc::Status EndedStatus(StreamEnd why);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_SESSION_STREAM_H_
