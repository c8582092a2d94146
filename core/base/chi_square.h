// The tail of the chi-square law:
//
//   P(X > x) = Q(k/2, x/2),   Q(a, y) = Gamma(a, y) / Gamma(a)
//
// by the series of 1 - Q below y = a + 1 and by Legendre's continued fraction above, with k degrees of freedom.
// Relative error about 1e-12 up to k = 1000, 1e-9 at 10^6; 0 where it underflows. Cost: O(sqrt(k)).
//
// Press, Teukolsky, Vetterling, Flannery (2007), "Numerical Recipes", section 6.2.

#ifndef BILEVEL_CORE_BASE_CHI_SQUARE_H_
#define BILEVEL_CORE_BASE_CHI_SQUARE_H_

#include <cstdint>

namespace bilevel {

// x >= 0, degrees >= 1.
double ChiSquareTail(double x, int64_t degrees);

}  // namespace bilevel

#endif  // BILEVEL_CORE_BASE_CHI_SQUARE_H_
