// Of double precision.

#ifndef BILEVEL_CORE_BASE_FLOATING_POINT_H_
#define BILEVEL_CORE_BASE_FLOATING_POINT_H_

#include <limits>

namespace bilevel {

// The largest relative error of one rounded operation.
inline constexpr double kUnitRoundoff = 0x1p-53;
inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace bilevel

#endif  // BILEVEL_CORE_BASE_FLOATING_POINT_H_
