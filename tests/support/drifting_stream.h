// What a follower does in a world, step by step, where either may change under way.

#ifndef BILEVEL_TESTS_SUPPORT_DRIFTING_STREAM_H_
#define BILEVEL_TESTS_SUPPORT_DRIFTING_STREAM_H_

#include <utility>

#include "core/base/rng.h"
#include "core/streaming/simulator.h"
#include "core/streaming/transition.h"

namespace bilevel::testing {

// Every action slips with this probability: what happens is what a uniformly drawn action would do. All actions must be
// available.
TabularMdpSpec WithSlip(const TabularMdpSpec& mdp, double slip);

class DriftingStream {
 public:
  // pi: [S*A].
  DriftingStream(const TabularMdp& mdp, Vector pi, uint64_t seed);

  void SetWorld(const TabularMdp& mdp) { simulator_ = Simulator(mdp); }
  void SetPolicy(Vector pi) { pi_ = std::move(pi); }

  // Episodes are cut with probability 1/20 a step.
  Transition Next();

 private:
  int num_actions_;
  Simulator simulator_;
  Vector pi_;
  Rng rng_;
  int state_ = Simulator::kEnded;
  uint64_t episode_ = 0;
};

}  // namespace bilevel::testing

#endif  // BILEVEL_TESTS_SUPPORT_DRIFTING_STREAM_H_
