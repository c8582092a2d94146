#include "core/solvers/truncated_newton.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "core/hypergradient/hessian.h"
#include "core/problem/active_face.h"
#include "core/solvers/conjugate_path.h"
#include "core/solvers/monotone_descent.h"

namespace bilevel {
namespace {

using Outcome = MonotoneDescent::Outcome;

// Of (3), before a gradient step.
constexpr int kMaxRadii = 10;
// Of the longest move that a gradient step may make. On Four-Rooms, mean optimum over 24 starts each from N(0, 0.01^2),
// N(0, 0.3^2) and N(0, 1) at temperature 0.001, beta 1: 0.61, 0.83, 0.90 with 0.3; 1.10, 0.88, 0.92 with 0.6; 0.93 from
// the first with 1. Shorter steps follow the slope from 0 into the poorer basin at 0.587.
constexpr double kTrustedShare = 0.6;
// The trust region grows when a step to its rim brought this share of what q promised, and shrinks below the other.
constexpr double kGood = 0.5, kPoor = 0.2;
// Smaller shares of the objective tell nothing about q.
constexpr double kVisible = 1e-12;
// Of the longest radius.
constexpr double kCollapsed = 1e-9;

class NewtonSteps {
 public:
  NewtonSteps(const TruncatedNewtonOptions& method, const OuterOptions& options, const Interrupt& interrupt,
              MonotoneDescent& descent)
      : problem_(descent.problem()),
        method_(method),
        lower_level_(options.lower_level),
        interrupt_(interrupt),
        descent_(descent) {
    lower_level_.refuse_unreachable = false;  // decided at the start
  }

  absl::StatusOr<Outcome> Step() {
    if (std::exchange(stage_, descent_.stage()) != descent_.stage()) {
      radius_ = gradient_step_ = std::numeric_limits<double>::infinity();
      collapsed_ = false;
    }
    const Vector x = descent_.current().x, gradient = descent_.Gradient();
    ASSIGN_OR_RETURN(const Outcome outcome, Move(x, gradient));
    if (outcome != Outcome::kMoved) return outcome;
    gradient_step_ = descent_.SpectralStep(x, gradient).value_or(gradient_step_);
    return outcome;
  }

  int products() const { return products_; }

  std::vector<std::string> Notes() const {
    std::vector<std::string> notes;
    const auto count = [&](int number, const char* of_what) {
      if (number > 0) notes.push_back(absl::StrCat(Counted(number, "step"), of_what));
    };
    count(curved_down_, " followed a direction along which the objective curves the wrong way");
    count(unsettled_, " followed the gradient, to another face");
    count(failures_, " followed the gradient, since no Newton step lowered the objective");
    return notes;
  }

 private:
  double LongestRadius() const { return kTrustedShare * descent_.LongestMove(); }

  absl::StatusOr<Outcome> Move(const Vector& x, const Vector& gradient) {
    const ActiveFace face(problem_.feasible_set, x, gradient, problem_.penalties.l1);
    if (face.settled()) {
      ASSIGN_OR_RETURN(const Outcome outcome, NewtonStep(x, gradient, face));
      if (outcome != Outcome::kNoDescent || collapsed_) return outcome;
      ++failures_;  // [D3]
    } else {
      ++unsettled_;
    }
    return GradientStep(x, gradient);
  }

  // (1)
  absl::StatusOr<Outcome> GradientStep(const Vector& x, const Vector& gradient) {
    const double l1 = problem_.penalties.l1, longest = descent_.LongestMove() / std::max(gradient.norm(), 1e-300);
    const auto along = [&](double t) {
      const Vector next = problem_.feasible_set.Prox(x - t * gradient, t * l1);
      return MonotoneDescent::Trial{next, MonotoneDescent::kSufficientDecrease * (next - x).squaredNorm() / t};
    };
    return descent_.Search(std::min(gradient_step_, kTrustedShare * longest), along);
  }

