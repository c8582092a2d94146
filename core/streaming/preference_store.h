// What somebody thinks of pairs of fragments: taken exactly once, in order, and kept.

#ifndef BILEVEL_CORE_STREAMING_PREFERENCE_STORE_H_
#define BILEVEL_CORE_STREAMING_PREFERENCE_STORE_H_

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "core/streaming/trajectory_store.h"
#include "core/streaming/writer_queue.h"

namespace bilevel {

// A stretch of a trajectory.
struct Fragment {
  int32_t context = 0;
  std::vector<int64_t> rows;  // s*A + a of each step
  // Of its actions by whoever chose them, Transition::kNone: the follower itself. Empty: the follower itself chose all,
  // or nobody said who did.
  std::vector<double> behavior_log_probabilities;
  // Of the x at which the follower itself chose. 0: nobody said, or it never did.
  static constexpr uint32_t kSeveralVersions = std::numeric_limits<uint32_t>::max();
  uint32_t parameters_version = 0;
};

struct Preference {
  Fragment first, second;
  double first_preferred = 1;  // probability, in [0, 1]
  uint32_t era = 0;            // SessionData::eras of its context when it was given
};

// A fragment as it is named: by a recorded trajectory, or by its own steps.
struct FragmentSource {
  struct Range {
    size_t writer = 0;
    uint64_t episode = 0;
    int64_t first_step = 0;
    int64_t count = 0;
  };
  std::optional<Range> range;
  int32_t context = 0;  // of the steps
  std::vector<int32_t> states, actions;
};

struct PreferenceSource {
  FragmentSource first, second;
  double first_preferred = 1;
};

class PreferenceStore {
 public:
  // capacity: steps of all fragments.
  explicit PreferenceStore(size_t capacity) : capacity_(capacity) {}

  // Preferences first, first + 1, ... . Errors take nothing: INVALID_ARGUMENT (a field error
  // "[i].first.steps.state[2]") for one that breaks a rule; FAILED_PRECONDITION for a gap, or for a trajectory that is
  // not held; RESOURCE_EXHAUSTED beyond the capacity.
  // eras: of contexts, SessionData's; empty: 0.
  absl::Status Offer(uint64_t first, std::span<const PreferenceSource> preferences, const TrajectoryStore& trajectories,
                     const TransitionRules& rules, std::span<const uint32_t> eras = {});

  uint64_t accepted() const { return held_.size(); }
  size_t steps() const { return steps_; }
  const std::vector<Preference>& held() const { return held_; }

  // Bytes that it may come to hold.
  static double MaxBytes(size_t capacity) { return static_cast<double>(capacity) * (4 * sizeof(double) + 224); }

 private:
  size_t capacity_, steps_ = 0;
  std::vector<Preference> held_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_PREFERENCE_STORE_H_
