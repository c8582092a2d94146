// How well the follower's reward explains which of two fragments somebody preferred, and its gradient (math.md (13), 6)
//
//   phi(x) = E_{d1, d2 ~ pi*(x)} E_y l,   l = -y log p - (1 - y) log(1 - p),   p = sigmoid(D),
//   D = sum_h r(s_h^1, a_h^1; x) - sum_h r(s_h^2, a_h^2; x), undiscounted;   y: probability that d1 is preferred
//
//   grad phi = E[ grad_x l ]                                                                exploitation
//            + (1/tau) E[ (v - b) sum_i sum_h (grad Q - grad V)(s_h^i, a_h^i) ]             exploration
//
// where arms differ in v and in nothing else:
//
//   kFit         v = 0: the reward is fitted to the pairs as they are (Bradley, Terry 1952), who made them left aside
//   kPublished   v = l: the gradient of phi
//   kExcessRisk  v = l - H(p) = (p - y) D, H the entropy of a label drawn from p (ours)
//
// **The published objective is not consistent.** At the true reward E[l] is the entropy of the labels; exploitation
// vanishes, but what is left of phi moves the follower to pairs whose labels are easy to predict, away from the true
// reward. The excess over the entropy that the reward itself predicts has mean 0 there, pair by pair, and so has the
// whole of kExcessRisk. It is not the gradient of any objective, though, and the true reward need not attract: there
//
//   d kExcessRisk / dx = E[ p (1-p) grad D grad D^T ] + (1/tau) E[ p (1-p) D S grad D^T ],   S: the sum of scores
//
// and the second part has either sign. kFit has the first alone: it is the one to learn rewards with, which
// tests/benchmarks/rlhf.cc bears out.
//
// b is the mean of v over the other pairs: scores have mean 0 under pi*, so that it costs no bias. Pairs weigh
// exp(log_weight), normalised by their sum, which is biased by O(1 / effective sample size).
//
// Yang, Gao, Yuan (2025), arXiv:2405.19697; b and kExcessRisk are ours.

#ifndef BILEVEL_CORE_STREAMING_PREFERENCE_GRADIENT_H_
#define BILEVEL_CORE_STREAMING_PREFERENCE_GRADIENT_H_

#include <span>

#include "core/base/interrupt.h"
#include "core/hypergradient/value_gradient.h"
#include "core/problem/parameter_map.h"
#include "core/streaming/preference_store.h"

namespace bilevel {

enum class PreferenceArm { kFit, kPublished, kExcessRisk };

// What is known at x of the context that the fragments are of. References must outlive the call.
struct PreferenceModel {
  const ParameterMap& map;
  const Vector& x;                   // [n]
  const ParametricReward& reward;    // the follower's, r
  double temperature;                // tau
  const RowMatrix* score = nullptr;  // grad Q - grad V [S*A, d]; not looked at for kFit
  bool baseline = true;              // subtract b
};

struct WeighedPreference {
  const Preference* preference;
  double log_weight = 0;  // log of pi*(x)'s probability of both fragments' actions over that of who acted; < infinity
};

// Means over pairs. Standard errors hold for independent pairs, to first order in 1/sqrt(effective_sample_size)
// (infinite where that is 1), and for scores as they are.
struct PreferenceGradient {
  double objective = 0;  // the mean of l
  double objective_standard_error = 0;
  Vector exploitation;                 // [n]
  Vector exploration;                  // [n]; of kFit 0
  Vector exploitation_standard_error;  // [n]
  Vector exploration_standard_error;   // [n]
  Vector standard_error;               // of their sum [n]
  double effective_sample_size = 0;    // (sum w)^2 / sum w^2
  int64_t pairs = 0;                   // used
  int64_t left_out = 0;                // of weight 0
  int64_t steps = 0;                   // of the fragments used

  Vector mean() const { return exploitation + exploration; }
};

// FAILED_PRECONDITION without a pair to use and, but for kFit, with less than two or an effective sample size below
// 1.5. Cost: O(steps d + pairs n). Interrupted: of no use.
absl::StatusOr<PreferenceGradient> EstimateFromPreferences(const PreferenceModel& model,
                                                           std::span<const WeighedPreference> pairs, PreferenceArm arm,
                                                           const Interrupt& interrupt);

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_PREFERENCE_GRADIENT_H_
