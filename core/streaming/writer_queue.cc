#include "core/streaming/writer_queue.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"

namespace bilevel {
namespace {

constexpr size_t kFirstSlots = 256;

bool IsBelow(int32_t value, int count) { return value >= 0 && value < count; }

absl::Status IndexError(const char* field, int32_t value, int count) {
  return FieldError(field, absl::StrCat("is ", value, "; must be in [0, ", count - 1, "]"));
}

// The runs of slots that transitions [from, from + count) occupy in a ring.
template <typename Use>
void ForEachRun(size_t slot, size_t count, size_t size, const Use& use) {
  const size_t before_end = std::min(count, size - slot);
  use(slot, size_t{0}, before_end);
  if (before_end < count) use(size_t{0}, before_end, count - before_end);
}

}  // namespace

absl::Status WriterQueue::Offer(uint64_t first, TransitionSpan batch, uint32_t newest_parameters) {
  if (first == 0) return FieldError("first_sequence", "is 0; the first transition has number 1");
  if (first > accepted_ + 1) {
    return absl::FailedPreconditionError(
        absl::StrCat("first_sequence is ", first, " after ", accepted_, ": a gap; send ", accepted_ + 1, " first"));
  }
  const uint64_t known = accepted_ + 1 - first;
  if (batch.steps.size() <= known) return absl::OkStatus();
  const size_t width = 2 * rules_->num_features;
  const TransitionSpan fresh{batch.steps.subspan(known), batch.features.subspan(known * width)};
  RETURN_IF_ERROR(CheckRoom(fresh.steps.size()));
  Undo undo;
  begins_.resize(fresh.steps.size());
  if (absl::Status status = Check(fresh.steps, known, newest_parameters, undo); !status.ok()) {
    for (auto change = undo.rbegin(); change != undo.rend(); ++change) Put(change->first, change->second);
    return status;
  }
  Push(fresh);
  return absl::OkStatus();
}

absl::Status WriterQueue::CheckRoom(size_t count) const {
  if (finished_) {
    return absl::FailedPreconditionError(absl::StrCat("the writer finished at ", accepted_, "; nothing may follow"));
  }
  if (accepted_ + count > credit()) {
    return absl::ResourceExhaustedError(absl::StrCat("the batch ends at ", accepted_ + count,
                                                     ", beyond credit_until = ", credit(), "; wait for more credit"));
  }
  return absl::OkStatus();
}

// The episode of the last transition is at hand; the table is asked only where another one goes on.
absl::Status WriterQueue::Check(std::span<const Transition> steps, size_t known, uint32_t newest_parameters,
                                Undo& undo) {
  std::optional<Standing> standing;
  for (size_t i = 0; i < steps.size(); ++i) {
    const Transition& step = steps[i];
    if (i == 0 || step.episode != steps[i - 1].episode) {
      if (i > 0) Put(steps[i - 1].episode, standing);
      const auto open = episodes_.find(step.episode);
      standing = open == episodes_.end() ? std::nullopt : std::optional<Standing>(open->second);
      undo.emplace_back(step.episode, standing);
    }
    begins_[i] = standing.has_value() ? 0 : 1;
    if (absl::Status status = CheckStep(step, standing, newest_parameters); !status.ok()) {
      return WithField(absl::StrCat("[", known + i, "]"), status);
    }
    if (step.kind == StepKind::kRunning) {
      standing = Standing{step.next_state, step.context};
    } else {
      standing.reset();
    }
  }
  Put(steps.back().episode, standing);
  if (episodes_.size() > rules_->max_open_episodes) {
    return absl::ResourceExhaustedError(absl::StrCat(episodes_.size(), " episodes would be open; at most ",
                                                     rules_->max_open_episodes,
                                                     " may be: end some as truncated or terminated"));
  }
  return absl::OkStatus();
}

absl::Status WriterQueue::CheckStep(const Transition& step, const std::optional<Standing>& standing,
                                    uint32_t newest_parameters) const {
  const int contexts = static_cast<int>(rules_->contexts.size());
  if (!IsBelow(step.context, contexts)) return IndexError("context", step.context, contexts);
  const TransitionRules::World& world = rules_->contexts[static_cast<size_t>(step.context)];
  if (!IsBelow(step.state, world.num_states)) return IndexError("state", step.state, world.num_states);
  if (!IsBelow(step.action, world.num_actions)) return IndexError("action", step.action, world.num_actions);
  if (step.kind != StepKind::kTerminated && !IsBelow(step.next_state, world.num_states)) {
    return IndexError("next_state", step.next_state, world.num_states);
  }
  const auto row =
      static_cast<size_t>(step.state) * static_cast<size_t>(world.num_actions) + static_cast<size_t>(step.action);
  if (!world.available_actions.empty() && world.available_actions[row] == 0) {
    return FieldError("action", absl::StrCat("is ", step.action, ", which is not available in state ", step.state));
  }
  if (std::isinf(step.leader_reward)) {
    return FieldError("leader_reward", absl::StrCat("is ", ToText(step.leader_reward), "; must be finite"));
  }
  if (step.behavior_log_probability > 0 || std::isinf(step.behavior_log_probability)) {
    return FieldError("behavior_log_probability",
                      absl::StrCat("is ", ToText(step.behavior_log_probability), "; must be finite and <= 0"));
  }
  if (step.parameters_version > newest_parameters) {
    return FieldError("parameters_version",
                      absl::StrCat("is ", step.parameters_version, "; the newest version of x is ", newest_parameters));
  }
  if (!standing.has_value()) return absl::OkStatus();
  if (standing->state != step.state) {
    return FieldError(
        "state", absl::StrCat("is ", step.state, "; episode ", step.episode, " stands in state ", standing->state));
  }
  if (standing->context != step.context) {
    return FieldError("context", absl::StrCat("is ", step.context, "; episode ", step.episode, " began in context ",
                                              standing->context));
  }
  return absl::OkStatus();
}

void WriterQueue::Put(uint64_t episode, const std::optional<Standing>& standing) {
  if (standing.has_value()) {
    episodes_.insert_or_assign(episode, *standing);
  } else {
    episodes_.erase(episode);
  }
}

void WriterQueue::Push(TransitionSpan fresh) {
  const size_t count = fresh.steps.size(), width = 2 * rules_->num_features;
  Reserve(static_cast<size_t>(accepted_ - merged_) + count);
  ForEachRun(SlotOf(accepted_ + 1), count, steps_.size(), [&](size_t slot, size_t from, size_t length) {
    for (size_t i = 0; i < length; ++i) {
      steps_[slot + i] = fresh.steps[from + i];
      steps_[slot + i].begins = begins_[from + i] != 0;
    }
    std::copy_n(fresh.features.begin() + static_cast<int64_t>(from * width), length * width,
                features_.begin() + static_cast<int64_t>(slot * width));
  });
  accepted_ += count;
}

// Room for so many waiting transitions.
void WriterQueue::Reserve(size_t waiting) {
  if (waiting <= steps_.size()) return;
  const uint64_t merged = merged_;
  std::vector<Transition> steps;
  std::vector<double> features;
  const size_t count = Pop(capacity_, steps, features);
  merged_ = merged;
  const size_t size = std::max(kFirstSlots, std::bit_ceil(waiting)), width = 2 * rules_->num_features;
  steps_.assign(size, Transition());
  features_.assign(size * width, 0);
  for (size_t i = 0; i < count; ++i) {
    const size_t slot = SlotOf(merged_ + 1 + i);
    steps_[slot] = steps[i];
    std::copy_n(features.begin() + static_cast<int64_t>(i * width), width,
                features_.begin() + static_cast<int64_t>(slot * width));
  }
}

size_t WriterQueue::Pop(size_t most, std::vector<Transition>& steps, std::vector<double>& features) {
  const size_t count = std::min(most, static_cast<size_t>(accepted_ - merged_));
  const size_t width = 2 * rules_->num_features;
  if (count == 0) return 0;
  ForEachRun(SlotOf(merged_ + 1), count, steps_.size(), [&](size_t slot, size_t, size_t length) {
    const auto step = steps_.begin() + static_cast<int64_t>(slot);
    steps.insert(steps.end(), step, step + static_cast<int64_t>(length));
    const auto feature = features_.begin() + static_cast<int64_t>(slot * width);
    features.insert(features.end(), feature, feature + static_cast<int64_t>(length * width));
  });
  merged_ += count;
  return count;
}

absl::Status WriterQueue::Finish(uint64_t last) {
  if (last != accepted_) {
    return FieldError("last_sequence", absl::StrCat("is ", last, "; ", accepted_, " were accepted"));
  }
  finished_ = true;
  return absl::OkStatus();
}

}  // namespace bilevel
