// Draws beyond Rng's own, portable like them.

#ifndef BILEVEL_CORE_STREAMING_RANDOM_DRAWS_H_
#define BILEVEL_CORE_STREAMING_RANDOM_DRAWS_H_

#include "core/base/rng.h"

namespace bilevel {

// Gamma of scale one, shape > 0. Marsaglia and Tsang (2000), "A simple method for generating gamma variables".
double DrawGamma(Rng& rng, double shape);

}  // namespace bilevel

#endif  // BILEVEL_CORE_STREAMING_RANDOM_DRAWS_H_
