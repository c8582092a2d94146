// Where the leader may choose x: a product of simple sets over runs of consecutive parameters, and its projections.

#ifndef BILEVEL_CORE_PROBLEM_FEASIBLE_SET_H_
#define BILEVEL_CORE_PROBLEM_FEASIBLE_SET_H_

#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "core/mdp/tabular_mdp.h"

namespace bilevel {

struct Unconstrained {};

// lower <= x <= upper; infinities allowed.
struct Box {
  Vector lower;
  Vector upper;
};

// x >= 0, sum x = total > 0.
struct Simplex {
  double total = 1;
};

struct FeasibleBlock {
  int size = 0;  // >= 1
  std::variant<Unconstrained, Box, Simplex> set;
};

class FeasibleSet {
 public:
  // Sizes must sum to num_parameters; no blocks mean unconstrained. Field errors: "[1].box.lower", ...
  static absl::StatusOr<FeasibleSet> Create(int num_parameters, std::vector<FeasibleBlock> blocks);

  bool unconstrained() const;

  // The nearest feasible point in |.|_2. Cost: O(n log n).
  Vector Project(const Vector& x) const { return Prox(x, 0); }

  // argmin over feasible u of 1/2 |u - x|_2^2 + weight |u|_1, weight >= 0. On a simplex |u|_1 is constant.
  Vector Prox(const Vector& x, double weight) const;

 private:
  FeasibleSet() = default;
  std::vector<FeasibleBlock> blocks_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_FEASIBLE_SET_H_
