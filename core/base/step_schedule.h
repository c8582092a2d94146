// Step sizes of stochastic approximation: alpha_k = first / (1 + k / scale)^power.
//
// power 0: constant. Q-learning converges for power in (1/2, 1] where every (s,a) is seen for ever; 1 is the harmonic
// schedule, which averages. Even-Dar, Mansour (2003), "Learning rates for Q-learning", recommend below 1.

#ifndef BILEVEL_CORE_BASE_STEP_SCHEDULE_H_
#define BILEVEL_CORE_BASE_STEP_SCHEDULE_H_

#include <cmath>

#include "absl/status/status.h"

namespace bilevel {

struct StepSchedule {
  // What k counts.
  enum class Clock {
    kVisits,   // earlier updates of the same weights; between features, their mean by squared feature
    kUpdates,  // all earlier updates
  };
  double first = 1;    // in (0, 1], unless who uses it says otherwise
  double power = 0.7;  // in [0, 1]
  double scale = 1;    // > 0
  Clock clock = Clock::kVisits;

  double At(double k) const { return first * std::pow(1 + k / scale, -power); }

  // A field error names the number out of range.
  absl::Status Validate(double most_first = 1) const;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_BASE_STEP_SCHEDULE_H_
