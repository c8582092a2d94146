#include "core/solvers/worst_case_stages.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace bilevel {
namespace {

// The first width is this share of the spread of v, but at least the other of its size; widths end at the third.
constexpr double kOfSpread = 0.3, kOfSize = 0.03, kNarrowest = 1e-5;
constexpr double kNarrower = 0.1;
// Of the gap: what a stage has to leave of it at most for the next to keep its width.
constexpr double kProgress = 0.25;
// Of the gradient norm at the start, in the first stage; a tenth of that in the next.
constexpr double kFirstTolerance = 1e-2, kTighter = 0.1;
// Smaller multipliers count as this: a context that is not the worst now may become it.
constexpr double kSmallestMultiplier = 1e-12;
constexpr int kMaxStages = 40;
// Multipliers below this are those of contexts that are not the worst.
constexpr double kNoMultiplier = 1e-11;

WorstCaseBlend BlendOf(std::vector<double> multipliers) {
  double sum = 0;
  for (double& multiplier : multipliers) {
    if (multiplier < kNoMultiplier) multiplier = 0;
    sum += multiplier;
  }
  for (double& multiplier : multipliers) multiplier /= sum;
  return {std::move(multipliers), 0};
}

// sum_c lambda_c (worst - v_c), and the largest size of what has a multiplier.
struct Gap {
  double gap, size;
  double worst;
};
Gap GapOf(const BilevelProblem& problem, const std::vector<double>& multipliers,
          const std::vector<double>& objectives) {
  double worst = -HUGE_VAL, mean = 0, size = 0;
  for (size_t c = 0; c < objectives.size(); ++c) {
    if (problem.contexts[c].weight == 0) continue;
    const double v = problem.sign() * problem.contexts[c].weight * objectives[c];
    worst = std::max(worst, v);
    if (multipliers[c] >= kNoMultiplier) size = std::max(size, std::abs(v));
    if (multipliers[c] != 0) mean += multipliers[c] * v;
  }
  return {worst - mean, size, worst};
}

}  // namespace

bool WorstCaseStages::Apply(const BilevelProblem& problem) {
  return problem.aggregation == Aggregation::kWorstCase &&
         std::count_if(problem.contexts.begin(), problem.contexts.end(),
                       [](const Context& context) { return context.weight > 0; }) > 1;
}

WorstCaseStages::WorstCaseStages(const BilevelProblem& problem) : problem_(problem) { problem_.blend.reset(); }

void WorstCaseStages::Begin(const std::vector<double>& objectives, double gradient_norm) {
  double low = HUGE_VAL, high = -HUGE_VAL;
  int counted = 0;
  for (size_t c = 0; c < objectives.size(); ++c) {
    const double weight = problem_.contexts[c].weight;
    if (weight == 0) continue;
    ++counted;
    low = std::min(low, weight * objectives[c]);
    high = std::max(high, weight * objectives[c]);
  }
  // Where everything is 0, what a step of length one may change.
  scale_ = std::max({std::abs(low), std::abs(high), low == 0 && high == 0 ? gradient_norm : 0, 1e-100});
  first_gradient_ = gradient_norm;
  WorstCaseBlend blend;
  for (const Context& context : problem_.contexts) {
    blend.multipliers.push_back(context.weight == 0 ? 0 : 1.0 / counted);
  }
  blend.width = std::max(kOfSpread * (high - low), kOfSize * scale_);
  problem_.blend = std::move(blend);
}

double WorstCaseStages::GradientTolerance(double wanted) const {
  return std::max(wanted, kFirstTolerance * std::pow(kTighter, stage_) * first_gradient_);
}

bool WorstCaseStages::Last(const std::vector<double>& objectives, double wanted) const {
  return GradientTolerance(wanted) <= wanted && MultipliersFit(problem_, problem_.Multipliers(objectives), objectives);
}

bool WorstCaseStages::Advance(const std::vector<double>& objectives) {
  if (stage_ >= kMaxStages) return false;
  ++stage_;
  std::vector<double> multipliers = problem_.Multipliers(objectives);
  double sum = 0;
  for (size_t c = 0; c < multipliers.size(); ++c) {
    if (problem_.contexts[c].weight > 0) multipliers[c] = std::max(multipliers[c], kSmallestMultiplier);
    sum += multipliers[c];
  }
  for (double& multiplier : multipliers) multiplier /= sum;
  const Gap gap = GapOf(problem_, multipliers, objectives);
  if (gap.size > 0) scale_ = std::min(scale_, gap.size + gap.gap);
  if (gap.gap > kProgress * std::exchange(gap_, gap.gap)) {
    problem_.blend->width = std::max(kNarrower * problem_.blend->width, kNarrowest * scale_);
  }
  problem_.blend->multipliers = std::move(multipliers);
  return true;
}

void WorstCaseStages::Fix(const std::vector<double>& multipliers) { problem_.blend = BlendOf(multipliers); }

bool WorstCaseStages::narrowest() const { return problem_.blend->width <= kNarrowest * scale_; }

bool MultipliersFit(const BilevelProblem& problem, const std::vector<double>& multipliers,
                    const std::vector<double>& objectives) {
  if (multipliers.empty()) return true;
  const Gap gap = GapOf(problem, multipliers, objectives);
  return gap.gap <= WorstCaseStages::kGap * (1 + std::abs(gap.worst));
}

BilevelProblem WithMultipliers(BilevelProblem problem, const std::vector<double>& multipliers) {
  if (!multipliers.empty()) problem.blend = BlendOf(multipliers);
  return problem;
}

}  // namespace bilevel
