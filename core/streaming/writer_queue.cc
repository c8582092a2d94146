#include "core/streaming/writer_queue.h"

#include <cmath>
#include <vector>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"

namespace bilevel {
namespace {

absl::Status CheckIndex(const char* field, int32_t value, int count) {
  if (value >= 0 && value < count) return absl::OkStatus();
  return FieldError(field, absl::StrCat("is ", value, "; must be in [0, ", count - 1, "]"));
}

}  // namespace

absl::Status WriterQueue::Offer(uint64_t first, std::span<const Transition> batch) {
  if (first == 0) return FieldError("first_sequence", "is 0; the first transition has number 1");
  if (first > accepted_ + 1) {
    return absl::FailedPreconditionError(
        absl::StrCat("first_sequence is ", first, " after ", accepted_, ": a gap; send ", accepted_ + 1, " first"));
  }
  const uint64_t known = accepted_ + 1 - first;
  if (batch.size() <= known) return absl::OkStatus();
  const std::span<const Transition> fresh = batch.subspan(known);
  if (finished_) {
    return absl::FailedPreconditionError(absl::StrCat("the writer finished at ", accepted_, "; nothing may follow"));
  }
  if (accepted_ + fresh.size() > credit()) {
    return absl::ResourceExhaustedError(absl::StrCat("the batch ends at ", accepted_ + fresh.size(),
                                                     ", beyond credit_until = ", credit(), "; wait for more credit"));
  }
  Changes changes;
  std::vector<bool> begins;
  begins.reserve(fresh.size());
  for (size_t i = 0; i < fresh.size(); ++i) {
    begins.push_back(!StandingOf(fresh[i].episode, changes).has_value());
    RETURN_IF_ERROR(WithField(absl::StrCat("[", known + i, "]"), Check(fresh[i], changes)));
  }
  size_t open = episodes_.size();
  for (const auto& [episode, standing] : changes) {
    const bool was_open = episodes_.contains(episode);
    if (standing.has_value() && !was_open) ++open;
    if (!standing.has_value() && was_open) --open;
  }
  if (open > rules_->max_open_episodes) {
    return absl::ResourceExhaustedError(absl::StrCat(open, " episodes would be open; at most ",
                                                     rules_->max_open_episodes,
                                                     " may be: end some as truncated or terminated"));
  }
  for (const auto& [episode, standing] : changes) {
    if (standing.has_value()) {
      episodes_[episode] = *standing;
    } else {
      episodes_.erase(episode);
    }
  }
  for (size_t i = 0; i < fresh.size(); ++i) {
    waiting_.push_back(fresh[i]);
    waiting_.back().begins = begins[i];
  }
  accepted_ += fresh.size();
  return absl::OkStatus();
}

std::optional<WriterQueue::Episode> WriterQueue::StandingOf(uint64_t episode, const Changes& changes) const {
  if (const auto changed = changes.find(episode); changed != changes.end()) return changed->second;
  const auto open = episodes_.find(episode);
  return open == episodes_.end() ? std::nullopt : std::optional<Episode>(open->second);
}

absl::Status WriterQueue::Check(const Transition& transition, Changes& changes) const {
  RETURN_IF_ERROR(CheckNumbers(transition));
  const std::optional<Episode> standing = StandingOf(transition.episode, changes);
  if (standing.has_value()) {
    if (standing->state != transition.state) {
      return FieldError("state", absl::StrCat("is ", transition.state, "; episode ", transition.episode,
                                              " stands in state ", standing->state));
    }
    if (standing->context != transition.context) {
      return FieldError("context", absl::StrCat("is ", transition.context, "; episode ", transition.episode,
                                                " began in context ", standing->context));
    }
  }
  if (transition.kind == StepKind::kRunning) {
    changes[transition.episode] = Episode{transition.next_state, transition.context};
  } else {
    changes[transition.episode] = std::nullopt;
  }
  return absl::OkStatus();
}

absl::Status WriterQueue::CheckNumbers(const Transition& transition) const {
  RETURN_IF_ERROR(CheckIndex("context", transition.context, static_cast<int>(rules_->contexts.size())));
  const TransitionRules::World& world = rules_->contexts[static_cast<size_t>(transition.context)];
  RETURN_IF_ERROR(CheckIndex("state", transition.state, world.num_states));
  RETURN_IF_ERROR(CheckIndex("action", transition.action, world.num_actions));
  if (transition.kind != StepKind::kTerminated) {
    RETURN_IF_ERROR(CheckIndex("next_state", transition.next_state, world.num_states));
  }
  const auto row = static_cast<size_t>(transition.state) * static_cast<size_t>(world.num_actions) +
                   static_cast<size_t>(transition.action);
  if (!world.available_actions.empty() && world.available_actions[row] == 0) {
    return FieldError("action",
                      absl::StrCat("is ", transition.action, ", which is not available in state ", transition.state));
  }
  if (std::isinf(transition.leader_reward)) {
    return FieldError("leader_reward", absl::StrCat("is ", ToText(transition.leader_reward), "; must be finite"));
  }
  if (transition.behavior_log_probability > 0 || std::isinf(transition.behavior_log_probability)) {
    return FieldError("behavior_log_probability",
                      absl::StrCat("is ", ToText(transition.behavior_log_probability), "; must be finite and <= 0"));
  }
  return absl::OkStatus();
}

absl::Status WriterQueue::Finish(uint64_t last) {
  if (last != accepted_) {
    return FieldError("last_sequence", absl::StrCat("is ", last, "; ", accepted_, " were accepted"));
  }
  finished_ = true;
  return absl::OkStatus();
}

std::optional<Transition> WriterQueue::Pop() {
  if (waiting_.empty()) return std::nullopt;
  const Transition transition = waiting_.front();
  waiting_.pop_front();
  return transition;
}

}  // namespace bilevel
