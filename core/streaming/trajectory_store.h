// The latest trajectories of a session, step by step, for estimators and for preferences.
//
// Bounded by steps: beyond the capacity the trajectory that began first is forgotten whole, and what is still to come
// of it with it. Trajectories are named writer/episode; where an episode's number is used again, the name is the later
// one's.
//
// Walks from a step of a trajectory are part of it, and no trajectories of their own.

#ifndef BILEVEL_CORE_STREAMING_TRAJECTORY_STORE_H_
#define BILEVEL_CORE_STREAMING_TRAJECTORY_STORE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "core/streaming/transition.h"

namespace bilevel {

struct RecordedStep {
  int64_t row;                      // s*A + a
  double leader_reward;             // Transition::kNone: not sampled
  double behavior_log_probability;  // Transition::kNone: the follower itself acted
  uint32_t parameters_version;
};

struct RecordedWalk {
  WalkKind kind = WalkKind::kNone;
  StepKind end = StepKind::kRunning;  // how its last step ended
  bool stopped = false;               // by its coin
  std::vector<RecordedStep> steps;

  bool complete() const { return stopped || end == StepKind::kTerminated; }
};

struct RecordedTrajectory {
  size_t writer = 0;
  uint64_t episode = 0;
  int32_t context = 0;
  std::vector<RecordedStep> steps;
  StepKind end = StepKind::kRunning;  // how its last step ended
  int32_t last_state = 0;             // that the last step led to; unless terminated
  std::vector<RecordedWalk> walks;    // one of each kind at most
};

class TrajectoryStore {
 public:
  // capacity: steps held, those of walks included, >= 0.
  explicit TrajectoryStore(size_t capacity) : capacity_(capacity) {}

  // The next step of its episode or walk. Cost: O(1) amortised.
  void Add(size_t writer, const Transition& transition, const RecordedStep& step);

  // Trajectories that ever began; of those to come the first has this number.
  uint64_t begun() const { return forgotten_ + held_.size(); }

  // Forgets the context's trajectories of lower numbers. Numbers of others that stay may grow, to `number` at most.
  // Cost: O(held).
  void Forget(int32_t context, uint64_t number);

  // Null when it is not held.
  const RecordedTrajectory* Find(size_t writer, uint64_t episode) const;

  // In the order in which they began.
  const std::deque<RecordedTrajectory>& held() const { return held_; }
  size_t capacity() const { return capacity_; }
  size_t steps() const { return steps_; }

  // Bytes that it may come to hold.
  static double MaxBytes(size_t capacity);

 private:
  using Name = std::pair<size_t, uint64_t>;

  static bool AddToWalk(const Transition& transition, const RecordedStep& step, RecordedTrajectory& trajectory);
  void ForgetOldest();

  size_t capacity_;
  size_t steps_ = 0;
  uint64_t forgotten_ = 0;  // trajectory i of all is held_[i - forgotten_]
  std::deque<RecordedTrajectory> held_;
  absl::flat_hash_map<Name, uint64_t> numbers_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_TRAJECTORY_STORE_H_
