// The soft Bellman operator T and what it yields at one V:
//
//   Q = r + gamma P V,   (T V)(s) = tau log sum_a exp(Q(s,a)/tau),   pi(a|s) = exp((Q(s,a) - (T V)(s))/tau)
//
// (math.md (1)-(3)).
// T is monotone, convex and contracts by gamma in |.|_inf. pi is normalised by its own row sum, so its rows sum to one
// whatever V is; log pi stays finite where pi underflows.

#ifndef BILEVEL_CORE_MDP_SOFT_BELLMAN_H_
#define BILEVEL_CORE_MDP_SOFT_BELLMAN_H_

#include "core/mdp/regularized_mdp.h"
#include "core/mdp/row_kernels.h"

namespace bilevel {

struct SoftBackup {
  Vector value;   // T V [S]
  Vector pi;      // [S*A]; 0 where unavailable
  Vector log_pi;  // [S*A]; 0 where unavailable
};

// A follower's answer: V, and T at V. References must outlive it.
struct Answer {
  const Vector& value;
  const SoftBackup& backup;
};

// One sweep. Cost: O(entries + S*A).
SoftBackup ApplySoftBellman(const RegularizedMdp& follower, const Vector& v);

// T V alone, into `backup` (another vector than v), and the range of T V - V.
StepRange SoftValueBackup(const RegularizedMdp& follower, const Vector& v, Vector& backup);

// Q = T V + tau log pi of this backup, [S*A]; 0 where unavailable.
Vector ActionValues(const TabularMdp& mdp, double temperature, const SoftBackup& backup);

// Proven bounds on the rounding errors of ApplySoftBellman at v (to first order in the unit roundoff, with a safety
// factor above the omitted terms), including follower.reward_rounding.
struct SoftBackupRounding {
  Vector q;      // [S*A]
  Vector value;  // [S]
};
SoftBackupRounding BoundSoftBellmanRounding(const RegularizedMdp& follower, const Vector& v, const SoftBackup& backup);

// sum_a pi log pi, [S], minus the entropy; an action that is unavailable or underflows adds 0.
Vector NegativeEntropy(const TabularMdp& mdp, const SoftBackup& backup);

// sum_a weight(s,a) over available actions: [S*A] -> [S].
Vector SumOverActions(const TabularMdp& mdp, const Vector& weight);

// v repeated for each action: [S] -> [S*A].
Vector RepeatForActions(const TabularMdp& mdp, const Vector& v);

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_SOFT_BELLMAN_H_
