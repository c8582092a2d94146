// Moves of a basin-hopping search: large, structured changes of x from which a local search starts again.
//
// Gaussian noise alone seldom leaves the plateaus of saturated softmax groups; moves that set a few coordinates anew
// do.

#ifndef BILEVEL_CORE_SOLVERS_KICK_H_
#define BILEVEL_CORE_SOLVERS_KICK_H_

#include <array>
#include <vector>

#include "core/base/rng.h"
#include "core/solvers/search_space.h"

namespace bilevel {

enum class Kick {
  kRaise,   // a few coordinates to an end of their segment's range
  kClip,    // coordinates that have gone far come back
  kRevive,  // some coordinates anew, within the range
  kReset,   // some coordinates anew, around the mean
  kHeat,    // noise; the local search begins at a higher temperature (entropy continuation)
  kFresh,   // a random start
  kCross,   // some coordinates from another solution
};
inline constexpr std::array kAllKicks = {Kick::kRaise, Kick::kClip,  Kick::kRevive, Kick::kReset,
                                         Kick::kHeat,  Kick::kFresh, Kick::kCross};

// A random start: origin + spread * N(0, I) in the units of the space, log10 spread ~ U(-2, 0.5).
Vector DrawStart(const SearchSpace& space, const Vector& origin, Rng& rng);

// x after the kick. origin: for kFresh. others: for kCross, which is a kRaise when there are none. Feasible.
Vector ApplyKick(Kick kick, const SearchSpace& space, const Vector& x, const Vector& origin,
                 const std::vector<Vector>& others, Rng& rng);

}  // namespace bilevel

#endif  // BILEVEL_CORE_SOLVERS_KICK_H_
