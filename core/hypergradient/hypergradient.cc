#include "core/hypergradient/hypergradient.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <optional>
#include <utility>

#include "core/base/floating_point.h"
#include "core/base/status_macros.h"
#include "core/hypergradient/context_gradient.h"
#include "core/problem/for_contexts.h"
#include "core/problem/world.h"

namespace bilevel {
namespace {

// Bounds that are so many times adjoint_tolerance, or this, beside the gradient and the objective need not be smaller.
constexpr double kToleranceTimes = 1e4, kSmall = 1e-4;
// Below this share norms hardly ever do, nor later where they once missed by so many times.
constexpr double kSmallForNorms = 1e-6, kHopeless = 30;

// Bound on |gradient - true|_2 from the radii, with the roundings of the last assembly; magnitude: the sum of |values|
// over contexts, which may cancel. Infinite where anything overflowed.
double AssembleBound(const BilevelProblem& problem, const ParameterGradient& radius, const ParameterGradient& magnitude,
                     const Vector& x) {
  const double steps = static_cast<double>(x.size()) + static_cast<double>(problem.contexts.size()) + 16;
  const Vector theta = radius.theta + steps * kUnitRoundoff * magnitude.theta;
  if (!theta.allFinite()) return kInfinity;
  const Vector bound = problem.map.PullbackRadius(x, theta) + radius.x +
                       problem.map.BoundPullbackRounding(x, magnitude.theta + theta) +
                       steps * kUnitRoundoff * (magnitude.x + problem.penalties.squared_l2 * x.cwiseAbs());
  return bound.allFinite() ? bound.stableNorm() * (1 + 1e-10) : kInfinity;
}

// Bound on the error of the aggregated objective; infinite where one overflowed.
double AggregateBound(const BilevelProblem& problem, const std::vector<double>& radii) {
  double bound = 0;
  for (size_t c = 0; c < radii.size(); ++c) {
    if (problem.contexts[c].weight == 0) continue;
    const double radius = problem.contexts[c].weight * radii[c];
    if (!std::isfinite(radius)) return kInfinity;
    bound = problem.aggregation == Aggregation::kWorstCase ? std::max(bound, radius) : bound + radius;
  }
  return bound;
}

// What is left of a point at which a follower's values overflowed: nothing is known of the objective.
HypergradientPoint Diverged(HypergradientPoint point) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  point.objective = point.gradient_norm = kNan;
  point.gradient = Vector::Constant(point.x.size(), kNan);
  point.certificate.backward_error = point.certificate.adjoint_backward_error = kInfinity;
  return point;
}

// Lets go of what a point to start from needs no more, most of it [S*A].
void Trim(ContextGradient& gradient) {
  gradient.adjoint.centered_y = gradient.adjoint.reward_gradient = gradient.adjoint.residual = {};
  TrimTerms(gradient.objective);
}

// How many times the bounds at `further` are what they may be: small, or what it has moved.
double Excess(const ContextRadius& radius, const ContextGradient& gradient, const ContextGradient& further,
              double small) {
  const auto norm = [](const ParameterGradient& g) { return std::hypot(g.theta.norm(), g.x.norm()); };
  const double moved = std::hypot((further.gradient.theta - gradient.gradient.theta).norm(),
                                  (further.gradient.x - gradient.gradient.x).norm());
  const double objective_moved = std::abs(further.objective.value - gradient.objective.value);
  const double gradients = norm(radius.gradient) / std::max(moved, small * norm(further.gradient));
  const double objectives = radius.objective / std::max(objective_moved, small * std::abs(further.objective.value));
  return std::isnan(gradients + objectives) ? kInfinity : std::max(gradients, objectives);
}

}  // namespace

const Termination& Worse(const Termination& a, const Termination& b) {
  auto rank = [](StopReason reason) {
    constexpr StopReason kWorstFirst[] = {StopReason::kDiverged,       StopReason::kCancelled,
                                          StopReason::kTimeLimit,      StopReason::kEvaluationLimit,
                                          StopReason::kIterationLimit, StopReason::kConverged};
    return std::find(std::begin(kWorstFirst), std::end(kWorstFirst), reason) - std::begin(kWorstFirst);
  };
  return rank(b.reason) < rank(a.reason) ? b : a;
}

