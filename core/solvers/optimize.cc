#include "core/solvers/optimize.h"

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/solvers/worst_case_stages.h"

namespace bilevel {
namespace {

struct Dispatch {
  const BilevelProblem& problem;
  const Vector& x;
  const OuterOptions& options;
  Interrupt interrupt;
  ProgressReporter& reporter;

  absl::StatusOr<OuterResult> operator()(const MSobirlOptions& method) const {
    return SolveMSobirl(problem, x, method, options, interrupt, reporter);
  }
  absl::StatusOr<OuterResult> operator()(const ProjectedGradientOptions& method) const {
    return SolveProjectedGradient(problem, x, method, options, interrupt, reporter);
  }
  absl::StatusOr<OuterResult> operator()(const QuasiNewtonOptions& method) const {
    return SolveQuasiNewton(problem, x, method, options, interrupt, reporter);
  }
  absl::StatusOr<OuterResult> operator()(const PortfolioOptions& method) const {
    return SolvePortfolio(problem, x, method, options, interrupt, reporter);
  }
  absl::StatusOr<OuterResult> operator()(const TruncatedNewtonOptions& method) const {
    return SolveTruncatedNewton(problem, x, method, options, interrupt, reporter);
  }
};

// One evaluation is all that is allowed.
absl::StatusOr<OuterResult> CertifyStart(const BilevelProblem& problem, const Vector& x, const OuterOptions& options,
                                         const Interrupt& interrupt) {
  HypergradientEvaluator evaluator(problem, options.lower_level, options.warm_start);
  OuterResult result;
  ASSIGN_OR_RETURN(result.best, evaluator.EvaluateCertified(problem.feasible_set.Project(x), interrupt));
  result.termination = ConvergedAfterAll(
      problem, result.best, options, {StopReason::kEvaluationLimit, "the start was evaluated; raise max_evaluations"});
  result.evaluations = evaluator.evaluations();
  if (options.record_history) {
    result.history = {
        {0, result.evaluations, result.best.objective, result.best.gradient_norm, result.best.certificate.error_bound}};
  }
  result.warm_start = evaluator.warm_start();
  return result;
}

absl::Status Describe(const BilevelProblem& problem, const OuterOptions& options, const Interrupt& interrupt,
                      OuterResult& result) {
  if (options.describe_stationarity) {
    ASSIGN_OR_RETURN(result.stationarity, DescribeStationarity(problem, result.best,
                                                               {.gradient_tolerance = options.gradient_tolerance,
                                                                .seed = options.seed,
                                                                .lower_level = options.lower_level},
                                                               result.warm_start, interrupt));
  }
  if (options.report_sensitivities) {
    LowerLevelOptions lower_level = options.lower_level;
    lower_level.refuse_unreachable = false;  // decided when the point was evaluated
    ASSIGN_OR_RETURN(result.sensitivities,
                     ComputeSensitivities(problem, lower_level, result.best.x, result.warm_start, interrupt));
  }
  return absl::OkStatus();
}

}  // namespace

const std::vector<MethodDescription>& DescribeMethods() {
  static const auto& methods = *new std::vector<MethodDescription>{
      {"m_sobirl", "Single loop: one soft sweep, one adjoint step and one step of x at a time.",
       "Yang, Gao, Yuan (2025), arXiv:2405.19697, algorithm 1; adjoint steps L1 and KRYLOV are ours",
       "min_k |grad phi(x_k)|^2 = O(1/k) for smooth f and r and small enough steps"},
      {"projected_gradient", "Projected descent on the exact hyper-gradient with Barzilai-Borwein steps.",
       "Barzilai and Borwein (1988) steps, monotone backtracking",
       "every limit point is stationary; which one depends on the start"},
      {"quasi_newton", "Projected limited-memory BFGS on the exact hyper-gradient; continues from a state it returns.",
       "Schmidt, van den Berg, Friedlander, Murphy (2009), AISTATS; 1-norm: Lee, Sun, Saunders (2014)",
       "every limit point is stationary while the model stays well-conditioned; which one depends on the start"},
      {"portfolio", "Global search: many starts, entropy continuation and basin hopping around quasi-Newton descents.",
       "ours; basin hopping: Wales and Doye (1997)",
       "the result is stationary and the best of all optima met; nothing proves that it is global"},
      {"truncated_newton",
       "Newton-CG on the exact hyper-gradient with exact products of the Hessian, on the active face.",
       "Steihaug (1983); faces: after More and Toraldo (1991)",
       "the gradient norm falls like its power 1.5 near a strict optimum; leaves saddles; which optimum depends on the "
       "start"},
  };
  static_assert(std::variant_size_v<MethodOptions> == 5, "describe the new method above");
  return methods;
}

std::string_view MethodName(const MethodOptions& method) { return DescribeMethods()[method.index()].name; }

absl::StatusOr<OuterResult> Optimize(const BilevelProblem& problem, const Vector& x, const MethodOptions& method,
                                     const OuterOptions& options, const Interrupt& interrupt,
                                     ProgressReporter& reporter) {
  RETURN_IF_ERROR(options.Validate());
  RETURN_IF_ERROR(std::visit([](const auto& m) { return m.Validate(); }, method));
  RETURN_IF_ERROR(CheckObjective(problem));
  for (const Context& context : problem.contexts) {
    const absl::Status status = CheckMethod(options.lower_level, context.mdp->num_states());
    if (!status.ok()) return WithField("lower_level", status);
  }
  reporter.Begin(problem.feasible_set.Project(x));
  Pulse pulse([&reporter] { reporter.MaybeRepeat(); }, reporter.interval());
  const Interrupt pulsing = interrupt.WithPulse(pulse);
  ASSIGN_OR_RETURN(OuterResult result, options.max_evaluations == 1
                                           ? CertifyStart(problem, x, options, pulsing)
                                           : std::visit(Dispatch{problem, x, options, pulsing, reporter}, method));
  if (options.describe_stationarity || options.report_sensitivities) {
    RETURN_IF_ERROR(result.best.multipliers.empty()
                        ? Describe(problem, options, pulsing, result)
                        : Describe(WithMultipliers(problem, result.best.multipliers), options, pulsing, result));
  }
  return result;
}

}  // namespace bilevel
