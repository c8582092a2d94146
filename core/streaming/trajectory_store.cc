#include "core/streaming/trajectory_store.h"

namespace bilevel {

void TrajectoryStore::Add(size_t writer, const Transition& transition, const RecordedStep& step) {
  if (capacity_ == 0) return;
  const Name name(writer, transition.episode);
  if (transition.begins) {
    numbers_[name] = forgotten_ + held_.size();
    held_.push_back({writer, transition.episode, transition.context, {}, StepKind::kRunning, 0});
  }
  const auto found = numbers_.find(name);
  if (found == numbers_.end()) return;
  RecordedTrajectory& trajectory = held_[found->second - forgotten_];
  trajectory.steps.push_back(step);
  trajectory.end = transition.kind;
  trajectory.last_state = transition.next_state;
  ++steps_;
  while (steps_ > capacity_) ForgetOldest();
}

void TrajectoryStore::ForgetOldest() {
  const RecordedTrajectory& oldest = held_.front();
  const auto found = numbers_.find(Name(oldest.writer, oldest.episode));
  if (found != numbers_.end() && found->second == forgotten_) numbers_.erase(found);
  steps_ -= oldest.steps.size();
  held_.pop_front();
  ++forgotten_;
}

const RecordedTrajectory* TrajectoryStore::Find(size_t writer, uint64_t episode) const {
  const auto found = numbers_.find(Name(writer, episode));
  return found == numbers_.end() ? nullptr : &held_[found->second - forgotten_];
}

double TrajectoryStore::MaxBytes(size_t capacity) {
  // Every step may be a trajectory of its own: its header, the name, and the vector's spare room.
  constexpr double kEach = 2 * sizeof(RecordedStep) + sizeof(RecordedTrajectory) + 64;
  return static_cast<double>(capacity) * kEach;
}

}  // namespace bilevel
