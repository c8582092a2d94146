#include "core/streaming/preference_gradient.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/base/text.h"
#include "core/streaming/weighted_mean.h"

namespace bilevel {
namespace {

// log(1 + exp(z)).
double Softplus(double z) { return std::max(z, 0.) + std::log1p(std::exp(-std::abs(z))); }

// 1 / (1 + exp(-z)).
double Sigmoid(double z) {
  const double e = std::exp(-std::abs(z));
  return (z >= 0 ? 1 : e) / (1 + e);
}

// A pair as the reward at x sees it.
struct Seen {
  const Preference* preference;
  double weight;           // largest: 1
  double loss;             // l
  double slope;            // dl/dD = p - y
  double exploring_value;  // v
};

class Estimator {
 public:
  Estimator(const PreferenceModel& model, PreferenceArm arm)
      : model_(model),
        arm_(arm),
        reward_(model.reward.Evaluate(model.x, model.map.Apply(model.x))),
        features_(model.reward.GradientFeatures()) {}

  Seen See(const Preference& preference, double weight) const {
    const double y = preference.first_preferred;
    const double difference = Return(preference.first) - Return(preference.second);
    const double slope = Sigmoid(difference) - y;
    const double loss = y * Softplus(-difference) + (1 - y) * Softplus(difference);
    return {&preference, weight, loss, slope, arm_ == PreferenceArm::kPublished ? loss : slope * difference};
  }

  // slope * grad D.
  Vector Exploitation(const Seen& pair) const {
    Vector sum = Vector::Zero(features_.cols());
    AddFeatures(pair.preference->first, pair.slope, sum);
    AddFeatures(pair.preference->second, -pair.slope, sum);
    return ToGradient(sum);
  }

  // (value / tau) sum_i sum_h (grad Q - grad V).
  Vector Exploration(const Seen& pair, double value) const {
    Vector sum = Vector::Zero(features_.cols());
    for (const Fragment* fragment : {&pair.preference->first, &pair.preference->second}) {
      for (const int64_t row : fragment->rows) sum += model_.score->row(row).transpose();
    }
    return ToGradient(value / model_.temperature * sum);
  }

 private:
  double Return(const Fragment& fragment) const {
    double sum = 0;
    for (const int64_t row : fragment.rows) sum += reward_[row];
    return sum;
  }

  void AddFeatures(const Fragment& fragment, double weight, Vector& sum) const {
    for (const int64_t row : fragment.rows) {
      for (SparseRows::InnerIterator entry(features_, row); entry; ++entry) sum[entry.col()] += weight * entry.value();
    }
  }

  Vector ToGradient(const Vector& features) const {
    ParameterGradient gradient(model_.x.size());
    model_.reward.AddFeatureGradient(features, model_.x, gradient);
    return model_.map.Pullback(model_.x, gradient.theta) + gradient.x;
  }

  const PreferenceModel& model_;
  PreferenceArm arm_;
  Vector reward_;
  SparseRows features_;
};

absl::Status Check(const PreferenceGradient& found, PreferenceArm arm) {
  if (found.pairs == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("no preference can be used, ", found.left_out, " being such as the policy never makes; add some"));
  }
  if (arm == PreferenceArm::kFit || (found.pairs >= 2 && found.effective_sample_size >= 1.5)) return absl::OkStatus();
  if (found.pairs < 2) {
    return absl::FailedPreconditionError(absl::StrCat("1 preference can be used and ", found.left_out,
                                                      " cannot; two are the least that tell where to explore"));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "the ", found.pairs, " preferences count for ", ToText(found.effective_sample_size),
      ": the policy has moved too far from those that made the fragments; label newer or shorter ones, or ",
      "fit the reward alone"));
}

}  // namespace

absl::StatusOr<PreferenceGradient> EstimateFromPreferences(const PreferenceModel& model,
                                                           std::span<const WeighedPreference> pairs, PreferenceArm arm,
                                                           const Interrupt& interrupt) {
  const Estimator estimate(model, arm);
  const Eigen::Index n = model.x.size();
  double highest = -HUGE_VAL;
  for (const WeighedPreference& pair : pairs) highest = std::max(highest, pair.log_weight);
  PreferenceGradient result;
  std::vector<Seen> seen;
  WeightedMean loss(1);
  double total_weight = 0, total_value = 0;
  for (const auto& [preference, log_weight] : pairs) {
    if (interrupt.Check().has_value()) break;
    if (std::isinf(log_weight)) {
      ++result.left_out;
      continue;
    }
    const Seen& pair = seen.emplace_back(estimate.See(*preference, std::exp(log_weight - highest)));
    loss.Add(pair.weight, Vector::Constant(1, pair.loss));
    total_weight += pair.weight;
    total_value += pair.weight * pair.exploring_value;
    result.steps += static_cast<int64_t>(preference->first.rows.size() + preference->second.rows.size());
  }
  result.pairs = static_cast<int64_t>(seen.size());
  if (!seen.empty()) result.effective_sample_size = loss.effective();
  if (const absl::Status enough = Check(result, arm); !enough.ok()) return enough;
  WeightedMean exploitation(n), exploration(n), total(n);
  for (const Seen& pair : seen) {
    if (interrupt.Check().has_value()) break;
    const Vector direct = estimate.Exploitation(pair);
    Vector implicit = Vector::Zero(n);
    if (arm != PreferenceArm::kFit) {
      const double others = (total_value - pair.weight * pair.exploring_value) / (total_weight - pair.weight);
      implicit = estimate.Exploration(pair, pair.exploring_value - (model.baseline ? others : 0));
    }
    exploitation.Add(pair.weight, direct);
    exploration.Add(pair.weight, implicit);
    total.Add(pair.weight, direct + implicit);
  }
  result.objective = loss.mean()[0];
  result.objective_standard_error = loss.standard_error()[0];
  result.exploitation = exploitation.mean();
  result.exploration = exploration.mean();
  result.exploitation_standard_error = exploitation.standard_error();
  result.exploration_standard_error = exploration.standard_error();
  result.standard_error = total.standard_error();
  return result;
}

}  // namespace bilevel
