// What a fixed policy brings, without entropy: its value for a cost, and where it goes.
//
//   V_c = (I - gamma P^pi)^{-1} sum_a pi c,   Q_c = c + gamma P V_c
//   d   = (I - gamma P^pi)^{-T} rho,          expected discounted visits; sum_s d(s) = 1 / (1 - gamma) when rows sum to
//   one
//
// Bounds are to the same quantities of the exact soft-optimal policy, which pi is known to be near; rounding included.

#ifndef BILEVEL_CORE_MDP_POLICY_EVALUATION_H_
#define BILEVEL_CORE_MDP_POLICY_EVALUATION_H_

#include <span>

#include "core/base/interrupt.h"
#include "core/mdp/follower_error.h"
#include "core/mdp/majorant.h"
#include "core/mdp/policy_system.h"

namespace bilevel {

// A policy, and how precisely its linear systems are solved: residuals of at most this share of the right-hand side, in
// the norms of PolicySystem.
struct PolicyInput {
  const TabularMdp& mdp;
  const Vector& pi;      // [S*A]
  PolicySystem& system;  // holds pi
  double tolerance;
  const Interrupt& interrupt;
};

struct PolicyValue {
  Vector value;      // V_c [S]
  Vector advantage;  // Q_c - V_c [S*A]
  Vector residual;   // sum_a pi advantage [S], 0 but for the solve
};

struct Occupancy {
  Vector states;    // d [S]
  Vector visits;    // d(s) pi(a|s) [S*A]
  Vector residual;  // rho - (I - gamma P^pi)^T d [S]
};

// c: [S*A]. near: at a nearby policy, where the solve starts; may be null. Cost: one linear solve.
PolicyValue EvaluatePolicy(const PolicyInput& input, double gamma, const Vector& c, const PolicyValue* near);

// rho: [S].
Occupancy EvaluateOccupancy(const PolicyInput& input, double gamma, const Vector& rho, const Occupancy* near);

struct PolicyValueRadius {
  Vector value;      // [S]
  Vector advantage;  // [S*A]
};

// c_radius: how far c is from the exact c, [S*A]. majorant: for gamma. Cost: one linear solve to a few digits.
PolicyValueRadius BoundPolicyValue(const PolicyInput& input, double gamma, const Vector& c, const Vector& c_radius,
                                   const PolicyValue& value, const FollowerError& error, Majorant& majorant);

// d' is in d +- (states + rest), and visits likewise, where rest >= 0 sums to at most `mass`; 0 if the majorant solves.
struct OccupancyRadius {
  Vector states;  // [S]
  Vector visits;  // [S*A]
  double mass = 0;
};
OccupancyRadius BoundOccupancy(const PolicyInput& input, double gamma, const Vector& rho, const Occupancy& occupancy,
                               const FollowerError& error, Majorant& majorant);

// How pi, P and gamma move in one direction, to first order.
struct PolicyDirection {
  const Vector& pi;                     // [S*A]
  std::span<const double> transitions;  // of each stored P(s2|s,a); empty: 0
  double discount = 0;
};

// How the answers above move along, c moving by c_tangent and rho by rho_tangent (empty: 0). Cost: one linear solve
// each.
struct PolicyValueTangent {
  Vector value;      // [S]
  Vector advantage;  // [S*A]
};
PolicyValueTangent DifferentiatePolicyValue(const PolicyInput& input, double gamma, const PolicyValue& value,
                                            const PolicyDirection& direction, const Vector& c_tangent);

struct OccupancyTangent {
  Vector states;  // [S]
  Vector visits;  // [S*A]
};
OccupancyTangent DifferentiateOccupancy(const PolicyInput& input, double gamma, const Occupancy& occupancy,
                                        const PolicyDirection& direction, const Vector& rho_tangent);

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_POLICY_EVALUATION_H_
