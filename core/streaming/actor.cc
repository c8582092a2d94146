#include "core/streaming/actor.h"

#include <algorithm>
#include <cmath>

#include "core/base/field_error.h"
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

// 2^64 over the golden ratio: keeps what is scrambled for one use apart from what is for another.
constexpr uint64_t kApart = 0x9e3779b97f4a7c15u;

// The action whose stretch of [0, 1) `uniform` falls into.
int DrawFrom(const Vector& pi, double uniform) {
  double left = uniform * pi.sum();
  int drawn = 0;
  for (int a = 0; a < static_cast<int>(pi.size()); ++a) {
    if (pi[a] <= 0) continue;
    drawn = a;
    left -= pi[a];
    if (left < 0) break;
  }
  return drawn;
}

const char* NameOf(WalkKind kind) { return kind == WalkKind::kFromChoice ? "FROM_CHOICE" : "FROM_STATE"; }

}  // namespace

double Actor::MaxBytes(size_t open_episodes, size_t num_features) {
  // Tables are at worst just doubled, from 7/8 full.
  constexpr double kSlots = 16.0 / 7;
  constexpr double kEach =
      sizeof(Episode) + sizeof(Asked) + sizeof(std::pair<uint64_t, WalkKind>) + 2 * sizeof(uint64_t);
  const size_t numbers = 2 + num_features;  // of order_, and features
  return static_cast<double>(open_episodes) * (kSlots * kEach + static_cast<double>(numbers * sizeof(double)));
}

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
    const uint64_t name = observation.walk == WalkKind::kNone ? observation.episode : observation.walk_of;
    if (episode.sequence == 0 && episode.state == observation.state && episode.context == observation.context &&
        episode.walk == observation.walk && episode.name == name) {
      return true;
    }
    return FieldError("episode_id", absl::StrCat("is ", observation.episode, ", which has begun already"));
  }
  if (open != episodes_.end()
          ? !Ends(observation.kind) && open->second.sequence == observation.sequence
          : Ends(observation.kind) || stopped_ == std::pair(observation.episode, observation.sequence)) {
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

absl::Status Actor::CheckBegin(const Observation& observation) const {
  if (observation.walk == WalkKind::kNone) {
    for (const WalkKind kind : {WalkKind::kFromChoice, WalkKind::kFromState}) {
      if (!open_walks_.contains({observation.episode, kind})) continue;
      return FieldError("episode_id", absl::StrCat("is ", observation.episode, "; its walk ", NameOf(kind),
                                                   " is open: end that first"));
    }
    return absl::OkStatus();
  }
  const auto found = asked_.find(observation.walk_of);
  if (found == asked_.end()) {
    return FieldError("walk_of",
                      absl::StrCat("is ", observation.walk_of, ", an episode of which no walks are asked for"));
  }
  const Asked& asked = found->second;
  const std::string walk = absl::StrCat(NameOf(observation.walk), " of episode ", observation.walk_of);
  if (asked.begun[static_cast<size_t>(observation.walk)]) {
    return FieldError("walk_kind", absl::StrCat("is ", walk, ", which has begun already"));
  }
  if (observation.state != asked.state) {
    return FieldError("state", absl::StrCat("is ", observation.state, "; ", walk, " begins in ", asked.state));
  }
  if (observation.context != asked.context) {
    return FieldError("context", absl::StrCat("is ", observation.context, "; ", walk, " is in ", asked.context));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<TransitionBlock>> Actor::Complete(const Observation& observation) const {
  if (observation.sequence == 0) {
    if (Ends(observation.kind)) return FieldError("step_kind", "ends an episode that only begins; must be 0");
    RETURN_IF_ERROR(CheckState(observation, observation.context));
    RETURN_IF_ERROR(CheckBegin(observation));
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
  const bool stopped = observation.kind != StepKind::kTerminated && Stops(episode);
  TransitionBlock completed{{{.episode = episode.name,
                              .state = episode.state,
                              .action = episode.drawn->action,
                              .next_state = observation.kind == StepKind::kTerminated ? 0 : observation.state,
                              .context = episode.context,
                              .leader_reward = observation.leader_reward,
                              .behavior_log_probability = episode.drawn->log_probability,
                              .parameters_version = episode.drawn->parameters_version,
                              .kind = stopped ? StepKind::kTruncated : observation.kind,
                              .walk = episode.walk,
                              .stopped = stopped}},
                            episode.features};
  if (observation.kind == StepKind::kTerminated) {
    completed.features.resize(2 * rules_->num_features, 0);
  } else {
    completed.features.insert(completed.features.end(), observation.features.begin(), observation.features.end());
  }
  return completed;
}

Rng Actor::RngOf(const Episode& episode, Purpose purpose) const {
  const uint64_t step = Scramble(Scramble(episode.number) + episode.steps);
  const uint64_t stream = purpose == Purpose::kAction ? step : Scramble(step + kApart * static_cast<uint64_t>(purpose));
  return Rng(Scramble(seed_ + Scramble(writer_ + 1)), stream);
}

bool Actor::Stops(const Episode& episode) const {
  return episode.walk != WalkKind::kNone &&
         RngOf(episode, Purpose::kCoin).Uniform() >= rules_->contexts[static_cast<size_t>(episode.context)].discount;
}

void Actor::Take(const Observation& observation, bool walks) {
  if (observation.sequence == 0) {
    Begin(observation);
    return;
  }
  Episode& episode = episodes_.at(observation.episode);
  // Of the steps so far each is (s_h, a_h) alike: the last with probability 1 / steps.
  if (episode.walk == WalkKind::kNone && RngOf(episode, Purpose::kWalkStep).Below(episode.steps + 1) == 0) {
    episode.walk_state = episode.state;
    episode.walk_action = episode.drawn->action;
  }
  if (Ends(observation.kind) || Stops(episode)) {
    End(observation, walks);
    return;
  }
  ++episode.steps;
  episode.sequence = observation.sequence;
  episode.state = observation.state;
  episode.features = observation.features;
  episode.drawn.reset();
}

void Actor::Begin(const Observation& observation) {
  Episode episode{.name = observation.episode,
                  .walk = observation.walk,
                  .state = observation.state,
                  .context = observation.context,
                  .features = observation.features};
  if (observation.walk == WalkKind::kNone) {
    episode.number = ++begun_;
    asked_.erase(observation.episode);
  } else {
    Asked& asked = asked_.at(observation.walk_of);
    asked.begun[static_cast<size_t>(observation.walk)] = true;
    open_walks_.insert({observation.walk_of, observation.walk});
    episode.number = Scramble(asked.number + kApart * static_cast<uint64_t>(observation.walk));
    episode.name = observation.walk_of;
    episode.walk_action = asked.action;
  }
  episodes_.insert_or_assign(observation.episode, std::move(episode));
}

void Actor::End(const Observation& observation, bool walks) {
  const auto open = episodes_.find(observation.episode);
  const Episode& episode = open->second;
  if (episode.walk != WalkKind::kNone) {
    open_walks_.erase({episode.name, episode.walk});
    if (!Ends(observation.kind)) stopped_ = {observation.episode, observation.sequence};
  } else if (walks) {
    Ask(observation, episode);
  }
  episodes_.erase(open);
}

void Actor::Ask(const Observation& observation, const Episode& episode) {
  asked_.insert_or_assign(episode.name, Asked{.number = episode.number,
                                              .sequence = observation.sequence,
                                              .state = episode.walk_state,
                                              .action = episode.walk_action,
                                              .context = episode.context});
  order_.emplace_back(episode.name, observation.sequence);
  if (order_.size() <= rules_->max_open_episodes) return;
  const auto oldest = asked_.find(order_.front().first);
  if (oldest != asked_.end() && oldest->second.sequence == order_.front().second) asked_.erase(oldest);
  order_.pop_front();
}

std::optional<ActedStep> Actor::Drawn(const Observation& observation) const {
  const auto open = episodes_.find(observation.episode);
  if (open != episodes_.end()) return open->second.drawn;
  ActedStep ended{.episode = observation.episode, .ended = true};
  const auto found = asked_.find(observation.episode);
  if (found == asked_.end() || found->second.sequence != observation.sequence) return ended;
  const Asked& asked = found->second;
  for (const WalkKind kind : {WalkKind::kFromChoice, WalkKind::kFromState}) {
    ended.walks.push_back({kind, observation.episode, asked.state, asked.context});
  }
  return ended;
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
  Vector by_policy =
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
  ActedStep step{.episode = observation.episode};
  if (policy != nullptr) {
    step.policy_version = policy->version;
    step.parameters_version = policy->parameters_version;
  }
  if (episode.walk == WalkKind::kFromChoice && episode.steps == 0) {
    step.action = episode.walk_action;
  } else {
    const Vector pi = Probabilities(episode, policy, episode.walk == WalkKind::kNone ? exploration : Exploration());
    step.action = DrawFrom(pi, RngOf(episode, Purpose::kAction).Uniform());
    step.log_probability = std::min(0.0, std::log(pi[step.action]));
  }
  const int A = rules_->contexts[static_cast<size_t>(episode.context)].num_actions;
  ++tried_[{episode.context, Eigen::Index{episode.state} * A + step.action}];
  episode.drawn = step;
  return step;
}

}  // namespace bilevel
