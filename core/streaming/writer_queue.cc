#include "core/streaming/writer_queue.h"

#include <algorithm>
#include <cmath>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"

namespace bilevel {
namespace {

// Small batches are put together up to so many transitions.
constexpr size_t kSmallBlock = 256;

bool IsBelow(int32_t value, int count) { return value >= 0 && value < count; }

absl::Status IndexError(const char* field, int32_t value, int count) {
  return FieldError(field, absl::StrCat("is ", value, "; must be in [0, ", count - 1, "]"));
}

absl::Status TooManyOpen(size_t i, size_t most) {
  return absl::ResourceExhaustedError(absl::StrCat("transition ", i, " of the batch opens one episode too many; ", most,
                                                   " may be open: end some as truncated or terminated"));
}

}  // namespace

absl::Status WriterQueue::Offer(uint64_t first, TransitionBlock batch, uint32_t newest_parameters) {
  if (first == 0) return FieldError("first_sequence", "is 0; the first transition has number 1");
  if (first > accepted_ + 1) {
    return absl::FailedPreconditionError(
        absl::StrCat("first_sequence is ", first, " after ", accepted_, ": a gap; send ", accepted_ + 1, " first"));
  }
  const uint64_t known = accepted_ + 1 - first;
  if (batch.steps.size() <= known) return absl::OkStatus();
  RETURN_IF_ERROR(CheckRoom(batch.steps.size() - known));
  Undo undo;
  if (absl::Status status = Check(batch.steps, known, newest_parameters, undo); !status.ok()) {
    std::reverse(undo.begin(), undo.end());
    for (const auto& change : undo) Put(change.walk, change.episode, change.before);
    return status;
  }
  Push(std::move(batch), known);
  return absl::OkStatus();
}

absl::Status WriterQueue::CheckOpen() const {
  if (!finished_) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("the writer finished at ", accepted_, "; nothing may follow"));
}

absl::Status WriterQueue::CheckRoom(size_t count) const {
  RETURN_IF_ERROR(CheckOpen());
  if (accepted_ + count > credit()) {
    return absl::ResourceExhaustedError(absl::StrCat("the batch ends at ", accepted_ + count,
                                                     ", beyond credit_until = ", credit(), "; wait for more credit"));
  }
  return absl::OkStatus();
}

// The episode of the last transition is at hand; the table is asked only where another one goes on.
absl::Status WriterQueue::Check(std::vector<Transition>& steps, size_t known, uint32_t newest_parameters, Undo& undo) {
  std::optional<Standing> standing;
  size_t open = open_episodes();
  for (size_t i = known; i < steps.size(); ++i) {
    Transition& step = steps[i];
    if (i == known || step.episode != steps[i - 1].episode || step.walk != steps[i - 1].walk) {
      if (i > known) Put(steps[i - 1].walk, steps[i - 1].episode, standing);
      const Episodes& episodes = episodes_[static_cast<size_t>(step.walk)];
      const auto found = episodes.find(step.episode);
      standing = found == episodes.end() ? std::nullopt : std::optional<Standing>(found->second);
      undo.push_back({step.walk, step.episode, standing});
    }
    step.begins = !standing.has_value();
    if (step.begins) ++open;
    if (!IsPlain(step, standing)) {
      const absl::Status status = CheckStep(step, standing, newest_parameters);
      if (!status.ok()) return WithField(absl::StrCat("[", i, "]"), status);
    }
    if (step.kind == StepKind::kRunning) {
      standing = Standing{step.next_state, step.context};
    } else {
      standing.reset();
      --open;
    }
    if (open > rules_->max_open_episodes) return TooManyOpen(i, rules_->max_open_episodes);
  }
  Put(steps.back().walk, steps.back().episode, standing);
  return absl::OkStatus();
}

// What CheckStep has nothing to say about, and nearly every transition is: nothing optional, within the first context,
// all of whose actions are available.
bool WriterQueue::IsPlain(const Transition& step, const std::optional<Standing>& standing) const {
  const TransitionRules::World& world = rules_->contexts[0];
  // Without branches.
  const bool state = IsBelow(step.state, world.num_states), action = IsBelow(step.action, world.num_actions);
  const bool next = IsBelow(step.next_state, world.num_states), all_available = world.available_actions.empty();
  const bool no_reward = std::isnan(step.leader_reward), no_behavior = std::isnan(step.behavior_log_probability);
  const bool in_range = (step.context == 0) & state & action & next;
  const bool nothing_else = no_reward & no_behavior & (step.parameters_version == 0) & all_available;
  const bool goes_on = !standing.has_value() || ((standing->state == step.state) & (standing->context == 0));
  return in_range & nothing_else & goes_on;
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

void WriterQueue::Put(WalkKind walk, uint64_t episode, const std::optional<Standing>& standing) {
  Episodes& episodes = episodes_[static_cast<size_t>(walk)];
  if (standing.has_value()) {
    episodes.insert_or_assign(episode, *standing);
  } else {
    episodes.erase(episode);
  }
}

void WriterQueue::Push(TransitionBlock batch, size_t known) {
  const size_t count = batch.steps.size() - known;
  const auto width = static_cast<int64_t>(2 * rules_->num_features * known);
  accepted_ += count;
  if (!waiting_.empty() && !waiting_.back().popped && waiting_.back().block->steps.size() + count <= kSmallBlock) {
    TransitionBlock& last = *waiting_.back().block;
    last.steps.insert(last.steps.end(), batch.steps.begin() + static_cast<int64_t>(known), batch.steps.end());
    last.features.insert(last.features.end(), batch.features.begin() + width, batch.features.end());
    return;
  }
  // What was known takes no room.
  if (known > 0) {
    batch.steps.erase(batch.steps.begin(), batch.steps.begin() + static_cast<int64_t>(known));
    batch.steps.shrink_to_fit();
    batch.features.erase(batch.features.begin(), batch.features.begin() + width);
    batch.features.shrink_to_fit();
  }
  waiting_.push_back({std::make_shared<TransitionBlock>(std::move(batch)), 0, false});
}

BlockSlice WriterQueue::Pop(size_t most) {
  if (waiting_.empty() || most == 0) return {};
  Waiting& first = waiting_.front();
  BlockSlice slice{first.block, first.begin, std::min(most, first.block->steps.size() - first.begin)};
  merged_ += slice.count;
  first.begin += slice.count;
  first.popped = true;
  if (first.begin == first.block->steps.size()) waiting_.pop_front();
  return slice;
}

absl::Status WriterQueue::Finish(uint64_t last) {
  if (last != accepted_) {
    return FieldError("last_sequence", absl::StrCat("is ", last, "; ", accepted_, " were accepted"));
  }
  finished_ = true;
  return absl::OkStatus();
}

}  // namespace bilevel
