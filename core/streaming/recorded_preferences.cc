#include "core/streaming/recorded_preferences.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/interrupt_status.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "core/streaming/follower_policy.h"
#include "core/streaming/preference_gradient.h"

namespace bilevel {
namespace {

using Kind = EstimatorOptions::Kind;

PreferenceArm ArmOf(Kind kind) {
  switch (kind) {
    case Kind::kPreference:
      return PreferenceArm::kPublished;
    case Kind::kPreferenceExcessRisk:
      return PreferenceArm::kExcessRisk;
    default:
      return PreferenceArm::kFit;
  }
}

// One context's.
class Pairs {
 public:
  // All as they are.
  Pairs(const SessionData& data, size_t context) {
    for (const Preference& preference : data.preferences) {
      if (static_cast<size_t>(preference.first.context) == context) pairs_.push_back({&preference});
    }
  }

  // As likely as the follower of today would make them.
  void Weigh(const Vector& log_pi, const SessionData& data, size_t context) {
    const uint32_t version = data.parameters_version, era = data.eras.empty() ? 0 : data.eras[context];
    std::vector<WeighedPreference> known;
    for (WeighedPreference& pair : pairs_) {
      const Fragment &first = pair.preference->first, &second = pair.preference->second;
      if (!IsOf(first, version) || !IsOf(second, version) || pair.preference->era != era) {
        ++outdated_;
        continue;
      }
      unsaid_ = unsaid_ || IsUnsaid(first) || IsUnsaid(second);
      if (!data.observed) {
        pair.log_weight = LogWeight(first, log_pi) + LogWeight(second, log_pi);
        off_policy_ =
            off_policy_ || !first.behavior_log_probabilities.empty() || !second.behavior_log_probabilities.empty();
      }
      known.push_back(pair);
    }
    pairs_ = std::move(known);
  }

  const std::vector<WeighedPreference>& pairs() const { return pairs_; }
  int64_t outdated() const { return outdated_; }
  bool unsaid() const { return unsaid_; }
  bool off_policy() const { return off_policy_; }

 private:
  static bool IsOf(const Fragment& fragment, uint32_t parameters_version) {
    return fragment.parameters_version == 0 || fragment.parameters_version == parameters_version;
  }
  static bool IsUnsaid(const Fragment& fragment) {
    return fragment.parameters_version == 0 && fragment.behavior_log_probabilities.empty();
  }
  static double LogWeight(const Fragment& fragment, const Vector& log_pi) {
    double sum = 0;
    for (size_t h = 0; h < fragment.behavior_log_probabilities.size(); ++h) {
      const double behavior = fragment.behavior_log_probabilities[h];
      if (!std::isnan(behavior)) sum += log_pi[fragment.rows[h]] - behavior;
    }
    return sum;
  }

  std::vector<WeighedPreference> pairs_;
  int64_t outdated_ = 0;
  bool unsaid_ = false, off_policy_ = false;
};

// Of one context.
struct Follower {
  FollowerPolicy policy;
  RowMatrix model_score, learned_score;  // the second: empty where it is not asked for
  int64_t unseen_rows = 0;

