#include "client/act_stream.h"

#include <utility>

#include "client/act_link.h"

namespace bilevel::client {
namespace {

using Clock = std::chrono::steady_clock;

v1::Observation MakeObservation(std::uint64_t episode, std::uint32_t state, const Shown& shown) {
  v1::Observation observation;
  observation.set_episode_id(episode);
  observation.set_state(state);
  if (shown.leader_reward) observation.set_leader_reward(*shown.leader_reward);
  observation.mutable_features()->Add(shown.features.begin(), shown.features.end());
  return observation;
}

}  // namespace

ActStream::ActStream(std::unique_ptr<Link> link) : link_(std::move(link)) {}
ActStream::ActStream(ActStream&&) noexcept = default;
ActStream& ActStream::operator=(ActStream&&) noexcept = default;
ActStream::~ActStream() = default;

std::uint64_t ActStream::accepted_sequence() const { return link_->accepted(); }

absl::StatusOr<v1::Action> ActStream::Start(std::uint64_t episode, std::uint32_t state, std::uint32_t context,
                                            const Shown& shown, std::optional<std::chrono::milliseconds> timeout) {
  v1::Observation observation = MakeObservation(episode, state, shown);
  observation.set_context(context);
  return link_->Observe(observation, Clock::now() + timeout.value_or(link_->options().deadline));
}

absl::StatusOr<v1::Action> ActStream::StartWalk(std::uint64_t number, const v1::Walk& walk, const Shown& shown,
                                                std::optional<std::chrono::milliseconds> timeout) {
  v1::Observation observation = MakeObservation(number, walk.state(), shown);
  observation.set_context(walk.context());
  observation.set_walk_kind(walk.kind());
  observation.set_walk_of(walk.of_episode());
  return link_->Observe(observation, Clock::now() + timeout.value_or(link_->options().deadline));
}

absl::StatusOr<v1::Action> ActStream::Step(std::uint64_t episode, std::uint32_t state, StepKind kind,
                                           const Shown& shown, std::optional<std::chrono::milliseconds> timeout) {
  v1::Observation observation = MakeObservation(episode, state, shown);
  observation.set_step_kind(static_cast<std::uint32_t>(kind));
  observation.set_sequence(1);  // the link knows which
  return link_->Observe(observation, Clock::now() + timeout.value_or(link_->options().deadline));
}

absl::Status ActStream::Finish(std::optional<std::chrono::milliseconds> timeout) {
  return link_->Finish(Clock::now() + timeout.value_or(link_->options().deadline));
}

void ActStream::Cancel() { link_->Cancel(); }

}  // namespace bilevel::client
