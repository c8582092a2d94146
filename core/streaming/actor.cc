#include "core/streaming/actor.h"

#include <algorithm>
#include <cmath>

#include "core/base/field_error.h"
#include "core/base/rng.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"

namespace bilevel {
namespace {

bool Ends(StepKind kind) { return kind != StepKind::kRunning; }

// The finaliser of splitmix64.
uint64_t Scramble(uint64_t key) {
  key = (key ^ (key >> 30)) * 0xbf58476d1ce4e5b9u;
  key = (key ^ (key >> 27)) * 0x94d049bb133111ebu;
  return key ^ (key >> 31);
}

}  // namespace

absl::StatusOr<bool> Actor::IsKnown(const Observation& observation, uint64_t accepted) const {
  if (observation.sequence > accepted + 1) {
    return absl::FailedPreconditionError(absl::StrCat("sequence is ", observation.sequence, " after ", accepted,
                                                      ": a gap; send ", accepted + 1, " first"));
  }
  if (observation.sequence == accepted + 1) return false;
  const auto open = episodes_.find(observation.episode);
  if (observation.sequence == 0) {
    if (open == episodes_.end()) return false;
    const Episode& episode = open->second;
    if (episode.sequence == 0 && episode.state == observation.state && episode.context == observation.context) {
      return true;
    }
    return FieldError("episode_id", absl::StrCat("is ", observation.episode, ", which has begun already"));
  }
  if (Ends(observation.kind) ? open == episodes_.end()
                             : open != episodes_.end() && open->second.sequence == observation.sequence) {
    return true;
  }
  return FieldError(
      "sequence", absl::StrCat("is ", observation.sequence, "; ", accepted, " are accepted, and it is not the last of ",
                               "episode ", observation.episode));
}

absl::Status Actor::CheckState(const Observation& observation, int32_t context) const {
  const auto contexts = static_cast<int32_t>(rules_->contexts.size());
  if (context < 0 || context >= contexts) {
    return FieldError("context", absl::StrCat("is ", context, "; must be in [0, ", contexts - 1, "]"));
  }
  if (observation.kind == StepKind::kTerminated) return absl::OkStatus();
  const int states = rules_->contexts[static_cast<size_t>(context)].num_states;
  if (observation.state < 0 || observation.state >= states) {
    return FieldError("state", absl::StrCat("is ", observation.state, "; must be in [0, ", states - 1, "]"));
  }
  if (observation.features.size() != rules_->num_features) {
    return FieldError("features", absl::StrCat("has ", observation.features.size(),
                                               " entries; must have num_features = ", rules_->num_features));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<TransitionBlock>> Actor::Complete(const Observation& observation) const {
  if (observation.sequence == 0) {
    if (Ends(observation.kind)) return FieldError("step_kind", "ends an episode that only begins; must be 0");
    RETURN_IF_ERROR(CheckState(observation, observation.context));
    if (episodes_.size() >= rules_->max_open_episodes) {
      return absl::ResourceExhaustedError(absl::StrCat(episodes_.size(), " episodes are open; at most ",
                                                       rules_->max_open_episodes,
                                                       " may be: end some as truncated or terminated"));
    }
    return std::nullopt;
  }
  const auto open = episodes_.find(observation.episode);
  if (open == episodes_.end()) {
    return FieldError("episode_id", absl::StrCat("is ", observation.episode,
                                                 ", which has not begun; begin it with "
                                                 "sequence 0"));
  }
  const Episode& episode = open->second;
  RETURN_IF_ERROR(CheckState(observation, episode.context));
  if (!episode.drawn.has_value()) {
    return FieldError("sequence", absl::StrCat("is ", observation.sequence, "; episode ", observation.episode,
                                               " has no action yet that it could complete"));
  }
  TransitionBlock completed{{{.episode = observation.episode,
                              .state = episode.state,
                              .action = episode.drawn->action,
                              .next_state = observation.kind == StepKind::kTerminated ? 0 : observation.state,
                              .context = episode.context,
                              .leader_reward = observation.leader_reward,
                              .behavior_log_probability = episode.drawn->log_probability,
                              .parameters_version = episode.drawn->parameters_version,
                              .kind = observation.kind}},
                            episode.features};
  if (observation.kind == StepKind::kTerminated) {
    completed.features.resize(2 * rules_->num_features, 0);
  } else {
    completed.features.insert(completed.features.end(), observation.features.begin(), observation.features.end());
  }
  return completed;
}

void Actor::Take(const Observation& observation) {
  if (Ends(observation.kind)) {
    episodes_.erase(observation.episode);
    return;
  }
  Episode& episode = episodes_[observation.episode];
  if (observation.sequence == 0) {
    episode = Episode{.context = observation.context};
  } else {
    ++episode.steps;
  }
  episode.sequence = observation.sequence;
  episode.state = observation.state;
  episode.features = observation.features;
  episode.drawn.reset();
}

std::optional<ActedStep> Actor::Drawn(const Observation& observation) const {
  if (Ends(observation.kind)) return ActedStep{.episode = observation.episode, .ended = true};
  return episodes_.at(observation.episode).drawn;
}

std::vector<int> Actor::Available(const Episode& episode) const {
  const TransitionRules::World& world = rules_->contexts[static_cast<size_t>(episode.context)];
  std::vector<int> actions;
  for (int a = 0; a < world.num_actions; ++a) {
    const auto row =
        static_cast<size_t>(episode.state) * static_cast<size_t>(world.num_actions) + static_cast<size_t>(a);
    if (world.available_actions.empty() || world.available_actions[row] != 0) actions.push_back(a);
  }
  return actions;
}

Vector Actor::Probabilities(const Episode& episode, const PolicySnapshot* policy,
                            const Exploration& exploration) const {
  const int A = rules_->contexts[static_cast<size_t>(episode.context)].num_actions;
  const std::vector<int> actions = Available(episode);
  const Eigen::Index first = Eigen::Index{episode.state} * A;
  Vector uniform = Vector::Zero(A);
  for (const int a : actions) uniform[a] = 1 / static_cast<double>(actions.size());
  const Vector by_policy =
      policy == nullptr ? uniform : policy->contexts[static_cast<size_t>(episode.context)].pi.segment(first, A);
  if (exploration.kind == Exploration::Kind::kNone) return by_policy;
  Vector other = uniform;
  if (exploration.kind == Exploration::Kind::kLeastTried) {
    const auto tries = [&](int a) {
      const auto found = tried_.find({episode.context, first + a});
      return found == tried_.end() ? 0u : found->second;
    };
    const int least =
        *std::min_element(actions.begin(), actions.end(), [&](int a, int b) { return tries(a) < tries(b); });
    other.setZero();
    other[least] = 1;
  }
  return (1 - exploration.share) * by_policy + exploration.share * other;
}

ActedStep Actor::Draw(const Observation& observation, const PolicySnapshot* policy, const Exploration& exploration) {
  Episode& episode = episodes_.at(observation.episode);
  const Vector pi = Probabilities(episode, policy, exploration);
  Rng rng(Scramble(seed_ + Scramble(writer_ + 1)), Scramble(Scramble(observation.episode) + episode.steps));
  ActedStep step{.episode = observation.episode};
  if (policy != nullptr) {
    step.policy_version = policy->version;
    step.parameters_version = policy->parameters_version;
  }
  double left = rng.Uniform() * pi.sum();
  for (int a = 0; a < static_cast<int>(pi.size()); ++a) {
    if (pi[a] <= 0) continue;
    step.action = a;
    left -= pi[a];
    if (left < 0) break;
  }
  step.log_probability = std::min(0.0, std::log(pi[step.action]));
  ++tried_[{episode.context, Eigen::Index{episode.state} * pi.size() + step.action}];
  episode.drawn = step;
  return step;
}

}  // namespace bilevel
