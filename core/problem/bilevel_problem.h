// The whole problem as the solvers see it:
//
//   phi(x) = aggregate over contexts of weight_c f_c(x, pi*_c(x))  +- penalties(x),   x in a feasible set
//
// Values are those of the objective as the user wrote it; `sense` says which way is better.

#ifndef BILEVEL_CORE_PROBLEM_BILEVEL_PROBLEM_H_
#define BILEVEL_CORE_PROBLEM_BILEVEL_PROBLEM_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/mdp/regularized_mdp.h"
#include "core/problem/feasible_set.h"
#include "core/problem/parameter_map.h"
#include "core/problem/parametric_dynamics.h"
#include "core/problem/parametric_reward.h"
#include "core/problem/terms/objective_term.h"

namespace bilevel {

enum class Sense { kUnspecified, kMinimize, kMaximize };
enum class Aggregation { kWeightedSum, kWorstCase };

// Under the worst case, what takes the place of the worst context alone where contexts tie; solvers make it. With
// v_c = sign weight_c f_c and multipliers lambda_c >= 0 that sum to one, gradients are those of sum_c lambda_c
// weight_c f_c. A width mu > 0 makes the objective smooth, too, and at most the worst:
//
//   sign mu log sum_c lambda_c exp(v_c / mu),   its gradient weights being p_c ~ lambda_c exp(v_c / mu)
struct WorstCaseBlend {
  std::vector<double> multipliers;  // one for each context
  double width = 0;
};

// One follower and what the leader thinks of its answer.
struct Context {
  std::shared_ptr<const TabularMdp> mdp;
  double discount = 0;     // gamma in [0, 1), gamma * mdp->max_row_sum() < 1
  double temperature = 1;  // tau in [1e-12, 1e12]
  ParametricReward reward;
  std::vector<ObjectiveTerm> objective;
  double weight = 1;  // >= 0, not normalised
  std::string label;
  std::optional<ParametricDynamics> dynamics;  // of mdp; unset: it does not depend on x
};

// Costs on x: squared_l2/2 |x|_2^2 + l1 |x|_1, both weights >= 0.
struct Penalties {
  double squared_l2 = 0;
  double l1 = 0;
};

struct BilevelProblem {
  int num_parameters = 0;
  ParameterMap map;
  std::vector<Context> contexts;
  Penalties penalties;
  FeasibleSet feasible_set;
  Sense sense = Sense::kUnspecified;
  Aggregation aggregation = Aggregation::kWeightedSum;
  std::optional<WorstCaseBlend> blend;  // of the worst case alone

  // +1 when minimising, -1 when maximising: sign * objective is to become small.
  double sign() const { return sense == Sense::kMaximize ? -1 : 1; }

  // Whether a reward, a follower's or the leader's, has a quadratic form, so that x enters beside theta.
  bool HasQuadraticReward() const;

  // Penalties as they enter the objective as written.
  double PenaltyValue(const Vector& x) const;

  // Under the worst case, the share of each context in the gradient: 1 for the worst context (the first on a tie) and 0
  // for the others, or as the blend says. objectives: f_c.
  std::vector<double> Multipliers(const std::vector<double>& objectives) const;

  // With what weight each context's f_c enters phi's gradient: its own weight, under the worst case times its
  // multiplier.
  std::vector<double> ActiveWeights(const std::vector<double>& objectives) const;

  // phi(x) from f_c, penalties included.
  double Aggregate(const std::vector<double>& objectives, const Vector& x) const;

  // d phi / dx from the sum over contexts; the l1 penalty is left to the proximal map.
  Vector AssembleGradient(const ParameterGradient& gradient, const Vector& x) const;

  // |x - prox(x - sign * gradient)|_2.
  double ProjectedGradientNorm(const Vector& x, const Vector& gradient) const;
};

// Field errors "discount", "temperature", "weight" of one context.
absl::Status CheckContext(const Context& context);

// Whether phi can be evaluated: a sense, and an objective term in every context of positive weight.
absl::Status CheckObjective(const BilevelProblem& problem);

}  // namespace bilevel

#endif  // BILEVEL_CORE_PROBLEM_BILEVEL_PROBLEM_H_
