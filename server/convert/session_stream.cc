#include "server/convert/session_stream.h"

#include <cmath>

#include "core/base/field_error.h"
#include "core/base/text.h"
#include "server/convert/array.h"
#include "server/convert/error.h"
#include "server/convert/estimate.h"
#include "server/convert/outer_loop.h"
#include "server/jobs/refusal.h"
#include "server/reasons.h"

namespace bilevel::server {
namespace {

constexpr int64_t kRetrySeconds = 1;

static_assert(static_cast<int>(WalkKind::kNone) == v1::Walk::KIND_UNSPECIFIED &&
              static_cast<int>(WalkKind::kFromChoice) == v1::Walk::KIND_FROM_CHOICE &&
              static_cast<int>(WalkKind::kFromState) == v1::Walk::KIND_FROM_STATE);

}  // namespace

std::string DecodeWriter(const std::string& writer_id) { return writer_id.empty() ? "default" : writer_id; }

absl::StatusOr<Exploration> DecodeExploration(const v1::Exploration& message) {
  Exploration exploration;
  switch (message.kind()) {
    case v1::Exploration::KIND_UNSPECIFIED:
    case v1::Exploration::KIND_NONE:
      if (message.has_share()) return FieldError("share", "is given without a kind that has one");
      return exploration;
    case v1::Exploration::KIND_UNIFORM:
      exploration.kind = Exploration::Kind::kUniform;
      break;
    case v1::Exploration::KIND_LEAST_TRIED:
      exploration.kind = Exploration::Kind::kLeastTried;
      break;
    default:
      return FieldError("kind", absl::StrCat("is ", static_cast<int>(message.kind()),
                                             "; must be KIND_NONE, KIND_UNIFORM or KIND_LEAST_TRIED"));
  }
  if (message.has_share()) exploration.share = message.share();
  if (!(exploration.share >= 0) || !(exploration.share <= 1)) {
    return FieldError("share", absl::StrCat("is ", ToText(exploration.share), "; must be in [0, 1]"));
  }
  return exploration;
}

absl::StatusOr<Observation> DecodeObservation(const v1::Observation& message) {
  if (message.step_kind() > 2) {
    return FieldError("step_kind", absl::StrCat("is ", message.step_kind(),
                                                "; must be 0 (running), 1 (terminated) or 2 (truncated)"));
  }
  Observation observation{.sequence = message.sequence(),
                          .episode = message.episode_id(),
                          .state = NarrowIndex(message.state()),
                          .kind = static_cast<StepKind>(message.step_kind()),
                          .context = NarrowIndex(message.context())};
  if (!v1::Walk::Kind_IsValid(message.walk_kind())) {
    return FieldError("walk_kind", absl::StrCat("is ", static_cast<int>(message.walk_kind()),
                                                "; must be KIND_FROM_CHOICE or KIND_FROM_STATE, or absent"));
  }
  observation.walk = static_cast<WalkKind>(message.walk_kind());
  observation.walk_of = message.walk_of();
  if (observation.walk == WalkKind::kNone && observation.walk_of != 0) {
    return FieldError("walk_of", absl::StrCat("is ", observation.walk_of, " without walk_kind"));
  }
  if (message.has_leader_reward()) {
    observation.leader_reward = message.leader_reward();
    if (!std::isfinite(observation.leader_reward)) {
      return FieldError("leader_reward", absl::StrCat("is ", ToText(observation.leader_reward), "; must be finite"));
    }
  }
  observation.features.assign(message.features().begin(), message.features().end());
  for (size_t i = 0; i < observation.features.size(); ++i) {
    if (!std::isfinite(observation.features[i])) {
      return FieldError(absl::StrCat("features[", i, "]"),
                        absl::StrCat("is ", ToText(observation.features[i]), "; must be finite"));
    }
  }
  return observation;
}

void EncodeProgress(const WriterProgress& progress, v1::WriterProgress* message) {
  message->set_accepted_sequence(progress.accepted);
  message->set_durable_sequence(progress.durable);
  message->set_credit_until(progress.credit);
}

void EncodeRejected(uint64_t first_sequence, const absl::Status& status, v1::Rejected* message) {
  const grpc::Status told = ToGrpcStatus(status);
  message->set_first_sequence(first_sequence);
  if (!message->mutable_status()->ParseFromString(told.error_details())) message->mutable_status()->Clear();
  message->mutable_status()->set_code(static_cast<int>(told.error_code()));
  message->mutable_status()->set_message(told.error_message());
}

void EncodeAction(const ActedStep& step, v1::Action* message) {
  message->set_episode_id(step.episode);
  message->set_action(static_cast<uint32_t>(step.action));
  message->set_log_probability(step.log_probability);
  message->set_policy_version(static_cast<double>(step.policy_version));
  message->set_ended(step.ended);
  for (const Walk& walk : step.walks) {
    v1::Walk& asked = *message->add_walks();
    asked.set_kind(static_cast<v1::Walk::Kind>(walk.kind));
    asked.set_of_episode(walk.of_episode);
    asked.set_state(static_cast<uint32_t>(walk.state));
    asked.set_context(static_cast<uint32_t>(walk.context));
  }
}

void EncodePolicyUpdate(const PublishedPolicy& policy, v1::PolicyUpdate* message) {
  message->set_version(static_cast<double>(policy.version));
  message->set_merged(static_cast<double>(policy.merged));
  message->set_parameters_version(policy.parameters_version);
  message->set_digest(policy.digest);
  if (policy.parameters.size() <= kMaxEntriesInNews) {
    EncodeReals(policy.parameters, {policy.parameters.size()}, message->mutable_parameters());
    if (policy.estimate.has_value()) EncodeEstimate(*policy.estimate, message->mutable_estimate());
  }
  if (policy.step != nullptr) EncodeStep(*policy.step, message->mutable_step());
}

void EncodeDraining(v1::Draining* message) { message->mutable_retry_delay()->set_seconds(kRetrySeconds); }

grpc::Status EndedStatus(StreamEnd why) {
  switch (why) {
    case StreamEnd::kFenced:
      return {grpc::StatusCode::ABORTED, "a newer stream of this writer took this one's place"};
    case StreamEnd::kDeleted:
      return {grpc::StatusCode::ABORTED, "the session ended"};
    case StreamEnd::kServerStops:
      break;
  }
  return ToGrpcStatus(
      MakeRefusal(absl::StatusCode::kUnavailable, {.reason = reasons::kServerStopping,
                                                   .subject = "server",
                                                   .description = "the server is stopping",
                                                   .retry_delay = std::chrono::milliseconds(1000 * kRetrySeconds)}));
}

}  // namespace bilevel::server
