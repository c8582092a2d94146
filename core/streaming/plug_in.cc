#include "core/streaming/plug_in.h"

#include <cmath>
#include <functional>
#include <memory>
#include <utility>

#include "core/base/status_macros.h"

namespace bilevel {
namespace {

using Estimate = std::function<absl::StatusOr<EstimatedModel>(const ContextCounts&)>;

absl::StatusOr<BilevelProblem> Replace(BilevelProblem problem, const std::vector<ContextCounts>& contexts,
                                       const Estimate& estimate, int64_t* unseen_rows) {
  if (unseen_rows != nullptr) *unseen_rows = 0;
  for (size_t c = 0; c < contexts.size(); ++c) {
    ASSIGN_OR_RETURN(EstimatedModel model, estimate(contexts[c]));
    if (unseen_rows != nullptr) *unseen_rows += model.unseen_rows;
    problem.contexts[c].mdp = std::make_shared<const TabularMdp>(std::move(model.mdp));
  }
  return problem;
}

// Mean and spread of what the redraws bring.
struct SpreadOfDraws {
  explicit SpreadOfDraws(Eigen::Index n) : sum(Vector::Zero(n)), squares(sum) {}

  void Add(const Vector& value) {
    ++count;
    sum += value;
    squares += value.cwiseAbs2();
  }
  Vector mean() const { return sum / count; }
  Vector deviation() const { return ((squares - count * mean().cwiseAbs2()) / (count - 1)).cwiseMax(0).cwiseSqrt(); }

  int count = 0;
  Vector sum, squares;
};

}  // namespace

absl::StatusOr<BilevelProblem> OnEstimatedModels(const BilevelProblem& problem,
                                                 const std::vector<ContextCounts>& contexts, const ModelPrior& prior,
                                                 int64_t* unseen_rows) {
  return Replace(
      problem, contexts, [&](const ContextCounts& c) { return EstimateModel(c.frame, c.entries, prior); }, unseen_rows);
}

absl::StatusOr<PlugInGradient> EstimatePlugIn(const BilevelProblem& problem, const std::vector<ContextCounts>& contexts,
                                              const Vector& x, const PlugInOptions& options,
                                              const Interrupt& interrupt) {
  PlugInGradient result;
  ASSIGN_OR_RETURN(const BilevelProblem model,
                   OnEstimatedModels(problem, contexts, options.prior, &result.unseen_rows));
  HypergradientEvaluator evaluator(model, options.lower_level);
  ASSIGN_OR_RETURN(result.point, evaluator.EvaluateCertified(x, interrupt));
  LowerLevelOptions lower_level = options.lower_level;
  lower_level.refuse_unreachable = false;
  const Eigen::Index n = x.size();
  SpreadOfDraws spread(n + 1);  // the objective last
  for (int i = 0; i < options.redraws && !interrupt.Check().has_value(); ++i) {
    Rng rng(options.seed, static_cast<uint64_t>(i));
    ASSIGN_OR_RETURN(
        const BilevelProblem redrawn,
        Replace(
            problem, contexts,
            [&](const ContextCounts& c) { return RedrawModel(c.frame, c.entries, options.prior, rng); }, nullptr));
    HypergradientEvaluator other(redrawn, lower_level, evaluator.warm_start());
    ASSIGN_OR_RETURN(const HypergradientPoint point, other.Evaluate(x, interrupt));
    if (interrupt.Check().has_value()) break;
    Vector both(n + 1);
    both << point.gradient, point.objective;
    spread.Add(both);
  }
  result.redraws = spread.count;
  if (spread.count < 2) return result;
  const Vector deviation = spread.deviation(), mean = spread.mean();
  result.standard_error = deviation.head(n);
  result.bias = mean.head(n) - result.point.gradient;
  result.objective_standard_error = deviation[n];
  result.objective_bias = mean[n] - result.point.objective;
  return result;
}

}  // namespace bilevel
