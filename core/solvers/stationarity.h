// What kind of stationary point x is: the curvature of F = sign * objective on its active face (ours).
//
//   Z^T (H + D) Z,   Z: tangent space of the face (active_face.h) without the directions that leave theta and F as they
//                    are, D: curvature of its spheres, H: exact products with phi's Hessian
//
// A constant added to a softmax group leaves theta as it is; it is taken out of the face exactly where it lies in it
// and nothing else sees x: no squared 2-norm, no quadratic form in a reward, no sphere. Other flat directions stay.
//
// Rayleigh-Ritz on a Krylov space with full reorthogonalisation, from a random start, and from a fresh one where the
// space is exhausted: with as many products as the face has dimensions it is a dense eigen-decomposition, `exact`.
// Faces of more than kDenseDimension get kMaxProducts products; the curvatures then are those found within the space,
// which a negative one proves and a positive one does not. Under worst-case aggregation H is that of the sum by
// multipliers, and where contexts tie as the worst, the face keeps to directions along which they stay level.
//
// Parlett (1998), "The Symmetric Eigenvalue Problem", chapters 11 and 13.

#ifndef BILEVEL_CORE_SOLVERS_STATIONARITY_H_
#define BILEVEL_CORE_SOLVERS_STATIONARITY_H_

#include <cstdint>

#include "core/hypergradient/hypergradient.h"

namespace bilevel {

struct Stationarity {
  enum class Kind {
    kUnknown,        // too few products to tell: time ended, or the face is large; or the followers are not solved
    kOptimum,        // of what is minimised: all curvatures > tolerance, or there are none
    kSaddle,         // the smallest curvature < -tolerance
    kFlat,           // |smallest| <= tolerance
    kNotStationary,  // gradient_norm > gradient_tolerance, or multipliers on contexts that are not the worst
  };
  static constexpr int kDenseDimension = 200;
  static constexpr int kMaxProducts = 60;
  // Curvatures below this share of the largest in size count as 0: what exact products leave to rounding, and to the
  // distance to the stationary point.
  static constexpr double kRelativeTolerance = 1e-6;

  Kind kind = Kind::kUnknown;
  double gradient_norm = 0;  // of the projected gradient map
  int face_dimension = 0;    // without the directions taken out
  double smallest = 0;       // curvature found; 0 without products
  double largest = 0;
  double tolerance = 0;
  Vector direction;    // [n], unit, of the smallest curvature; its largest entry is positive. Empty without products
  bool exact = false;  // the whole face was seen
  int products = 0;
};

struct StationarityOptions {
  double gradient_tolerance = 1e-6;
  uint64_t seed = 0;  // of the starts
  LowerLevelOptions lower_level;
};

// point: evaluated at a feasible x, gradient included; `start`: where its followers' solves start. An interruption ends
// it with what was found so far. INVALID_ARGUMENT: see SolveLowerLevel. Cost: the products, and O(n k^2) for k of them.
absl::StatusOr<Stationarity> DescribeStationarity(const BilevelProblem& problem, const HypergradientPoint& point,
                                                  const StationarityOptions& options, const WarmStart& start,
                                                  const Interrupt& interrupt);

}  // namespace bilevel

#endif  // BILEVEL_CORE_SOLVERS_STATIONARITY_H_