HypergradientEvaluator::HypergradientEvaluator(const BilevelProblem& problem, const LowerLevelOptions& options,
                                               const WarmStart& start)
    : problem_(problem), options_(options), warm_start_(start) {
  warm_start_.values.resize(problem.contexts.size());
  warm_start_.adjoints.resize(problem.contexts.size());
  norms_hopeless_.resize(problem.contexts.size());
  for (const Context& context : problem.contexts) {
    worlds_.push_back(
        std::make_unique<World>(problem, worlds_.size(), SystemKind(options, *context.mdp), options.parallel_for));
  }
}

HypergradientEvaluator::~HypergradientEvaluator() = default;

bool HypergradientEvaluator::Sharpen() {
  constexpr double kBelowRounding = 1e-300, kSharpest = 1e-15;
  options_.residual_tolerance = kBelowRounding;
  options_.refuse_unreachable = false;
  options_.adjoint_tolerance = kSharpest;
  return !std::exchange(sharp_, true);
}

absl::StatusOr<HypergradientPoint> HypergradientEvaluator::Evaluate(const Vector& x, const Interrupt& interrupt) {
  return Run(x, false, interrupt);
}

absl::StatusOr<HypergradientPoint> HypergradientEvaluator::EvaluateCertified(const Vector& x,
                                                                             const Interrupt& interrupt) {
  return Run(x, true, interrupt);
}

// What one context brings to a point. refined: the gradient one Newton step further; it and the radii only when
// certified.
struct HypergradientEvaluator::Contribution {
  explicit Contribution(int n) : gradient(n), refined(n), radius(n) {}

  bool diverged = false;  // the follower's values overflowed; gradients are as they began
  ContextPoint point;
  Termination termination;
  double objective = std::numeric_limits<double>::quiet_NaN();
  double adjoint_backward_error = 0;
  ParameterGradient gradient, refined, radius;
  double objective_radius = 0;
};

absl::StatusOr<HypergradientEvaluator::Contribution> HypergradientEvaluator::RunContext(size_t c, const Vector& x,
                                                                                        const Mapped& at, bool certify,
                                                                                        const Interrupt& interrupt) {
  Contribution part(problem_.num_parameters);
  const Context& context = problem_.contexts[c];
  PolicySystem& system = worlds_[c]->system();
  const PolicySystem::Counters before = system.counters();
  RegularizedMdp follower = worlds_[c]->At(x, at.theta);
  LowerLevelSolution& solution = part.point.solution;
  ASSIGN_OR_RETURN(solution, SolveLowerLevel(follower, options_, warm_start_.values[c], interrupt, system));
  part.termination = solution.termination;
  if (!std::isfinite(solution.residual)) {
    part.diverged = true;
    return part;
  }
  warm_start_.values[c] = {};  // it has served; the answer takes its place below
  system.SetPolicy(solution.backup.pi, PolicySystem::Change::kSlight);

  const ContextRequest request{context, follower, x, at.theta, worlds_[c]->slope(), options_, interrupt, system};
  ContextGradient gradient = DifferentiateContext(request, {solution.value, solution.backup}, warm_start_.adjoints[c]);
  if (const std::optional<StopReason> reason = interrupt.Check(); reason.has_value()) {
    part.termination = Worse(part.termination, Termination{*reason, "stopped inside an evaluation"});
  }
  part.objective = gradient.objective.value;
  part.adjoint_backward_error = gradient.adjoint.residual_l1;

  if (gradient.adjoint.z.allFinite()) warm_start_.adjoints[c] = {};
  if (certify) {
    Trim(gradient);
    CertifyContext(c, at, request, gradient, follower, part);
  }
  part.gradient = std::move(gradient.gradient);
  warm_start_.values[c] = solution.value;
  if (gradient.adjoint.z.allFinite()) warm_start_.adjoints[c] = gradient.adjoint.z;
  part.point.counters.products = system.counters().products - before.products;
  part.point.counters.factorizations = system.counters().factorizations - before.factorizations;
  return part;
}

