// What part of a vector adds to inner products and norms. Parts are added up in their order: the same bits at any
// number of threads.

#ifndef BILEVEL_CORE_MDP_PART_SUMS_H_
#define BILEVEL_CORE_MDP_PART_SUMS_H_

#include <cmath>
#include <cstdint>
#include <vector>

#include "core/base/lanes.h"
#include "core/mdp/policy_matrix.h"

namespace bilevel {

// Inner products of a vector, and its 1-norm or largest size.
struct PartSums {
  double with_other = 0, with_itself = 0, norm = 0;
};

// In the order of the parts. adds: norms add up, rather than the largest being that of all.
inline PartSums TotalOf(const std::vector<PartSums>& parts, bool adds) {
  PartSums total;
  for (const PartSums& part : parts) {
    total.with_other += part.with_other;
    total.with_itself += part.with_itself;
    if (adds) {
      total.norm += part.norm;
    } else if (part.norm > total.norm || std::isnan(part.norm)) {
      total.norm = part.norm;
    }
  }
  return total;
}

// In double precision.
template <typename Real>
double Dot(const Real* x, const Real* y, int64_t n) {
  LanesInTwos sums = {}, left, right;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    ReadLanes(x + i, left);
    ReadLanes(y + i, right);
    sums += left * right;
  }
  double lanes[kLanes], sum = 0;
  WriteLanes(sums, lanes);
  for (const double lane : lanes) sum += lane;
  for (; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(y[i]);
  return sum;
}

// The 1-norm, or else the largest size; NaN where an entry is.
template <typename Real>
double NormOf(bool adds, const Real* x, int64_t n) {
  const Eigen::Map<const VectorOf<Real>> part(x, n);
  return adds ? part.template lpNorm<1>() : part.cwiseAbs().template maxCoeff<Eigen::PropagateNaN>();
}

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_PART_SUMS_H_
