#include "tests/benchmarks/referees/zeroth_order.h"

#include "core/base/rng.h"
#include "core/hypergradient/hypergradient.h"

namespace bilevel::referees {

ZerothOrderGradient EstimateByDifferences(const BilevelProblem& problem, const Vector& x, const Vector& reference,
                                          const ZerothOrderOptions& options) {
  BilevelProblem smooth = problem;
  smooth.penalties.l1 = 0;
  HypergradientEvaluator evaluator(smooth, {});
  const auto phi = [&](const Vector& at) { return evaluator.EvaluateObjective(at, Interrupt()).value().value; };

  Rng rng(options.seed);
  const double h = options.smoothing, k = options.directions;
  ZerothOrderGradient result{Vector::Zero(x.size()), Vector::Zero(x.size()), Vector::Zero(x.size())};
  Vector squares = Vector::Zero(x.size());
  for (int j = 0; j < options.directions; ++j) {
    Vector u(x.size());
    for (double& entry : u) entry = rng.Normal();
    const double slope = (phi(x + h * u) - phi(x - h * u)) / (2 * h);
    result.mean += slope / k * u;
    squares += slope * slope / k * u.cwiseAbs2();
    result.bias += (slope - u.dot(reference)) / k * u;
  }
  result.standard_error = ((squares - result.mean.cwiseAbs2()) / (k - 1)).cwiseMax(0).cwiseSqrt();
  return result;
}

}  // namespace bilevel::referees
