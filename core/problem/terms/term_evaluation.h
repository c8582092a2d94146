// What objective terms are given and what they return.

#ifndef BILEVEL_CORE_PROBLEM_TERMS_TERM_EVALUATION_H_
#define BILEVEL_CORE_PROBLEM_TERMS_TERM_EVALUATION_H_

#include <span>

#include "core/base/interrupt.h"
#include "core/mdp/follower_error.h"
#include "core/mdp/majorant.h"
#include "core/mdp/policy_evaluation.h"
#include "core/mdp/policy_system.h"
#include "core/mdp/soft_bellman.h"
#include "core/problem/parametric_dynamics.h"

namespace bilevel {

// A follower's answer to be measured. References must outlive the call.
struct TermInput {
  const TabularMdp& mdp;     // at x; its initial distribution is the default of terms that have one
  double discount;           // the context's, the default of terms that have one
  const Vector& value;       // V [S]
  const SoftBackup& backup;  // T at V: the policy
  const Vector& x;           // [n]
  const Vector& theta;       // [n]
  PolicySystem& system;      // holds the policy
  // Linear solves stop when their residual (in the norm of PolicySystem) is at most this share of the right-hand
  // side's.
  double tolerance;
  const Interrupt& interrupt;
  bool environment_moves = false;  // whether derivatives in P and rho are wanted

  const Vector& pi() const { return backup.pi; }
  PolicyInput policy() const { return {mdp, backup.pi, system, tolerance, interrupt}; }
};

// What bounds are made from.
struct TermErrorInput {
  const FollowerError& error;    // of V and pi
  const Vector& theta_rounding;  // bound on the rounding errors of theta, [n]
  Majorant& majorant;            // for the follower's discount; must solve where the environment moves
};

// Where f depends on x beside pi, Q and V.
struct DirectDerivative {
  Vector reward;  // df/dc for the term's own ParametricReward c, [S*A]; empty: 0
  EnvironmentDerivative environment;
};

struct TermValue {
  double value = 0;
  Vector y;               // pi o df/dpi [S*A], up to multiples of pi(.|s) in each state, which nothing depends on
  Vector follower_value;  // df/dV [S]; empty: 0
  DirectDerivative direct;
  // Of terms that have them: the leader's cost c, its value, the visits, and what feature matching misses its target
  // by.
  Vector cost;
  PolicyValue policy_value;
  Occupancy occupancy;
  Vector feature_gap;
};

// Bounds on the distances to the same quantities at the exact answer. A mass is the sum of what may come on top of the
// entries, nobody knows where; 0 if the majorant solves.
struct TermRadius {
  double value = 0;
  Vector centered_y;  // of yc = y - pi ybar, [S*A]
  double centered_y_mass = 0;
  DirectDerivative direct;  // of each vector of TermValue.direct that is not empty
  double direct_reward_mass = 0;
};

// How the answer moves with x in one direction, to first order. Vectors that may be empty stand for 0 then.
struct TermTangentInput {
  const Vector& x;                      // [n]
  const Vector& theta;                  // [n]
  const Vector& value;                  // V [S]
  const Vector& pi;                     // [S*A]
  const Vector& log_pi;                 // [S*A]
  std::span<const double> transitions;  // of each stored P(s2|s,a), or empty
  const Vector& initial;                // of the environment's initial distribution [S], or empty
  double discount;                      // of the context's discount
};

// How y, df/dV and the direct derivatives of TermValue move.
struct TermTangent {
  Vector y;
  Vector follower_value;
  DirectDerivative direct;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_TERMS_TERM_EVALUATION_H_
