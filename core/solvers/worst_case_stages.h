// Descent under the worst case: a sequence of smooth problems (ours; exponential multiplier method, Kort and Bertsekas
// 1972, "A new penalty function method for constrained minimization").
//
// The worst of v_c = sign weight_c f_c has a kink wherever contexts tie, its optimum among them, and the gradient of
// one context leads nowhere from there. Stage k minimises instead
//
//   mu log sum_c lambda_c exp(v_c / mu),   and hands its gradient weights on as the next lambda.
//
// At a fixed point lambda_c = 0 wherever v_c is below the worst: with sum_c lambda_c grad v_c = 0 these are the
// conditions of a minimum of the worst case, and lambda its multipliers. mu falls by a tenth where
// a stage does not close the gap sum_c lambda_c (worst - v_c) to a quarter: what the exponential leaves the multipliers
// do, and the stages stay as well-conditioned as they can.

#ifndef BILEVEL_CORE_SOLVERS_WORST_CASE_STAGES_H_
#define BILEVEL_CORE_SOLVERS_WORST_CASE_STAGES_H_

#include <vector>

#include "core/problem/bilevel_problem.h"

namespace bilevel {

class WorstCaseStages {
 public:
  // Whether the worst case is taken over two or more contexts that count.
  static bool Apply(const BilevelProblem& problem);

  // Holds a copy of the problem.
  explicit WorstCaseStages(const BilevelProblem& problem);

  // The problem of the current stage; until Begin the worst case itself.
  const BilevelProblem& problem() const { return problem_; }

  // Sizes the first stage. objectives: f_c at the start; gradient_norm: there, of the worst case.
  void Begin(const std::vector<double>& objectives, double gradient_norm);

  // What the gradient norm of this stage should fall to.
  double GradientTolerance(double wanted) const;

  // Whether a point that meets GradientTolerance(wanted) ends the last stage: it meets `wanted`, and its multipliers
  // fit.
  bool Last(const std::vector<double>& objectives, double wanted) const;

  // On to the next stage, from a point that meets GradientTolerance or cannot be improved. False when there is none.
  bool Advance(const std::vector<double>& objectives);

  // Counts Advance.
  int stage() const { return stage_; }
  // Whether mu falls no further.
  bool narrowest() const;

  // From now on the worst case itself, with gradients by these multipliers.
  void Fix(const std::vector<double>& multipliers);

  // Gaps of this share of 1 + |worst| count as rounding.
  static constexpr double kGap = 1e-9;

 private:
  BilevelProblem problem_;
  double scale_ = 0;  // the size of v
  double gap_ = 0;    // where the last stage ended
  double first_gradient_ = 0;
  int stage_ = 0;
};

// Whether contexts that have a share in the gradient are the worst, all of them: sum_c lambda_c (worst - v_c) is
// rounding. True of every point without multipliers.
bool MultipliersFit(const BilevelProblem& problem, const std::vector<double>& multipliers,
                    const std::vector<double>& objectives);

// The worst case itself, with gradients by these multipliers, of which very small ones are 0; the problem as it is when
// there are none.
BilevelProblem WithMultipliers(BilevelProblem problem, const std::vector<double>& multipliers);

}  // namespace bilevel

#endif  // BILEVEL_CORE_SOLVERS_WORST_CASE_STAGES_H_
