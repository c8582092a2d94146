// The same problem seen by its shares: every softmax group replaced by the shares p = softmax(x) themselves, which move
// on a simplex.
//
// In x a group flattens as its shares approach 0 and 1, which traps descent; in p nothing does. A descent in p, mapped
// back by x = log p, often leads on where one in x stands still.

#ifndef BILEVEL_CORE_SOLVERS_SHARES_CHART_H_
#define BILEVEL_CORE_SOLVERS_SHARES_CHART_H_

#include <optional>

#include "core/problem/bilevel_problem.h"

namespace bilevel {

class SharesChart {
 public:
  // Nothing where there is no softmax group, or where x itself matters beside theta: penalties, a feasible set,
  // quadratic rewards.
  static std::optional<SharesChart> Create(const BilevelProblem& problem);

  const BilevelProblem& problem() const { return problem_; }

  Vector ToShares(const Vector& x) const;
  // Shares below 1e-9 count as that.
  Vector FromShares(const Vector& p) const;

 private:
  SharesChart(BilevelProblem problem, std::vector<ParameterGroup> groups)
      : problem_(std::move(problem)), groups_(std::move(groups)) {}

  BilevelProblem problem_;              // over shares
  std::vector<ParameterGroup> groups_;  // of the original
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_SOLVERS_SHARES_CHART_H_
