#include "core/streaming/trajectory_store.h"

#include <algorithm>

namespace bilevel {

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
  steps_ -= oldest.steps.size();
  for (const RecordedWalk& walk : oldest.walks) steps_ -= walk.steps.size();
  held_.pop_front();
  ++forgotten_;
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
