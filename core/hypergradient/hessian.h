// Second derivatives of phi: exact products of its Hessian with vectors, by differentiating the hyper-gradient once
// more along a direction (ours: forward over reverse; formulas in context_gradient.h).
//
//   H v = sum_c weight_c d/de grad f_c(x + e v) + penalties
//
// Under worst-case aggregation it is the Hessian of the context that is the worst at x, or with multipliers that of
// their sum; where a blend has a width, its derivative is that of a direction in x alone. The L1 penalty has none.

#ifndef BILEVEL_CORE_HYPERGRADIENT_HESSIAN_H_
#define BILEVEL_CORE_HYPERGRADIENT_HESSIAN_H_

#include <memory>
#include <vector>

#include "core/hypergradient/context_gradient.h"
#include "core/hypergradient/hypergradient.h"

namespace bilevel {

// Where x, theta beside x (through the scales of parameter groups), discounts and temperatures go.
struct Direction {
  Vector x;                         // [n]
  Vector theta;                     // [n]; empty: 0
  std::vector<double> discount;     // one for each context; empty: 0
  std::vector<double> temperature;  // one for each context; empty: 0
};

class Hessian {
 public:
  // At x, where the followers are solved and differentiated once, starting from `start`. problem and options must
  // outlive this. INVALID_ARGUMENT: see SolveLowerLevel. Interrupted or diverged: termination() says so, and products
  // are of no use.
  static absl::StatusOr<std::unique_ptr<Hessian>> Create(const BilevelProblem& problem,
                                                         const LowerLevelOptions& options, const Vector& x,
                                                         const WarmStart& start, const Interrupt& interrupt);

  // H v, [n]. Cost: for each context two linear solves, and two more for each term that has an occupancy.
  Vector Multiply(const Vector& v, const Interrupt& interrupt) { return Differentiate({v, {}, {}, {}}, interrupt); }

  // How the gradient of phi moves along a direction, [n].
  Vector Differentiate(const Direction& direction, const Interrupt& interrupt);

  const Vector& x() const { return x_; }
  const Termination& termination() const { return termination_; }
  int products() const { return products_; }

  // d phi / d theta, direct parts and all contexts together, [n].
  const Vector& theta_gradient() const { return theta_gradient_; }

  // The gradient of one context's f_c or of one of its terms alone, weights left out, [n].
  Vector ContextGradientOf(size_t context) const;
  Vector TermGradient(size_t context, size_t term, const Interrupt& interrupt) const;

  // f_c and its gradient with all that came with it, in one context.
  struct ContextState {
    std::unique_ptr<World> world;
    RegularizedMdp follower;
    LowerLevelSolution solution;
    ContextGradient gradient;
  };
  const std::vector<ContextState>& contexts() const { return contexts_; }
  // With what weight each context counts.
  const std::vector<double>& weights() const { return weights_; }

 private:
  Hessian(const BilevelProblem& problem, const LowerLevelOptions& options, const Vector& x)
      : problem_(problem), options_(options), x_(x), theta_(problem.map.Apply(x)) {}

  ContextRequest RequestOf(size_t context, const Interrupt& interrupt) const;
  void AddBlendTangent(const Vector& x_tangent, Vector& gradient_tangent) const;

  const BilevelProblem& problem_;
  LowerLevelOptions options_;
  Vector x_, theta_, theta_gradient_;
  std::vector<ContextState> contexts_;
  std::vector<double> weights_;
  Termination termination_;
  int products_ = 0;
};

}  // namespace bilevel

#endif  // BILEVEL_CORE_HYPERGRADIENT_HESSIAN_H_
