// A row of transition probabilities in single precision, within its final storage.

#ifndef BILEVEL_CORE_MDP_FLOAT_ROW_H_
#define BILEVEL_CORE_MDP_FLOAT_ROW_H_

#include <cstdint>

namespace bilevel {

struct FloatRow {
  float* first = nullptr;
  uint64_t stride = 1;
  uint64_t count = 0;

  float& operator[](uint64_t k) const { return first[k * stride]; }
};

// Scales entries >= 0 to the sum `total` in [0, 1], rounded so that in double precision they add up to it: what
// rounding takes from one goes to others, at most 2^-18 of each. Where `total` is no sum of floats, or all other
// entries are too small to take what the largest leaves, the sum stays below it, by at most 2^-24. Returns the sum. All
// 0 stays so. Cost: O(count) for each binary order among the entries.
double Renormalize(const FloatRow& row, double total);

}  // namespace bilevel

#endif  // BILEVEL_CORE_MDP_FLOAT_ROW_H_
