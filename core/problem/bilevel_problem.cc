#include "core/problem/bilevel_problem.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <variant>

#include "core/base/field_error.h"
#include "core/base/text.h"

namespace bilevel {
namespace {

// The first context of positive weight whose weighted objective is the worst, or not a number; there is one.
size_t WorstContext(const BilevelProblem& problem, const std::vector<double>& objectives) {
  size_t worst = objectives.size();
  double worst_value = 0;
  for (size_t c = 0; c < objectives.size(); ++c) {
    if (problem.contexts[c].weight == 0) continue;
    const double value = problem.sign() * problem.contexts[c].weight * objectives[c];
    if (std::isnan(value)) return c;
    if (worst == objectives.size() || value > worst_value) {
      worst = c;
      worst_value = value;
    }
  }
  return worst;
}

// lambda_c exp((v_c - v_worst) / mu).
std::vector<double> BlendTerms(const BilevelProblem& problem, const std::vector<double>& objectives, size_t worst) {
  const double most = problem.contexts[worst].weight * objectives[worst];
  std::vector<double> terms(objectives.size(), 0.0);
  for (size_t c = 0; c < terms.size(); ++c) {
    if (problem.contexts[c].weight == 0) continue;
    const double below = problem.sign() * (problem.contexts[c].weight * objectives[c] - most);
    terms[c] = problem.blend->multipliers[c] * std::exp(below / problem.blend->width);
  }
  return terms;
}

}  // namespace

bool BilevelProblem::HasQuadraticReward() const {
  const auto of_leader = [](const ObjectiveTerm& term) {
    const LeaderReturn* leader = std::get_if<LeaderReturn>(&term.measure);
    return leader != nullptr && leader->reward.has_quadratic();
  };
  return std::any_of(contexts.begin(), contexts.end(), [&](const Context& context) {
    return context.reward.has_quadratic() || std::any_of(context.objective.begin(), context.objective.end(), of_leader);
  });
}

double BilevelProblem::PenaltyValue(const Vector& x) const {
  return sign() * (0.5 * penalties.squared_l2 * x.squaredNorm() + penalties.l1 * x.lpNorm<1>());
}

std::vector<double> BilevelProblem::Multipliers(const std::vector<double>& objectives) const {
  if (blend.has_value() && blend->width == 0) return blend->multipliers;
  std::vector<double> multipliers(contexts.size(), 0.0);
  const size_t worst = WorstContext(*this, objectives);
  if (!blend.has_value()) {
    multipliers[worst] = 1;
    return multipliers;
  }
  const std::vector<double> terms = BlendTerms(*this, objectives, worst);
  const double sum = std::accumulate(terms.begin(), terms.end(), 0.0);
  for (size_t c = 0; c < terms.size(); ++c) multipliers[c] = terms[c] / sum;
  return multipliers;
}

std::vector<double> BilevelProblem::ActiveWeights(const std::vector<double>& objectives) const {
  std::vector<double> weights(contexts.size(), 1.0);
  if (aggregation == Aggregation::kWorstCase) weights = Multipliers(objectives);
  for (size_t c = 0; c < weights.size(); ++c) weights[c] *= contexts[c].weight;
  return weights;
}

double BilevelProblem::Aggregate(const std::vector<double>& objectives, const Vector& x) const {
  double sum = PenaltyValue(x);
  if (aggregation == Aggregation::kWorstCase) {
    const size_t worst = WorstContext(*this, objectives);
    sum += contexts[worst].weight * objectives[worst];
    if (!blend.has_value() || blend->width == 0) return sum;
    const std::vector<double> terms = BlendTerms(*this, objectives, worst);
    return sum + sign() * blend->width * std::log(std::accumulate(terms.begin(), terms.end(), 0.0));
  }
  for (size_t c = 0; c < contexts.size(); ++c) {
    if (contexts[c].weight != 0) sum += contexts[c].weight * objectives[c];
  }
  return sum;
}

Vector BilevelProblem::AssembleGradient(const ParameterGradient& gradient, const Vector& x) const {
  Vector result = map.Pullback(x, gradient.theta) + gradient.x;
  if (penalties.squared_l2 != 0) result += sign() * penalties.squared_l2 * x;
  return result;
}

double BilevelProblem::ProjectedGradientNorm(const Vector& x, const Vector& gradient) const {
  if (penalties.l1 == 0 && feasible_set.unconstrained()) return gradient.norm();
  return (x - feasible_set.Prox(x - sign() * gradient, penalties.l1)).norm();
}

absl::Status CheckContext(const Context& context) {
  const double gamma = context.discount;
  if (!(gamma >= 0 && gamma < 1)) {
    return FieldError("discount", absl::StrCat("is ", ToText(gamma), "; must be in [0, 1)"));
  }
  if (!(gamma * context.mdp->max_row_sum() < 1)) {
    return FieldError("discount", absl::StrCat("is ", ToText(gamma), " and the largest row sum is ",
                                               ToText(context.mdp->max_row_sum()), "; their product must be below 1"));
  }
  if (!(context.temperature >= 1e-12 && context.temperature <= 1e12)) {
    return FieldError("temperature",
                      absl::StrCat("is ", ToText(context.temperature), "; must be > 0, in [1e-12, 1e12]"));
  }
  if (!(context.weight >= 0) || !std::isfinite(context.weight)) {
    return FieldError("weight", absl::StrCat("is ", ToText(context.weight), "; must be finite and >= 0"));
  }
  return absl::OkStatus();
}

absl::Status CheckObjective(const BilevelProblem& problem) {
  if (problem.sense == Sense::kUnspecified) {
    return FieldError("sense", "is unspecified; must be SENSE_MINIMIZE or SENSE_MAXIMIZE");
  }
  bool any = false;
  for (size_t c = 0; c < problem.contexts.size(); ++c) {
    if (problem.contexts[c].weight == 0) continue;
    any = true;
    if (problem.contexts[c].objective.empty()) {
      return FieldError(absl::StrCat("contexts[", c, "].objective"),
                        "is empty; a context of positive weight needs a term");
    }
  }
  if (!any) return FieldError("contexts", "have no positive weight; at least one must count");
  return absl::OkStatus();
}

}  // namespace bilevel
