// Small convex quadratic programmes, solved by looking at every set of active constraints: slow, and independent of
// everything else.

#ifndef BILEVEL_TESTS_SUPPORT_REFERENCE_PROGRAM_H_
#define BILEVEL_TESTS_SUPPORT_REFERENCE_PROGRAM_H_

#include <optional>

#include "core/problem/feasible_set.h"

namespace bilevel::testing {

// rows u <= bounds; the first `equalities` of them hold as equations.
struct Polyhedron {
  Eigen::MatrixXd rows;  // [m, n]
  Vector bounds;         // [m]
  Eigen::Index equalities = 0;
};

// Of a block that is a polyhedron with finite bounds; a ball has none.
Polyhedron PolyhedronOf(const FeasibleBlock& block);

// argmin over the polyhedron of 1/2 u^T hessian u - linear^T u + weight |u|_1, hessian positive definite; nothing when
// the polyhedron is empty. Cost: 2^n orthants when weight > 0, times all choices of at most n of the rows.
std::optional<Vector> MinimizeQuadratic(const Eigen::MatrixXd& hessian, const Vector& linear, double weight,
                                        const Polyhedron& polyhedron);

}  // namespace bilevel::testing

#endif  // BILEVEL_TESTS_SUPPORT_REFERENCE_PROGRAM_H_
