#include "core/hypergradient/finite_difference.h"

#include <algorithm>
#include <limits>

#include "core/base/field_error.h"
#include "core/base/rng.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"

namespace bilevel {
namespace {

Vector DrawDirection(int index, Eigen::Index n, bool coordinates, Rng& rng) {
  if (coordinates) return Vector::Unit(n, index);
  Vector d(n);
  do {
    for (double& entry : d) entry = rng.Normal();
  } while (n > 0 && d.norm() == 0);
  return d.normalized();
}

}  // namespace

absl::Status FiniteDifferenceOptions::Validate() const {
  if (!(step >= 1e-8 && step <= 1)) {
    return FieldError("step", absl::StrCat("is ", ToText(step), "; must be in [1e-8, 1]"));
  }
  if (directions < 0 || directions > 10'000) {
    return FieldError("directions", absl::StrCat("is ", directions, "; must be in [0, 10000]"));
  }
  return absl::OkStatus();
}

absl::StatusOr<GradientCheck> CheckGradient(const BilevelProblem& problem, const Vector& x,
                                            const LowerLevelOptions& lower_level,
                                            const FiniteDifferenceOptions& options, const Interrupt& interrupt) {
  RETURN_IF_ERROR(options.Validate());
  HypergradientEvaluator evaluator(problem, lower_level);
  GradientCheck check;
  ASSIGN_OR_RETURN(check.point, evaluator.EvaluateCertified(x, interrupt));
  check.termination = check.point.termination;

  const bool coordinates = options.directions == 0;
  const Eigen::Index count = coordinates ? x.size() : options.directions;
  // Differences of the smooth part: the gradient has no L1 penalty in it, which has no derivative at 0.
  auto smooth = [&problem](double objective, const Vector& at) {
    return objective - problem.sign() * problem.penalties.l1 * at.lpNorm<1>();
  };
  check.analytic.resize(count);
  check.numeric.resize(count);
  Rng rng(options.seed);
  Eigen::Index done = 0;
  for (; done < count; ++done) {
    const Vector d = DrawDirection(static_cast<int>(done), x.size(), coordinates, rng);
    const Vector x_ahead = x + options.step * d, x_behind = x - options.step * d;
    ASSIGN_OR_RETURN(const auto ahead, evaluator.EvaluateObjective(x_ahead, interrupt));
    ASSIGN_OR_RETURN(const auto behind, evaluator.EvaluateObjective(x_behind, interrupt));
    check.termination = Worse(check.termination, Worse(ahead.termination, behind.termination));
    if (interrupt.Check().has_value()) break;
    check.analytic[done] = check.point.gradient.dot(d);
    check.numeric[done] = (smooth(ahead.value, x_ahead) - smooth(behind.value, x_behind)) / (2 * options.step);
  }
  check.analytic.conservativeResize(done);
  check.numeric.conservativeResize(done);
  if (done > 0) {
    const Vector difference = check.analytic - check.numeric;
    check.relative_error_l2 = difference.norm() / std::max(check.numeric.norm(), std::numeric_limits<double>::min());
    Eigen::Index worst = 0;
    difference.cwiseAbs().maxCoeff(&worst);
    check.worst_index = static_cast<int>(worst);
  }
  return check;
}

}  // namespace bilevel
