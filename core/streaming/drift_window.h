// One context's transitions since the last alarm, in two samples: the window under way, and what came before it.
//
// Compared are counts of next states given (s,a), termination being one of them, and for OBSERVED followers counts of
// actions given the state at unchanged x, each as homogeneity.h does. Why counts and not Bellman residuals alone: given
// (s,a) a residual is a function of s2, so every change that shows in it shows in the counts, while one that moves P
// among states of equal V, and V itself after it, shows in the counts alone. What a focused residual gains where
// windows are thin, thin rows' shared degree of freedom gains as well. Given (s,a), a mixture of actions that moves as
// the follower learns is no drift.

#ifndef BILEVEL_CORE_STREAMING_DRIFT_WINDOW_H_
#define BILEVEL_CORE_STREAMING_DRIFT_WINDOW_H_

#include <cstdint>
#include <span>
#include <vector>

#include "core/mdp/tabular_mdp.h"
#include "core/streaming/homogeneity.h"

namespace bilevel {

class DriftWindow {
 public:
  struct Step {
    int64_t row;     // s*A + a
    int32_t column;  // s2; S: the episode ended
    bool begins;     // an episode
    bool acted;      // at the x of today
  };

  // max_distinct: (s,a,s2) that are told apart in what came before; once there are so many, those not seen before are
  // one kind of next state for each row, on both sides. policy: whether actions are compared.
  DriftWindow(int num_states, int num_actions, uint64_t max_distinct, bool policy);

  // Cost: O(1).
  void Add(const Step& step) { window_.push_back(step); }

  // x moved: what the follower did so far is compared no more.
  void Move();

  // The newest V [S], in use from the next window on.
  void OfferValue(const Vector& value) { next_value_ = value; }

  struct Comparison {
    Homogeneity::Result transitions;
    Homogeneity::Result policy;
    double residual = 0;  // see Drift
  };
  // Cost: O(w log w) and the next states known of the rows that it visits, w: its length.
  Comparison Compare();

  // After Compare: the next window begins. What the window held joins what came before, or after an alarm takes its
  // place: all of it for `transitions`, what the follower did for either.
  void Close(bool transitions, bool policy);

  // In order.
  std::span<const Step> window() const { return window_; }
  // Adds what the follower did in the window at the x of today to visits [S*A].
  void AddActed(Vector& visits) const;

  // Bytes that it may come to hold; window: DriftOptions::window.
  static double MaxBytes(int num_states, int64_t num_rows, double max_distinct, double window);

 private:
  struct Kind {
    int32_t column;
    double count;
  };
  static constexpr int32_t kOther = -1;

  // The row's steps beside what came before, by column: how they are put together must not tell one side from the
  // other.
  void Pair(std::span<const Step> steps, std::vector<PairedCount>& kinds, std::vector<int32_t>& columns) const;
  void Remember(std::span<const Step> steps);
  Homogeneity::Result ComparePolicy() const;

  int num_states_, num_actions_;
  uint64_t max_distinct_, distinct_ = 0;
  bool policy_;
  std::vector<Step> window_;
  std::vector<Step> sorted_;  // the same by row and column, once it is compared
  size_t acted_from_ = 0;
  std::vector<std::vector<Kind>> before_;  // of each row, by column
  Vector acted_;                           // n(s,a) before [S*A]; empty unless actions are compared
  Vector value_, next_value_;              // [S] or empty
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_DRIFT_WINDOW_H_
