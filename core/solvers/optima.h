// The distinct local optima that a search has met, and how often it met each.

#ifndef BILEVEL_CORE_SOLVERS_OPTIMA_H_
#define BILEVEL_CORE_SOLVERS_OPTIMA_H_

#include <vector>

#include "core/problem/bilevel_problem.h"

namespace bilevel {

struct LocalOptimum {
  Vector x;
  double objective = 0;
  double gradient_norm = 0;  // of the projected gradient map
  int hits = 1;              // local searches that ended here: the size of its basin as this search saw it
};

class Optima {
 public:
  static constexpr int kMaxEntries = 256;

  // How many are kept for n parameters: kMaxEntries, or fewer so that they hold at most 4e6 numbers, but at least 8.
  static int Capacity(int num_parameters);

  // problem must outlive this.
  explicit Optima(const BilevelProblem& problem)
      : problem_(problem), capacity_(static_cast<size_t>(Capacity(problem.num_parameters))) {}

  // Two ends are one optimum when their objectives differ by at most `tolerance` and their theta by at most a twentieth
  // of the larger one; the better x stays. Beyond the capacity the worst is forgotten. Cost: O(entries n).
  void Add(LocalOptimum end, double tolerance);

  // Best first.
  const std::vector<LocalOptimum>& entries() const { return entries_; }

 private:
  const BilevelProblem& problem_;
  size_t capacity_;
  std::vector<LocalOptimum> entries_;
  std::vector<Vector> theta_;
  double largest_theta_ = 0;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_SOLVERS_OPTIMA_H_
