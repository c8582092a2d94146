// What a follower did, step by step, and a way to make it up where the environment is known.

#ifndef BILEVEL_CORE_STREAMING_TRAJECTORY_H_
#define BILEVEL_CORE_STREAMING_TRAJECTORY_H_

#include <cstdint>
#include <vector>

#include "core/streaming/simulator.h"

namespace bilevel {

struct Trajectory {
  std::vector<int64_t> rows;           // s*A + a of each step
  std::vector<double> leader_rewards;  // a sample for each step; empty: the leader's reward is known
  bool terminated = false;             // the environment ended it, not the horizon
  int final_state = -1;                // reached after the last step; -1: terminated, or not known
  double log_weight = 0;               // log of pi's probability of its actions over that of whoever acted
};

// When to stop looking.
struct Horizon {
  enum class Kind {
    kSteps,      // after `steps`: what comes later is missing
    kGeometric,  // with probability 1 - discount after each step: sums are then undiscounted, and miss nothing on
                 // average
  };
  Kind kind = Kind::kGeometric;
  int64_t steps = 1'000'000;  // >= 1; bounds both
};

// A discounted sum of terms of at most `largest` in size that ends after T steps misses at most
// gamma^T largest / (1 - gamma): that bound, and the smallest T >= 1 that keeps it at or below `bias` > 0,
//
//   T = ceil(log(largest / ((1 - gamma) bias)) / log(1 / gamma))
double CutBias(double largest, double discount, int64_t steps);
int64_t StepsForBias(double largest, double discount, double bias);

// One trajectory of pi [S*A] from `start`. discount: of the geometric horizon.
Trajectory Roll(const Simulator& simulator, const Vector& pi, int num_actions, int start, const Horizon& horizon,
                double discount, Rng& rng);

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_TRAJECTORY_H_
