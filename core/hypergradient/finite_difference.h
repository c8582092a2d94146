// The referee: central differences of phi without its L1 penalty, (phi(x + h d) - phi(x - h d)) / (2 h), each lower
// level solved anew.

#ifndef BILEVEL_CORE_HYPERGRADIENT_FINITE_DIFFERENCE_H_
#define BILEVEL_CORE_HYPERGRADIENT_FINITE_DIFFERENCE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "core/hypergradient/hypergradient.h"

namespace bilevel {

struct FiniteDifferenceOptions {
  double step = 1e-4;  // h in [1e-8, 1]
  int directions = 0;  // 0: every coordinate; otherwise so many random unit directions, <= 10,000
  uint64_t seed = 0;   // of the directions

  absl::Status Validate() const;
};

struct GradientCheck {
  HypergradientPoint point;      // certified, at x
  Vector analytic;               // directional derivatives from the hyper-gradient
  Vector numeric;                // the same from differences; shorter when interrupted
  double relative_error_l2 = 0;  // |analytic - numeric|_2 / max(|numeric|_2, smallest normal number)
  int worst_index = 0;           // of the largest absolute difference
  Termination termination;
};

// Cost: one certified evaluation and 2 n (or 2 directions) objectives.
absl::StatusOr<GradientCheck> CheckGradient(const BilevelProblem& problem, const Vector& x,
                                            const LowerLevelOptions& lower_level,
                                            const FiniteDifferenceOptions& options, const Interrupt& interrupt);

}  // namespace bilevel

#endif  // BILEVEL_CORE_HYPERGRADIENT_FINITE_DIFFERENCE_H_
