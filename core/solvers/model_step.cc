#include "core/solvers/model_step.h"

#include <algorithm>

namespace bilevel {

Vector MinimizeModel(const LimitedMemory& model, const FeasibleSet& set, double l1, const Vector& x,
                     const Vector& gradient, const Interrupt& interrupt, const ModelStepOptions& options) {
  Vector z = x, slope = gradient;  // slope: g + B d
  double alpha = model.scale(), enough = 0;
  for (int step = 0; step < options.max_steps; ++step) {
    if (step > 0 && interrupt.Check().has_value()) break;
    const Vector e = set.Prox(z - slope / alpha, l1 / alpha) - z;
    const double length = alpha * e.norm();
    if (step == 0) enough = options.tolerance * length;
    if (length <= enough) break;
    const Vector bent = model.Multiply(e);
    const double curvature = e.dot(bent);
    if (!(curvature > 0)) break;  // rounding
    const double beta = std::min(1.0, alpha * e.squaredNorm() / curvature);
    z += beta * e;
    slope += beta * bent;
    alpha = curvature / e.squaredNorm();
  }
  return z - x;
}

}  // namespace bilevel
