// Projected descent along estimates of the hyper-gradient: the outer loops of SoBiRL and Stoc-SoBiRL.
//
//   SoBiRL        h_k = g_k                                                     an estimate at x_k
//   Stoc-SoBiRL   h_k = g_k + (1 - eta_k) (h_{k-1} - g'_k)                      g'_k: of g_k's samples, at x_{k-1}
//   both          x_{k+1} = Project(x_k - beta_k h_k),                          minimising; ascent when maximising
//
// Who makes the estimates is the caller's business: this says where, and takes them.
//
// Steps unless they are given (ours): with m_j = |projected gradient map of g_j|, M_k^2 the largest so far of the means
// (m_1^2 + .. + m_j^2) / j, and S_k = max(1, sum_{j <= k} m_j^2 / M_k^2),
//
//   beta_k = min(first_step / (M_k S_k^p), first_step / |h_k|),   eta_{k+1} = S_k^(-2/3)
//   p = 1/2 for SoBiRL, 1/3 for Stoc-SoBiRL;   |h_k|: of its projected gradient map
//
// Where noise dominates S_k grows like k, so that beta_k ~ k^-1/2 and, as published for Stoc-SoBiRL, beta_k ~ k^-1/3
// and eta_k ~ k^-2/3; without noise S_k stays bounded and so do the steps. No step is longer than first_step, whatever
// the scale of the objective. A single m_j for M_k would do without noise; estimates from trajectories have rare large
// ones, which would hold S_k down and eta_k up for ever, while they move a mean by 1/j of their square. Ward, Wu,
// Bottou (2019), "AdaGrad stepsizes", and Cutkosky, Orabona (2019), "Momentum-based variance reduction", have the two
// powers; M_k, which makes them free of scale, is ours.
//
// Yang, Gao, Yuan (2025), arXiv:2405.19697: the first line and the rates of the second, whose form is ours.

#ifndef BILEVEL_CORE_SOLVERS_STOCHASTIC_DESCENT_H_
#define BILEVEL_CORE_SOLVERS_STOCHASTIC_DESCENT_H_

#include <algorithm>
#include <cstdint>
#include <optional>

#include "core/base/interrupt.h"
#include "core/base/step_schedule.h"
#include "core/problem/bilevel_problem.h"

namespace bilevel {

struct StochasticDescentOptions {
  bool momentum = false;                  // Stoc-SoBiRL
  double first_step = 0.5;                // the longest step, in units of x, > 0
  std::optional<StepSchedule> steps;      // beta_k = At(k - 1), first in (0, 1e12], in place of those above
  std::optional<StepSchedule> averaging;  // eta_k = At(k - 1), first in (0, 1]; of momentum alone
  // Stops when |projected gradient map of h_k| + confidence |its standard error| <= gradient_tolerance; >= 0. Of chance
  // alone: a biased estimator's zero is not the truth's.
  double gradient_tolerance = 1e-3;
  double confidence = 1.96;    // > 0
  int64_t max_steps = 10'000;  // >= 1

  // A field error names the option out of range.
  absl::Status Validate() const;
};

// An estimate of the hyper-gradient at x_k.
struct GradientSample {
  double objective = 0;  // as written, penalties included
  double objective_standard_error = 0;
  Vector gradient;        // g_k [n], the l1 penalty left out
  Vector standard_error;  // [n]; empty: not known, and never converged
  // With momentum from the second on: g'_k [n], and the standard error of g_k - kept_share() g'_k [n]. Empty where it
  // could not be had: eta_k = 1.
  Vector previous;
  Vector innovation_standard_error;
};

// What became of an estimate.
struct DescentStep {
  int64_t number = 0;    // k
  Vector x;              // x_k
  Vector direction;      // h_k
  double step_size = 0;  // beta_k
  double averaging = 1;  // eta_k
  double objective = 0;  // as estimated
  double objective_standard_error = 0;
  double gradient_norm = 0;        // of the projected gradient map of h_k
  double gradient_norm_error = 0;  // |standard error of h_k|_2; infinite where not known
};

class StochasticDescent {
 public:
  // problem must outlive this. start: projected.
  StochasticDescent(const BilevelProblem& problem, const Vector& start, const StochasticDescentOptions& options);

  // Where the next estimate is wanted, x_k.
  const Vector& x() const { return x_; }
  // What the next estimate's pair counts, 1 - eta_k; 0: no pair is needed.
  double kept_share() const;
  // Where its pair is wanted, x_{k-1}; x_1 at first.
  const Vector& previous_x() const { return previous_x_; }

  // Takes the estimate and moves x. Numbers must be finite.
  const DescentStep& Take(const GradientSample& sample);

  // x was moved by somebody else: averages and the best so far are forgotten. Steps are as short as they were; given
  // ones begin again.
  void Restart(const Vector& x);

  int64_t steps() const { return steps_; }  // estimates taken
  const std::optional<DescentStep>& last() const { return last_; }
  // The one with the best objective + confidence * its standard error (-, where maximising), of the later steps: at
  // least the later half, at most the later three quarters. Estimates of earlier ones rest on less data, or older.
  const std::optional<DescentStep>& best() const;
  // Why there is no next one: CONVERGED, ITERATION_LIMIT, DIVERGED.
  const std::optional<Termination>& termination() const { return termination_; }
  bool stopped() const { return termination_.has_value(); }

 private:
  double Averaging() const;                 // eta of the next
  double StepSize(const Vector& gradient);  // beta of the one under way
  // Of the gradient map, at a step that would be first_step without constraints: it falls with the step that it is
  // taken at, so that steps of first_step over its norm are no longer than first_step.
  double MapNorm(const Vector& gradient) const;
  bool IsBetter(const DescentStep& step, const std::optional<DescentStep>& than) const;
  double SquareSum() const { return std::max(1.0, squares_ / (largest_ * largest_)); }  // S
  Vector StepFrom(const Vector& x, double step, const Vector& direction) const;

  const BilevelProblem* problem_;
  StochasticDescentOptions options_;
  Vector x_, previous_x_, direction_, variance_;  // variance of h_{k-1}
  int64_t steps_ = 0;
  double largest_ = 0, squares_ = 0;  // M, sum m^2
  int64_t norms_ = 0;                 // of which there are this many
  std::optional<DescentStep> last_;
  // Of the steps since the last number that is a power of 2, and of those from the power of 2 before until there.
  std::optional<DescentStep> best_, earlier_best_;
  std::optional<Termination> termination_;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_SOLVERS_STOCHASTIC_DESCENT_H_
