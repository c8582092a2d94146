// What objective terms are given and what they return.

#ifndef BILEVEL_CORE_PROBLEM_TERM_EVALUATION_H_
#define BILEVEL_CORE_PROBLEM_TERM_EVALUATION_H_

#include "core/base/interrupt.h"
#include "core/mdp/follower_error.h"
#include "core/mdp/majorant.h"
#include "core/mdp/policy_system.h"
#include "core/mdp/regularized_mdp.h"

namespace bilevel {

// A policy to be measured. References must outlive the call.
struct TermInput {
  const TabularMdp& mdp;
  const Vector& pi;      // [S*A]
  const Vector& x;       // [n]
  const Vector& theta;   // [n]
  PolicySystem& system;  // holds pi
  // Linear solves stop when their residual (in the norm of PolicySystem) is at most this share of the right-hand
  // side's.
  double tolerance;
  const Interrupt& interrupt;
};

// What bounds are made from.
struct TermErrorInput {
  const FollowerError& error;    // of pi
  const Vector& theta_rounding;  // bound on the rounding errors of theta, [n]
  Majorant& majorant;            // for the follower's discount
};

// f, y = pi o df/dpi, and what is needed to bound their errors.
struct TermValue {
  double value = 0;
  Vector y;  // [S*A]
  // Direct derivative: df/dx = J_c^T direct_weight for the term's own ParametricReward c; empty where there is none.
  Vector direct_weight;
  // Leader's return: V_c, d, Q_c - V_c and the residuals of the first two. Empty for other terms.
  Vector leader_value, occupancy, leader_advantage, value_residual, occupancy_residual;
};

// Bounds on the distances to the same quantities at pi*.
struct TermRadius {
  double value = 0;
  Vector centered_y;     // of yc = y - pi ybar, [S*A]
  Vector direct_weight;  // [S*A] or empty
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_TERM_EVALUATION_H_
