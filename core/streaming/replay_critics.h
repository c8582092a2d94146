// Critics of follower and leader in tables, from a replay ring of transitions, no model kept. A sweep over transitions
// moves every row (s,a) that they have towards the mean of its targets:
//
//   q(s,a) <- q(s,a) + alpha ( mean_i [ f(s,a) + gamma v(s2_i) ] - q(s,a) )
//
//   Q        f = r,        v = tau log sum_b exp(Q(.,b) / tau)      soft Q, hence pi = softmax(Q / tau)
//   grad Q   f = grad r,   v = sum_b pi(b|.) grad Q(.,b)            successor features of r              (math.md (11))
//   Q_u      f = c,        v = sum_b pi(b|.) Q_u(.,b)               the leader's value of pi, no entropy
//
// v is that before the sweep, and 0 where the environment ended the episode. All are off-policy: whoever acted, targets
// are the follower's own. r, grad r and c are known at each x, so the only thing learned is what the world does. A row
// without transitions keeps its value, 0 at first.
//
// By default Q and Q_u are swept over everything that is held with alpha = 1: their fixed points are the values of the
// ring's frequencies, and no other noise is left. Samples and a smaller alpha take less time and leave some noise,
// which at small tau is that of another policy. grad Q, a hundred times wider, is always swept over a sample.
//
// Lin (1992), "Self-improving reactive agents based on reinforcement learning, planning and teaching"; Ernst, Geurts,
// Wehenkel (2005), "Tree-based batch mode reinforcement learning", of which these are the tables; Barreto et al.
// (2017), arXiv:1606.05312.

#ifndef BILEVEL_CORE_STREAMING_REPLAY_CRITICS_H_
#define BILEVEL_CORE_STREAMING_REPLAY_CRITICS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "core/base/interrupt.h"
#include "core/hypergradient/value_gradient.h"
#include "core/streaming/replay.h"

namespace bilevel {

struct ReplayedStep {
  int32_t row;   // s*A + a
  int32_t next;  // Simulator::kEnded: the environment ended the episode
};

// Numbers of each row, learned as above.
class TableCritic {
 public:
  TableCritic(Eigen::Index num_rows, Eigen::Index dimension)
      : values_(RowMatrix::Zero(num_rows, dimension)), means_(values_), visits_(num_rows) {}

  // f: [S*A, d]; next_values: v [S, d]; alpha in (0, 1]. Cost: O((steps + S*A) d).
  void Sweep(std::span<const ReplayedStep> steps, const RowMatrix& f, const RowMatrix& next_values, double discount,
             double alpha);

  const RowMatrix& values() const { return values_; }  // q [S*A, d]

 private:
  RowMatrix values_, means_;
  std::vector<int64_t> visits_;  // in the sweep under way
};

struct ReplayCriticsOptions {
  int sweeps = 5;                    // of Q and Q_u, each time; >= 1
  int64_t value_sample = 0;          // transitions of such a sweep, drawn anew for each; >= 0, 0: all that are held
  double value_step = 1;             // its alpha, in (0, 1]
  int64_t gradient_sample = 20'000;  // of the one sweep of grad Q; >= 0, 0: it is not learned
  double gradient_step = 0.5;        // its alpha, in (0, 1]
};

// A follower and its leader; references are copied.
struct ReplayedFollower {
  const TabularMdp& mdp;  // sizes and available actions are all that is asked of it
  double discount;        // gamma
  double leader_discount;
  const SparseRows& gradient_features;  // ParametricReward::GradientFeatures()
};

class ReplayCritics {
 public:
  ReplayCritics(const ReplayedFollower& follower, const ReplayCriticsOptions& options);

  // r, c [S*A] and tau at another x. What was learned stays, as a start.
  void MoveTo(const Vector& reward, const Vector& leader_reward, double temperature);

  // Interrupted: between sweeps.
  void Learn(const Replay<ReplayedStep>& seen, Rng& rng, const Interrupt& interrupt);

  const Vector& pi() const { return pi_; }  // [S*A]
  RowMatrix Score() const;                  // grad Q - grad V [S*A, d], of mean 0 under pi
  Vector LeaderValue() const;               // V_u [S]
  Vector LeaderAdvantage() const;           // Q_u - V_u [S*A]

 private:
  // Until the next one. With replacement.
  std::span<const ReplayedStep> Draw(const Replay<ReplayedStep>& seen, int64_t count, Rng& rng);
  void UpdatePolicy();                            // pi_, soft_value_
  RowMatrix Expect(const TableCritic& of) const;  // sum_b pi(b|s) q(s,b) [S, d]
  RowMatrix Center(const TableCritic& of) const;  // q - that; 0 where unavailable

  int num_actions_;
  std::vector<uint8_t> available_;  // [S*A]
  double discount_, leader_discount_, temperature_ = 1;
  ReplayCriticsOptions options_;
  RowMatrix reward_, leader_reward_, features_;  // f of each
  TableCritic q_, leader_, gradient_;
  Vector pi_;
  RowMatrix soft_value_;  // [S, 1]
  std::vector<ReplayedStep> sample_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_REPLAY_CRITICS_H_
