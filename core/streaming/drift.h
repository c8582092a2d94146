// That a follower or a world drifts while a session learns: what is looked for, and what is told.
//
// The merged transitions are cut into windows of a fixed number. At the end of each the window is compared with what
// came before it since the last alarm (drift_window.h): a p-value p for the transitions of every context and, where the
// follower is OBSERVED, for what it does. With T such tests in the k-th window that can be compared, alarm is given
// where
//
//   p <= alpha_k / T,   alpha_k = 6 alpha / (pi^2 k^2),   sum_k alpha_k = alpha
//
// so that by the union bound a session in which nothing drifts ever gives an alarm with probability alpha at most, as
// far as the p-values hold.
//
// What is seen: changes of P(.|s,a) at (s,a) that the window visits often enough, and of an OBSERVED follower's
// pi(.|s) at unchanged x. A window that the change falls into mixes both sides; it may take the next to notice, and the
// next after an alarm may give one again. What drifts slowly enough drifts into what it is compared with.

#ifndef BILEVEL_CORE_STREAMING_DRIFT_H_
#define BILEVEL_CORE_STREAMING_DRIFT_H_

#include <cstdint>
#include <deque>

#include "absl/status/status.h"

namespace bilevel {

struct DriftOptions {
  // Transitions, in [100, 10,000,000]. Ten to twenty for each (s,a) that is visited tell most; beside its size stands
  // how long a drift may go unnoticed.
  uint64_t window = 10'000;
  double significance = 0.01;  // alpha, in (0, 0.5]
  bool keep = false;           // only tell: nothing is forgotten

  // A field error names the option out of range.
  absl::Status Validate() const;
};

// An alarm.
struct Drift {
  enum class What {
    kTransitions,  // P: the world
    kPolicy,       // pi at unchanged x: an OBSERVED follower
  };
  uint64_t merged = 0;  // the transition that ended the window
  What what = What::kTransitions;
  int32_t context = 0;
  double p_value = 1;
  double level = 0;  // alpha_k / T
  double statistic = 0;
  int64_t degrees = 0;  // of freedom, of the statistic
  // Of kTransitions: how the Bellman residual r + gamma V(s2) - V(s) moved between both sides, row by row, in standard
  // deviations; V: the policy's that was newest as the window began. 0 where there was none. It decides nothing: a
  // change that leaves the mean of V alone does not move it.
  double residual = 0;
};

// The alarms of a session.
struct DriftLog {
  static constexpr size_t kHeld = 16;
  uint64_t total = 0;
  std::deque<Drift> last;  // the last kHeld at most, oldest first

  void Add(const Drift& drift);
};

// alpha_k, k >= 1.
double SpentInWindow(double significance, uint64_t k);

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_DRIFT_H_
