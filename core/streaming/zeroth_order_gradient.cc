#include "core/streaming/zeroth_order_gradient.h"

#include "core/base/field_error.h"
#include "core/base/rng.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"

namespace bilevel {
namespace {

Vector DrawDirection(Eigen::Index n, Rng& rng) {
  Vector u(n);
  do {
    for (double& entry : u) entry = rng.Normal();
  } while (u.norm() == 0);
  return u.normalized();
}

// phi without its l1 penalty, until a limit.
class SmoothObjective {
 public:
  SmoothObjective(const BilevelProblem& problem, const LowerLevelOptions& options, const Interrupt& interrupt)
      : problem_(problem), evaluator_(problem, options), interrupt_(interrupt) {}

  absl::StatusOr<double> At(const Vector& x) {
    ASSIGN_OR_RETURN(const auto found, evaluator_.EvaluateObjective(x, interrupt_));
    termination_ = Worse(termination_, found.termination);
    return found.value - Rough(x);
  }
  // The difference quotient along u.
  absl::StatusOr<double> Slope(const Vector& x, const Vector& u, double h) {
    ASSIGN_OR_RETURN(const double ahead, At(x + h * u));
    ASSIGN_OR_RETURN(const double behind, At(x - h * u));
    return (ahead - behind) / (2 * h);
  }

  double Rough(const Vector& x) const { return problem_.sign() * problem_.penalties.l1 * x.lpNorm<1>(); }
  bool stopped() const { return termination_.reason != StopReason::kConverged; }
  const Termination& termination() const { return termination_; }

 private:
  const BilevelProblem& problem_;
  HypergradientEvaluator evaluator_;
  const Interrupt& interrupt_;
  Termination termination_;
};

}  // namespace

absl::Status ZerothOrderOptions::Validate() const {
  if (!(radius > 0 && radius <= 1e6)) {
    return FieldError("radius", absl::StrCat("is ", ToText(radius), "; must be in (0, 1e6]"));
  }
  if (directions < 2 || directions > 10'000) {
    return FieldError("directions", absl::StrCat("is ", directions, "; must be in [2, 10000]"));
  }
  return absl::OkStatus();
}

absl::StatusOr<ZerothOrderGradient> EstimateZerothOrder(const BilevelProblem& problem, const Vector& x,
                                                        const ZerothOrderOptions& options, const Interrupt& interrupt) {
  RETURN_IF_ERROR(options.Validate());
  const Eigen::Index n = x.size();
  SmoothObjective phi(problem, options.lower_level, interrupt);
  ZerothOrderGradient result{.gradient = Vector::Zero(n), .bias = Vector::Zero(n)};
  ASSIGN_OR_RETURN(result.objective, phi.At(x));
  result.objective += phi.Rough(x);
  Vector squares = Vector::Zero(n);
  Rng rng(options.seed);
  const double h = options.radius;
  for (int j = 0; j < options.directions && n > 0; ++j) {
    const Vector u = DrawDirection(n, rng);
    ASSIGN_OR_RETURN(const double slope, phi.Slope(x, u, h));
    ASSIGN_OR_RETURN(const double nearer, phi.Slope(x, u, h / 2));
    if (phi.stopped()) break;
    const Vector g = static_cast<double>(n) * slope * u;
    ++result.directions;
    result.gradient += g;
    squares += g.cwiseAbs2();
    result.bias += 4.0 / 3 * static_cast<double>(n) * (slope - nearer) * u;
  }
  result.termination = phi.termination();
  const double k = result.directions;
  if (k > 0) {
    result.gradient /= k;
    result.bias /= k;
  }
  if (k >= 2) result.standard_error = ((squares / k - result.gradient.cwiseAbs2()) / (k - 1)).cwiseMax(0).cwiseSqrt();
  return result;
}

}  // namespace bilevel