  // (2)
  absl::StatusOr<ConjugatePath> SolveModel(const Vector& x, const Vector& slope, const ActiveFace& face,
                                           double radius) {
    ASSIGN_OR_RETURN(const std::unique_ptr<Hessian> hessian,
                     Hessian::Create(problem_, lower_level_, x, descent_.warm_start(), interrupt_));
    const auto multiply = [&](const Vector& p) -> std::optional<Vector> {
      if (interrupt_.Check().has_value() || hessian->termination().reason == StopReason::kDiverged) return std::nullopt;
      ++products_;
      const Vector bent = problem_.sign() * hessian->Multiply(p, interrupt_) + face.curvature().cwiseProduct(p);
      return face.Project(bent);
    };
    return ConjugatePath(
        slope, multiply,
        {.tolerance = std::min(0.5, std::sqrt(slope.norm())), .max_products = method_.max_products, .radius = radius});
  }

  // (3)
  absl::StatusOr<Outcome> NewtonStep(const Vector& x, const Vector& gradient, const ActiveFace& face) {
    const double l1 = problem_.penalties.l1;
    const Vector slope = face.Project(l1 == 0 ? gradient : Vector(gradient + l1 * x.cwiseSign()));
    radius_ = std::min(radius_, LongestRadius());
    ASSIGN_OR_RETURN(const ConjugatePath path, SolveModel(x, slope, face, radius_));
    if (path.length() == 0) return Outcome::kNoDescent;
    const double before = descent_.current().objective, visible = kVisible * (1 + std::abs(before));
    collapsed_ = path.on_rim() && radius_ < kCollapsed * LongestRadius() && -path.At(radius_).value < visible;  // [D4]
    if (collapsed_) return Outcome::kNoDescent;
    // On the face -n + slope is what g and the 1-norm leave to the constraints; weighted so that it does not swamp x.
    const Vector normal = gradient - slope;
    const double weight = 1 / std::max(1.0, normal.norm());
    const Vector stretch = 1 + weight * face.curvature().array(), origin = x - weight * normal;
    double promised = 0, length = 0;
    const auto along = [&](double t) {
      length = t * path.length();
      const ConjugatePath::Point point = path.At(length);
      promised = point.value;
      return MonotoneDescent::Trial{problem_.feasible_set.Prox(origin + stretch.cwiseProduct(point.p), weight * l1),
                                    -MonotoneDescent::kSufficientDecrease * promised};
    };
    ASSIGN_OR_RETURN(const Outcome outcome, descent_.Search(1, along, kMaxRadii));
    if (outcome != Outcome::kMoved) return outcome;
    if (path.met_negative_curvature()) ++curved_down_;
    const double share = problem_.sign() * (descent_.current().objective - before) / promised;
    if (length < path.length() || (share < kPoor && -promised >= visible)) {
      radius_ = length / 2;
    } else if (path.on_rim() && share >= kGood) {
      radius_ *= 3;
    }
    return outcome;
  }

  const BilevelProblem& problem_;
  const TruncatedNewtonOptions& method_;
  LowerLevelOptions lower_level_;
  const Interrupt& interrupt_;
  MonotoneDescent& descent_;
  double radius_ = std::numeric_limits<double>::infinity();
  double gradient_step_ = std::numeric_limits<double>::infinity();
  bool collapsed_ = false;
  int stage_ = 0;
  int products_ = 0;
  int curved_down_ = 0, unsettled_ = 0, failures_ = 0;
};

}  // namespace

absl::Status TruncatedNewtonOptions::Validate() const {
  if (max_products >= 1 && max_products <= kMaxProducts) return absl::OkStatus();
  return FieldError("max_products", absl::StrCat("is ", max_products, "; must be in [1, ", kMaxProducts, "]"));
}

absl::StatusOr<OuterResult> SolveTruncatedNewton(const BilevelProblem& problem, const Vector& start,
                                                 const TruncatedNewtonOptions& method, const OuterOptions& options,
                                                 const Interrupt& interrupt, ProgressReporter& reporter) {
  MonotoneDescent descent(problem, options, interrupt, reporter);
  NewtonSteps stepper(method, options, interrupt, descent);
  ASSIGN_OR_RETURN(OuterResult result, descent.Run(start, [&] { return stepper.Step(); }));
  result.hessian_products = stepper.products();
  result.notes = stepper.Notes();
  return result;
}

}  // namespace bilevel
