// How far a computed V and its policy are from the exact soft-optimal ones, entry by entry, proven.
//
// With r = T V - V, e the Newton step (I - gamma P^pi) e ~ r and U = V + e, choose eta >= 0 with
// (I - gamma (1 + kappa) P^pi) eta >= |T U - U| + rounding. T is monotone and convex, so U - eta is a lower and U + eta
// an upper solution as long as the policies between them stay below (1 + kappa) pi, and V* lies between them. Nothing
// is assumed of the accuracy of e.  Derivation: core/README.md.

#ifndef BILEVEL_CORE_MDP_FOLLOWER_ERROR_H_
#define BILEVEL_CORE_MDP_FOLLOWER_ERROR_H_

#include <limits>

#include "core/base/interrupt.h"
#include "core/mdp/lower_level.h"
#include "core/mdp/majorant.h"
#include "core/mdp/policy_system.h"

namespace bilevel {

struct FollowerError {
  // V* is in V + value_shift +- value_radius, [S]; an empty shift means 0.
  Vector value_shift;
  Vector value_radius;
  // |log pi* - log pi| and |pi* - pi|, [S*A]; 0 where unavailable.
  Vector log_pi_radius;
  Vector pi_radius;
  // pi* <= (1 + kappa) pi; may be infinite.
  double kappa = 0;

  // |V* - V|, [S].
  Vector ValueBound() const {
    return value_shift.size() == 0 ? value_radius : Vector(value_shift.cwiseAbs() + value_radius);
  }
};

// The largest entries of ValueBound() and log_pi_radius.
struct LargestError {
  double value = std::numeric_limits<double>::infinity();
  double log_policy = std::numeric_limits<double>::infinity();
};
LargestError LargestOf(const FollowerError& error);

// The answer one Newton step further, U = V + value_shift, with its own error: second order in that of V, or rounding.
struct RefinedFollower {
  Vector value;       // U [S]
  SoftBackup backup;  // T at U
  FollowerError error;
};

// `system` must hold solution.backup.pi. effort: with kNorms e is found to three digits and eta is the same everywhere,
// if that is small beside e. Cost: two linear solves to a few digits (with kNorms mostly one) and five sweeps; when
// interrupted only the sweeps.
FollowerError BoundFollowerError(const RegularizedMdp& follower, const LowerLevelSolution& solution,
                                 PolicySystem& system, const Interrupt& interrupt,
                                 Majorant::Effort effort = Majorant::Effort::kSolves);

// From value_shift and value_radius of the solution's error. Cost: three sweeps.
RefinedFollower RefineFollower(const RegularizedMdp& follower, const LowerLevelSolution& solution,
                               const FollowerError& error);

// How far y - pi sum_a y moves, y = pi o g, while pi and g move by at most their radii; all [S*A]. Roundings left out.
Vector CenteredRadius(const TabularMdp& mdp, const Vector& pi, const Vector& pi_radius, const Vector& g,
                      const Vector& g_radius);

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_FOLLOWER_ERROR_H_
