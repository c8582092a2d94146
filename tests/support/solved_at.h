// What first-order error bounds are tested with: a lower level as it stands at any V, and entrywise comparison.

#ifndef BILEVEL_TESTS_SUPPORT_SOLVED_AT_H_
#define BILEVEL_TESTS_SUPPORT_SOLVED_AT_H_

#include "core/mdp/lower_level.h"

namespace bilevel::testing {

// V, T V and the residual between them, however large.
inline LowerLevelSolution SolvedAt(const RegularizedMdp& follower, const Vector& v) {
  LowerLevelSolution s;
  s.value = v;
  s.backup = ApplySoftBellman(follower, v);
  s.residual = (s.backup.value - v).lpNorm<Eigen::Infinity>();
  return s;
}

// error <= bound, up to the rounding of a reference in double precision.
inline bool Below(const Vector& error, const Vector& bound) {
  return (error.array() <= bound.array() * (1 + 1e-9) + 1e-9).all();
}

}  // namespace bilevel::testing

#endif  // BILEVEL_TESTS_SUPPORT_SOLVED_AT_H_