  const RowMatrix& score() const { return learned_score.size() == 0 ? model_score : learned_score; }
};

absl::StatusOr<Follower> AskFollower(const BilevelProblem& problem, const SessionData& data, const Vector& x,
                                     const EstimatorOptions& options, const Interrupt& interrupt, size_t c) {
  constexpr double kTolerance = 1e-13;
  ASSIGN_OR_RETURN(const EstimatedModel model,
                   EstimateModel(data.contexts[c].frame, data.contexts[c].entries, data.prior));
  const bool learned = options.critic == EstimatorOptions::Critic::kLearned;
  Follower follower{.unseen_rows = model.unseen_rows};
  if (data.log_policies[c].size() != 0 && (data.observed || learned)) {
    follower.policy = KnownPolicy(data.log_policies[c]);
  } else {
    ASSIGN_OR_RETURN(follower.policy, SolvePolicy(problem, c, model.mdp, x, options.lower_level, interrupt));
  }
  PolicySystem system(model.mdp, SystemKind(options.lower_level, model.mdp));
  system.SetPolicy(follower.policy.pi);
  const Context& context = problem.contexts[c];
  follower.model_score = SolveValueGradient({model.mdp, follower.policy.pi, system, kTolerance, interrupt},
                                            context.discount, context.reward.GradientFeatures())
                             .advantage;
  if (learned) follower.learned_score = data.scores[c];
  return follower;
}

struct Share {
  double weight;
  PreferenceGradient gradient;
  Vector bias;  // empty: none
};

void AddUp(const std::vector<Share>& shares, GradientEstimate& estimate) {
  const Eigen::Index n = estimate.exploitation.size();
  for (const Share& share : shares) estimate.trajectories += share.gradient.pairs;
  Vector variance = Vector::Zero(n);
  double objective_variance = 0;
  for (const auto& [context_weight, found, bias] : shares) {
    const double weight =
        context_weight * static_cast<double>(found.pairs) / static_cast<double>(estimate.trajectories);
    estimate.exploitation += weight * found.exploitation;
    estimate.exploration += weight * found.exploration;
    estimate.objective += weight * found.objective;
    variance += (weight * found.standard_error).cwiseAbs2();
    objective_variance += std::pow(weight * found.objective_standard_error, 2);
    estimate.effective_sample_size += found.effective_sample_size;
    estimate.left_out += found.left_out;
    estimate.transitions += static_cast<uint64_t>(found.steps);
    if (bias.size() == 0) continue;
    if (estimate.bias.size() == 0) estimate.bias = Vector::Zero(n);
    estimate.bias += weight * bias;
  }
  estimate.standard_error = variance.cwiseSqrt();
  estimate.objective_standard_error = std::sqrt(objective_variance);
}

absl::Status Check(const BilevelProblem& problem, const SessionData& data, const Vector& x,
                   const EstimatorOptions& options) {
  const bool learned = !data.scores.empty() && data.scores[0].size() != 0;
  RETURN_IF_ERROR(CheckPreferable(problem, options, learned));
  if (data.preferences.empty()) {
    return absl::FailedPreconditionError("the session has no preferences; add some");
  }
  if (options.kind == Kind::kPreferenceFit) return absl::OkStatus();
  if (x != data.parameters) {
    return absl::FailedPreconditionError(
        "parameters are not the session's, whose follower made the fragments; ESTIMATOR_PREFERENCE_FIT answers at any "
        "x");
  }
  if (data.merged == 0) {
    return absl::FailedPreconditionError(
        "the session has not learned from any transition yet, and knows nothing of where its follower goes; "
        "ESTIMATOR_PREFERENCE_FIT needs none");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckPreferable(const BilevelProblem& problem, const EstimatorOptions& options, bool learns_gradient) {
  if (problem.aggregation != Aggregation::kWeightedSum) {
    return absl::FailedPreconditionError("estimators from preferences need AGGREGATION_WEIGHTED_SUM");
  }
  if (problem.sense == Sense::kMaximize) {
    return absl::FailedPreconditionError("estimators from preferences need SENSE_MINIMIZE: theirs is a loss");
  }
  if (options.kind != Kind::kPreferenceFit && options.critic == EstimatorOptions::Critic::kLearned &&
      !learns_gradient) {
    return absl::FailedPreconditionError("CRITIC_LEARNED needs a session with soft_q.learn_gradient");
  }
  return absl::OkStatus();
}

absl::StatusOr<GradientEstimate> EstimateFromRecordedPreferences(const BilevelProblem& problem, const SessionData& data,
                                                                 const Vector& x, const EstimatorOptions& options,
                                                                 const Interrupt& interrupt) {
  RETURN_IF_ERROR(Check(problem, data, x, options));
  const PreferenceArm arm = ArmOf(options.kind);
  GradientEstimate estimate;
  estimate.exploitation = estimate.exploration = Vector::Zero(x.size());
  std::vector<Share> shares;
  int64_t outdated = 0;
  bool unsaid = false, off_policy = false;
  for (size_t c = 0; c < problem.contexts.size(); ++c) {
    const Context& context = problem.contexts[c];
    Pairs pairs(data, c);
    if (context.weight == 0 || pairs.pairs().empty()) continue;
    Follower follower;
    if (arm != PreferenceArm::kFit) {
      ASSIGN_OR_RETURN(follower, AskFollower(problem, data, x, options, interrupt, c));
      // Systems that were not solved leave zeros behind, which are no answer.
      if (interrupt.Check().has_value()) return InterruptStatus(interrupt);
      pairs.Weigh(follower.policy.log_pi, data, c);
      outdated += pairs.outdated();
      if (pairs.pairs().empty()) continue;
    }
    PreferenceModel model{.map = problem.map,
                          .x = x,
                          .reward = context.reward,
                          .temperature = context.temperature,
                          .score = &follower.score(),
                          .baseline = options.baseline != EstimatorOptions::Baseline::kNone};
    absl::StatusOr<PreferenceGradient> found = EstimateFromPreferences(model, pairs.pairs(), arm, interrupt);
    if (interrupt.Check().has_value()) return InterruptStatus(interrupt);
    if (!found.ok()) {
      return absl::FailedPreconditionError(absl::StrCat("context ", c, ": ", std::string(found.status().message())));
    }
    Share& share = shares.emplace_back(Share{context.weight, *std::move(found), {}});
    if (follower.learned_score.size() != 0) {
      const RowMatrix off = follower.learned_score - follower.model_score;
      model.score = &off;
      const absl::StatusOr<PreferenceGradient> bias = EstimateFromPreferences(model, pairs.pairs(), arm, interrupt);
      if (interrupt.Check().has_value()) return InterruptStatus(interrupt);
      RETURN_IF_ERROR(bias.status());
      share.bias = bias->exploration;
    }
    estimate.unseen_rows += follower.unseen_rows;
    unsaid = unsaid || pairs.unsaid();
    off_policy = off_policy || pairs.off_policy();
  }
  if (interrupt.Check().has_value()) return InterruptStatus(interrupt);
  if (shares.empty()) {
    return absl::FailedPreconditionError(absl::StrCat("no preference can be used: of ", data.preferences.size(), ", ",
                                                      outdated,
                                                      " have fragments that the follower made at another x or before "
                                                      "it drifted, others are of contexts of weight 0"));
  }
  AddUp(shares, estimate);
  estimate.left_out += outdated;
  estimate.gradient =
      estimate.exploitation + estimate.exploration + problem.AssembleGradient(ParameterGradient(x.size()), x);
  estimate.objective += problem.PenaltyValue(x);

  std::vector<std::string>& assumptions = estimate.assumptions;
  assumptions.emplace_back("pairs are independent, and so are their labels");
  if (arm == PreferenceArm::kFit) {
    assumptions.emplace_back(
        "the reward is fitted to the pairs as they are: that the follower makes others at another x is left aside");
    return estimate;
  }
  assumptions.emplace_back(
      arm == PreferenceArm::kPublished
          ? "NOT CONSISTENT: the published objective seeks pairs whose labels are easy to predict as well, and is not "
            "least at the true reward"
          : "no objective has this gradient, which vanishes at the true reward but need not lead there; `objective` is "
            "the published one");
  assumptions.emplace_back(
      "both fragments of a pair are made apart by the follower, and begin where they do whatever x is");
  assumptions.emplace_back("standard errors take critics as they are: the estimated model's own error is not in them");
  if (unsaid) {
    assumptions.emplace_back(
        "fragments that do not say who acted were the follower's own at this x: if somebody else acted, this is WRONG "
        "by an unknown amount");
  }
  if (off_policy) {
    assumptions.emplace_back("behavior log-probabilities are those of whoever acted");
    if (estimate.effective_sample_size < 0.5 * static_cast<double>(estimate.trajectories)) {
      assumptions.emplace_back(
          "weights are uneven: few pairs count for most, and intervals from so heavy tails are often too short");
    }
  }
  return estimate;
}

}  // namespace bilevel