// One Newton step further than the answer, where errors are of second order, bounded by norms. Where these are too
// coarse it goes on from there, one step more, and bounds by solves. follower is that of the request; its reward is let
// go as soon as it can be, as is whatever has [S*A] numbers.
void HypergradientEvaluator::CertifyContext(size_t c, const Mapped& at, const ContextRequest& request,
                                            const ContextGradient& gradient, RegularizedMdp& follower,
                                            Contribution& part) {
  PolicySystem& system = request.system;
  const double small = std::min(kSmall, kToleranceTimes * options_.adjoint_tolerance);
  const bool norms = norms_hopeless_[c] == 0 && !sharp_ && small >= kSmallForNorms &&
                     system.kind() == PolicySystem::Kind::kKrylov && !request.context.dynamics.has_value();
  Majorant::Effort effort = norms ? Majorant::Effort::kNorms : Majorant::Effort::kSolves;
  const auto step = [&](const LowerLevelSolution& from, LargestError* largest) {
    FollowerError error = BoundFollowerError(follower, from, system, request.interrupt, effort);
    if (largest != nullptr) *largest = LargestOf(error);
    error.log_pi_radius = error.pi_radius = {};
    return RefineFollower(follower, from, error);
  };
  RefinedFollower next = step(part.point.solution, &part.point.error);
  ContextGradient further;
  ContextRadius radius;
  const auto bound = [&](const ContextGradient& near) {
    follower.reward = follower.reward_rounding = {};
    system.SetPolicy(next.backup.pi, PolicySystem::Change::kSlight);
    const Answer answer{next.value, next.backup};
    further = DifferentiateContext(request, answer, near.adjoint.z, &near.objective);
    radius = BoundContext(request, answer, further, std::move(next.error), at.rounding, effort);
  };
  bound(gradient);
  const double excess = norms ? Excess(radius, gradient, further, small) : 0;
  if (excess > 1 && !request.interrupt.Check().has_value()) {
    if (excess > kHopeless) norms_hopeless_[c] = 1;
    effort = Majorant::Effort::kSolves;
    LowerLevelSolution solution{.value = std::move(next.value), .backup = std::move(next.backup)};
    solution.residual = (solution.backup.value - solution.value).lpNorm<Eigen::Infinity>();
    follower = worlds_[c]->At(request.x, request.theta);
    Trim(further);
    next = step(std::exchange(solution, {}), nullptr);
    bound(std::exchange(further, {}));
  }
  part.radius = std::move(radius.gradient);
  part.objective_radius = std::abs(further.objective.value - gradient.objective.value) + radius.objective;
  part.refined = std::move(further.gradient);
}

absl::StatusOr<HypergradientPoint> HypergradientEvaluator::Run(const Vector& x, bool certify,
                                                               const Interrupt& interrupt) {
  ++evaluations_;
  Mapped at;
  at.theta = problem_.map.Apply(x);
  at.rounding = problem_.map.BoundRounding(x, at.theta);
  std::vector<std::optional<Contribution>> runs(problem_.contexts.size());
  const bool in_order = !ContextsGoTogether(problem_);
  bool hopeless = false;  // a context says that the point will come to nothing
  RETURN_IF_ERROR(ForContexts(problem_, options_.parallel_for, interrupt, [&](size_t c, const Interrupt& its) {
    if (hopeless) return absl::OkStatus();
    absl::StatusOr<Contribution> part = RunContext(c, x, at, certify, its);
    if (!part.ok()) return part.status();
    if (in_order) hopeless = part->diverged && problem_.contexts[c].weight != 0;
    runs[c] = *std::move(part);
    return absl::OkStatus();
  }));
  // What a first point could reach, later ones reach as far as they can.
  if (std::any_of(runs.begin(), runs.end(), [](const auto& part) { return part.has_value() && !part->diverged; })) {
    options_.refuse_unreachable = false;
  }

  HypergradientPoint point;
  point.x = x;
  std::vector<Contribution> parts;
  for (size_t c = 0; c < runs.size(); ++c) {
    Contribution& part = *runs[c];
    point.termination = Worse(point.termination, part.termination);
    point.context_objectives.push_back(part.objective);
    point.contexts.push_back(std::move(part.point));
    Certificate& certificate = point.certificate;
    if (part.diverged) {
      if (problem_.contexts[c].weight != 0) return Diverged(std::move(point));
    } else {
      certificate.backward_error = std::max(certificate.backward_error, point.contexts.back().solution.residual);
      certificate.adjoint_backward_error = std::max(certificate.adjoint_backward_error, part.adjoint_backward_error);
    }
    parts.push_back(std::move(part));
  }
  Combine(parts, certify, interrupt, point);
  if (!std::isfinite(point.objective) || !point.gradient.allFinite()) {
    point.termination = {StopReason::kDiverged, "objective or gradient is not finite at these parameters"};
  }
  return point;
}

