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

// x >= 0, sum x = total, finite and > 0.
struct Simplex {
  double total = 1;
};

// |x - center|_2 <= radius, finite, radius > 0.
struct Ball {
  Vector center;
  double radius = 1;
};

// x >= 0, sum x <= total, total finite and > 0.
struct Budget {
  double total = 1;
};

struct FeasibleBlock {
  int size = 0;  // >= 1
  std::variant<Unconstrained, Box, Simplex, Ball, Budget> set;
};

class FeasibleSet {
 public:
  // Sizes must sum to num_parameters; no blocks mean unconstrained. Field errors: "[1].box.lower", ...
  static absl::StatusOr<FeasibleSet> Create(int num_parameters, std::vector<FeasibleBlock> blocks);

  bool unconstrained() const;

  // One after the other over the parameters; empty when unconstrained from the start.
  const std::vector<FeasibleBlock>& blocks() const { return blocks_; }

  // The nearest feasible point in |.|_2, exact up to rounding. Cost: O(n log n).
  Vector Project(const Vector& x) const { return Prox(x, 0); }

  // argmin over feasible u of 1/2 |u - x|_2^2 + weight |u|_1, weight >= 0, exact up to rounding. Cost: O(n log n).
  Vector Prox(const Vector& x, double weight) const;

 private:
  FeasibleSet() = default;
  std::vector<FeasibleBlock> blocks_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_FEASIBLE_SET_H_
