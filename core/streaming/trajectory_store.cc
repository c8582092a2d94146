#include "core/streaming/trajectory_store.h"

#include <algorithm>

namespace bilevel {
namespace {

// Those of its walks included.
size_t StepsOf(const RecordedTrajectory& trajectory) {
  size_t steps = trajectory.steps.size();
  for (const RecordedWalk& walk : trajectory.walks) steps += walk.steps.size();
  return steps;
}

}  // namespace

void TrajectoryStore::Add(size_t writer, const Transition& transition, const RecordedStep& step) {
  if (capacity_ == 0) return;
  const Name name(writer, transition.episode);
  const bool walks = transition.walk != WalkKind::kNone;
  if (transition.begins && !walks) {
    numbers_[name] = forgotten_ + held_.size();
    held_.push_back({writer, transition.episode, transition.context, {}, StepKind::kRunning, 0, {}});
  }
  const auto found = numbers_.find(name);
  if (found == numbers_.end()) return;
  RecordedTrajectory& trajectory = held_[found->second - forgotten_];
  if (walks) {
    steps_ += AddToWalk(transition, step, trajectory) ? 1 : 0;
  } else {
    trajectory.steps.push_back(step);
    trajectory.end = transition.kind;
    trajectory.last_state = transition.next_state;
    ++steps_;
  }
  while (steps_ > capacity_) ForgetOldest();
}

// Whether it was: a walk that goes on belongs to the trajectory that it began from, and not to a later one of that
// number.
bool TrajectoryStore::AddToWalk(const Transition& transition, const RecordedStep& step,
                                RecordedTrajectory& trajectory) {
  std::vector<RecordedWalk>& walks = trajectory.walks;
  auto walk =
      std::find_if(walks.begin(), walks.end(), [&](const RecordedWalk& one) { return one.kind == transition.walk; });
  if (transition.begins == (walk != walks.end()) || trajectory.end == StepKind::kRunning) return false;
  if (transition.begins) walk = walks.insert(walk, {transition.walk, StepKind::kRunning, false, {}});
  walk->steps.push_back(step);
  walk->end = transition.kind;
  walk->stopped = transition.stopped;
  return true;
}

void TrajectoryStore::ForgetOldest() {
  const RecordedTrajectory& oldest = held_.front();
  const auto found = numbers_.find(Name(oldest.writer, oldest.episode));
  if (found != numbers_.end() && found->second == forgotten_) numbers_.erase(found);
  steps_ -= StepsOf(oldest);
  held_.pop_front();
  ++forgotten_;
}

void TrajectoryStore::Forget(int32_t context, uint64_t number) {
  std::deque<RecordedTrajectory> kept;
  absl::flat_hash_map<Name, uint64_t> kept_numbers;
  std::vector<std::pair<Name, size_t>> named;
  for (size_t i = 0; i < held_.size(); ++i) {
    RecordedTrajectory& trajectory = held_[i];
    if (trajectory.context == context && forgotten_ + i < number) {
      steps_ -= StepsOf(trajectory);
      continue;
    }
    const Name name(trajectory.writer, trajectory.episode);
    const auto found = numbers_.find(name);
    if (found != numbers_.end() && found->second == forgotten_ + i) named.emplace_back(name, kept.size());
    kept.push_back(std::move(trajectory));
  }
  forgotten_ += held_.size() - kept.size();
  for (const auto& [name, at] : named) kept_numbers[name] = forgotten_ + at;
  held_ = std::move(kept);
  numbers_ = std::move(kept_numbers);
}

const RecordedTrajectory* TrajectoryStore::Find(size_t writer, uint64_t episode) const {
  const auto found = numbers_.find(Name(writer, episode));
  return found == numbers_.end() ? nullptr : &held_[found->second - forgotten_];
}

double TrajectoryStore::MaxBytes(size_t capacity) {
  // Every step may be a trajectory of its own: its header, the name, and the vector's spare room. As a walk of its own
  // it has less.
  constexpr double kEach = 2 * sizeof(RecordedStep) + sizeof(RecordedTrajectory) + 64;
  static_assert(2 * sizeof(RecordedWalk) <= sizeof(RecordedTrajectory) + 64);
  return static_cast<double>(capacity) * kEach;
}

}  // namespace bilevel