void HypergradientEvaluator::Combine(const std::vector<Contribution>& parts, bool certify, const Interrupt& interrupt,
                                     HypergradientPoint& point) const {
  const int n = problem_.num_parameters;
  const Vector& x = point.x;
  const std::vector<double> weights = problem_.ActiveWeights(point.context_objectives);
  if (problem_.aggregation == Aggregation::kWorstCase) {
    point.multipliers = problem_.Multipliers(point.context_objectives);
  }
  ParameterGradient gradient(n), refined(n), radius(n), magnitude(n);
  std::vector<double> objective_radii;
  double objective_magnitude = std::abs(problem_.PenaltyValue(x));
  for (size_t c = 0; c < parts.size(); ++c) {
    objective_radii.push_back(parts[c].objective_radius);
    if (problem_.contexts[c].weight != 0) {
      objective_magnitude += problem_.contexts[c].weight * std::abs(point.context_objectives[c]);
    }
    if (weights[c] == 0) continue;
    gradient.Add(weights[c], parts[c].gradient);
    refined.Add(weights[c], parts[c].refined);
    radius.Add(weights[c], parts[c].radius);
    magnitude.AddMagnitude(weights[c], parts[c].refined);
  }
  point.objective = problem_.Aggregate(point.context_objectives, x);
  point.gradient = problem_.AssembleGradient(gradient, x);
  point.gradient_norm = problem_.ProjectedGradientNorm(x, point.gradient);
  if (!certify) return;
  point.certified = true;
  const double norm = (problem_.AssembleGradient(refined, x) - point.gradient).norm();
  const double distance = std::isnan(norm) ? kInfinity : norm;
  // When interrupted, the further point is not a Newton step further: no estimate, but the bound holds.
  if (!interrupt.Check().has_value()) point.certificate.error_estimate = distance;
  point.certificate.error_bound = distance + AssembleBound(problem_, radius, magnitude, x);
  const double roundings = static_cast<double>(n) + static_cast<double>(parts.size()) + 8;
  point.certificate.objective_error_bound =
      AggregateBound(problem_, objective_radii) + roundings * kUnitRoundoff * objective_magnitude;
}

absl::StatusOr<HypergradientEvaluator::ObjectiveValue> HypergradientEvaluator::EvaluateObjective(
    const Vector& x, const Interrupt& interrupt) {
  ++evaluations_;
  const Vector theta = problem_.map.Apply(x);
  ObjectiveValue result;
  std::vector<double> objectives;
  for (size_t c = 0; c < problem_.contexts.size(); ++c) {
    PolicySystem& system = worlds_[c]->system();
    const RegularizedMdp follower = worlds_[c]->At(x, theta);
    ASSIGN_OR_RETURN(const LowerLevelSolution solution,
                     SolveLowerLevel(follower, options_, warm_start_.values[c], interrupt, system));
    result.termination = Worse(result.termination, solution.termination);
    if (!std::isfinite(solution.residual)) {
      objectives.push_back(std::numeric_limits<double>::quiet_NaN());
      continue;
    }
    warm_start_.values[c] = solution.value;
    system.SetPolicy(solution.backup.pi);
    const ContextRequest request{problem_.contexts[c], follower, x,         theta,
                                 worlds_[c]->slope(),  options_, interrupt, system};
    objectives.push_back(
        EvaluateContextObjective(problem_.contexts[c], InputOf(request, {solution.value, solution.backup})).value);
  }
  result.value = problem_.Aggregate(objectives, x);
  if (const std::optional<StopReason> reason = interrupt.Check(); reason.has_value()) {
    result.termination = Worse(result.termination, Termination{*reason, "stopped inside an evaluation"});
  } else if (!std::isfinite(result.value)) {
    result.termination = {StopReason::kDiverged, "objective is not finite at these parameters"};
  }
  return result;
}

}  // namespace bilevel
