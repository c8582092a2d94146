#include "core/streaming/recorded_gradient.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/interrupt_status.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "core/streaming/follower_policy.h"
#include "core/streaming/model_critic.h"
#include "core/streaming/one_step_score.h"
#include "core/streaming/paired_gradient.h"
#include "core/streaming/recorded_walks.h"
#include "core/streaming/trajectory_gradient.h"

namespace bilevel {
namespace {

using Kind = EstimatorOptions::Kind;

TrajectoryEstimator EstimatorOf(Kind kind) {
  switch (kind) {
    case Kind::kRewardToGo:
      return TrajectoryEstimator::kRewardToGo;
    case Kind::kCritic:
      return TrajectoryEstimator::kCritic;
    default:
      return TrajectoryEstimator::kReturn;
  }
}

// The leader's rewards that came with the steps: all, none, or (nothing) a mixture.
std::optional<std::vector<double>> SampledRewards(const RecordedTrajectory& recorded) {
  std::vector<double> rewards;
  for (const RecordedStep& step : recorded.steps) {
    if (!std::isnan(step.leader_reward)) rewards.push_back(step.leader_reward);
  }
  if (!rewards.empty() && rewards.size() != recorded.steps.size()) return std::nullopt;
  return rewards;
}

// One context's.
class Records {
 public:
  // walked: grad r, where scores are walks'; else null.
  Records(const SessionData& data, size_t context, const Vector& log_pi, const SparseRows* walked) {
    for (const RecordedTrajectory& recorded : data.trajectories) {
      if (static_cast<size_t>(recorded.context) != context) continue;
      if (!Add(recorded, data, log_pi, walked)) ++left_out_;
    }
  }

  // Two at least, which count for one and a half.
  absl::Status Check(size_t context) const {
    if (trajectories_.size() < 2) {
      return absl::FailedPreconditionError(absl::StrCat(
          "context ", context, " has ", trajectories_.size(),
          trajectories_.size() == 1 ? " trajectory" : " trajectories", " that can be used and ", left_out_,
          " that cannot (open, of another x, such as the policy never makes, or for CRITIC_CONTINUATIONS without both "
          "walks complete); two are the least"));
    }
    double highest = -HUGE_VAL, sum = 0, squares = 0;
    for (const Trajectory& trajectory : trajectories_) highest = std::max(highest, trajectory.log_weight);
    for (const Trajectory& trajectory : trajectories_) {
      const double weight = std::exp(trajectory.log_weight - highest);
      sum += weight;
      squares += weight * weight;
    }
    if (sum * sum >= 1.5 * squares) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(
        "the ", trajectories_.size(), " trajectories of context ", context, " count for ", ToText(sum * sum / squares),
        ": the policy has moved too far from those that acted; stream newer or shorter episodes"));
  }

  int64_t cut() const {
    return std::count_if(trajectories_.begin(), trajectories_.end(),
                         [](const Trajectory& trajectory) { return !trajectory.terminated; });
  }
  bool sampled() const {
    return std::any_of(trajectories_.begin(), trajectories_.end(),
                       [](const Trajectory& trajectory) { return !trajectory.leader_rewards.empty(); });
  }
  const std::vector<Trajectory>& trajectories() const { return trajectories_; }
  int64_t left_out() const { return left_out_; }
  bool off_policy() const { return off_policy_; }
  bool own() const { return own_; }  // some steps without a log-probability
  // In place of scores, one for each trajectory; empty: none.
  const std::vector<SampledScore>& walked() const { return walked_; }
  int64_t walked_transitions() const { return walked_transitions_; }
  bool walked_by_others() const { return walked_by_others_; }  // by policies that are not pi
  bool cut_walks() const { return cut_walks_; }

  // The mean of the samples of each row and the shift of it, or `otherwise`. shift [S*A]; empty: none.
  Vector MeanRewards(Vector otherwise, const Vector& shift) const {
    Vector sum = Vector::Zero(otherwise.size()), count = sum;
    for (const Trajectory& trajectory : trajectories_) {
      for (size_t t = 0; t < trajectory.leader_rewards.size(); ++t) {
        sum[trajectory.rows[t]] += trajectory.leader_rewards[t];
        count[trajectory.rows[t]] += 1;
      }
    }
    for (Eigen::Index row = 0; row < sum.size(); ++row) {
      if (count[row] > 0) otherwise[row] = sum[row] / count[row] + (shift.size() == 0 ? 0 : shift[row]);
    }
    return otherwise;
  }

 private:
  bool Add(const RecordedTrajectory& recorded, const SessionData& data, const Vector& log_pi,
           const SparseRows* walked) {
    if (recorded.end == StepKind::kRunning) return false;
    if (recorded.steps.back().parameters_version != data.parameters_version) return false;
    std::optional<std::vector<double>> rewards = SampledRewards(recorded);
    if (!rewards.has_value()) return false;
    Trajectory trajectory;
    trajectory.leader_rewards = *std::move(rewards);
    trajectory.terminated = recorded.end == StepKind::kTerminated;
    trajectory.final_state = trajectory.terminated ? -1 : recorded.last_state;
    bool own = false, other = false;
    for (const RecordedStep& step : recorded.steps) {
      // What was chosen before x moved counts by its weight; what the leader got then does not.
      const bool before = step.parameters_version != data.parameters_version;
      if (before &&
          (data.observed || std::isnan(step.behavior_log_probability) || !trajectory.leader_rewards.empty())) {
        return false;
      }
      trajectory.rows.push_back(step.row);
      if (data.observed || std::isnan(step.behavior_log_probability)) {
        own = true;
      } else {
        other = true;
        trajectory.log_weight += log_pi[step.row] - step.behavior_log_probability;
      }
    }
    if (std::isinf(trajectory.log_weight)) return false;
    if (walked != nullptr && !AddWalks(recorded, *walked, log_pi)) return false;
    own_ = own_ || own;
    off_policy_ = off_policy_ || other;
    trajectories_.push_back(std::move(trajectory));
    return true;
  }

  bool AddWalks(const RecordedTrajectory& recorded, const SparseRows& features, const Vector& log_pi) {
    cut_walks_ = cut_walks_ || HasCutWalks(recorded);
    std::optional<WalkedScore> found = ScoreOfWalks(recorded, features, log_pi);
    if (!found.has_value()) return false;
    walked_transitions_ += found->transitions;
    walked_by_others_ = walked_by_others_ || found->other_policy;
    walked_.push_back(std::move(found->score));
    return true;
  }

  std::vector<Trajectory> trajectories_;
  std::vector<SampledScore> walked_;
  int64_t left_out_ = 0, walked_transitions_ = 0;
  bool off_policy_ = false, own_ = false, walked_by_others_ = false, cut_walks_ = false;
};

// Of one context: who the follower is on the estimated model, and what that model thinks of it.
struct Setting {
  const BilevelProblem& problem;
  const SessionData& data;
  const Vector& x;
  const EstimatorOptions& options;
  const Interrupt& interrupt;
  size_t c;
  bool before = false;  // x is data.pair->x

  const Context& context() const { return problem.contexts[c]; }
  const LeaderReturn& term() const { return std::get<LeaderReturn>(context().objective[0].measure); }
  double leader_discount() const { return term().discount.value_or(context().discount); }
  bool learned() const { return options.critic == EstimatorOptions::Critic::kLearned; }
  bool walks() const { return options.critic == EstimatorOptions::Critic::kContinuations; }
  const Vector& known_log_policy() const { return (before ? data.previous_log_policies : data.log_policies)[c]; }
  const RowMatrix& learned_score() const { return (before ? data.previous_scores : data.scores)[c]; }
  Vector LeaderReward(const Vector& at) const { return term().reward.Evaluate(at, problem.map.Apply(at)); }
  // What the leader's samples, taken at the data's x, lack to be of this one.
  Vector SampleShift() const { return before ? LeaderReward(x) - LeaderReward(data.parameters) : Vector(); }
};

// The model's solution, or the policy that is learned or seen.
absl::StatusOr<FollowerPolicy> FindPolicy(const Setting& at, const TabularMdp& model) {
  const Vector& model_free = at.known_log_policy();
  if (model_free.size() != 0 && (at.data.observed || at.learned() || at.walks())) return KnownPolicy(model_free);
  return SolvePolicy(at.problem, at.c, model, at.x, at.options.lower_level, at.interrupt);
}

// What the model says of pi, and what the estimator has in place of its score.
struct Critics {
  ModelCritic model;
  RowMatrix other;           // empty: nothing
  bool start_known = false;  // rho_u is given, not estimated
  Vector bias;               // of `other` [n]

  const RowMatrix& score() const { return other.size() == 0 ? model.gradient.advantage : other; }
};

TrajectoryModel ModelOf(const Setting& at, const Critics& critics, const RowMatrix& score, int num_actions) {
  const bool control = at.options.baseline == EstimatorOptions::Baseline::kModel;
  const bool baseline = at.options.baseline != EstimatorOptions::Baseline::kNone;
  const ExpectedGradient& expected = critics.model.expected;
  return {.map = at.problem.map,
          .x = at.x,
          .reward = at.context().reward,
          .temperature = at.context().temperature,
          .score = score,
          .leader_reward = at.term().reward,
          .leader_discount = at.leader_discount(),
          .leader_value = baseline ? expected.leader.value : Vector(),
          .leader_advantage = expected.leader.advantage,
          .num_actions = num_actions,
          .expected = &expected,
          .control_variate = control,
          .initial_distribution = control && critics.start_known ? critics.model.initial : Vector(),
          .sample_shift = at.SampleShift()};
}

Critics AskCritics(const Setting& at, const TabularMdp& model, const Vector& pi, const Records& records) {
  Critics critics;
  if (at.options.kind == Kind::kOneStep) {
    critics.other = OneStepScore(model, pi, at.context().reward.GradientFeatures());
  } else if (at.learned()) {
    critics.other = at.learned_score();
  }
  const Vector cost = records.MeanRewards(at.LeaderReward(at.x), at.SampleShift());
  critics.model =
      AskModel(model, pi, at.context(), at.term(), cost, critics.other.size() == 0 ? nullptr : &critics.other,
               SystemKind(at.options.lower_level, model), at.interrupt);
  critics.start_known = at.term().initial.size() != 0 || at.data.contexts[at.c].frame.initial_distribution.size() != 0;
  critics.bias = Vector::Zero(at.x.size());
  if (critics.other.size() != 0) {
    critics.bias = ScoreBias(ModelOf(at, critics, critics.model.gradient.advantage, model.num_actions()), critics.other,
                             critics.model.visits);
  }
  return critics;
}

// Adds one context's share.
class SampledSum {
 public:
  explicit SampledSum(Eigen::Index n) : variance_(Vector::Zero(n)) {
    estimate_.exploitation = estimate_.exploration = estimate_.bias = Vector::Zero(n);
  }

  void Add(double weight, const SampledGradient& found, const Vector& critic_bias) {
    estimate_.exploitation += weight * found.exploitation;
    estimate_.exploration += weight * found.exploration;
    estimate_.bias += weight * (found.bias + critic_bias);
    estimate_.objective += weight * found.objective;
    estimate_.objective_bias += weight * found.objective_bias;
    variance_ += (weight * found.standard_error).cwiseAbs2();
    objective_variance_ += std::pow(weight * found.objective_standard_error, 2);
    estimate_.effective_sample_size += found.effective_sample_size;
    estimate_.trajectories += found.trajectories;
    estimate_.transitions += static_cast<uint64_t>(found.transitions);
  }

  void AddPair(double weight, const PairedGradient& found, const Vector& critic_bias) {
    if (!estimate_.pair.has_value()) {
      const Vector zero = Vector::Zero(variance_.size());
      estimate_.pair = {.gradient = zero, .bias = zero, .innovation_standard_error = zero, .weight_bias = zero};
    }
    PairEstimate& pair = *estimate_.pair;
    pair.gradient += weight * found.previous;
    pair.bias += weight * (found.previous_bias + critic_bias);
    pair.weight_bias += weight * found.cap_bias;
    // Squares until Finish.
    pair.innovation_standard_error += (weight * found.innovation_standard_error).cwiseAbs2();
    pair.effective_sample_size += found.effective_sample_size;
    pair.overlaps = pair.overlaps && found.overlaps();
    const auto added = static_cast<double>(found.current.trajectories), all = added + paired_;
    pair.capped_share = (pair.capped_share * paired_ + found.capped_share * added) / all;
    paired_ = all;
  }

  GradientEstimate Finish(const BilevelProblem& problem, const SessionData& data, const Vector& x) {
    const auto penalties = [&](const Vector& at) { return problem.AssembleGradient(ParameterGradient(at.size()), at); };
    estimate_.gradient = estimate_.exploitation + estimate_.exploration + penalties(x);
    if (estimate_.pair.has_value()) {
      estimate_.pair->gradient += penalties(data.pair->x);
      estimate_.pair->innovation_standard_error = estimate_.pair->innovation_standard_error.cwiseSqrt();
    }
    estimate_.standard_error = variance_.cwiseSqrt();
    estimate_.objective += problem.PenaltyValue(x);
    estimate_.objective_standard_error = std::sqrt(objective_variance_);
    return std::move(estimate_);
  }

  GradientEstimate& estimate() { return estimate_; }

 private:
  GradientEstimate estimate_;
  Vector variance_;
  double objective_variance_ = 0;
  double paired_ = 0;  // trajectories in the pair
};

// Whether the model leaves nothing for the trajectories to say: see trajectory_gradient.h.
bool IsPlugIn(const EstimatorOptions& options) {
  return options.kind == Kind::kCritic && options.critic == EstimatorOptions::Critic::kModel &&
         options.baseline == EstimatorOptions::Baseline::kModel;
}

}  // namespace

absl::Status CheckRecordable(const BilevelProblem& problem, const EstimatorOptions& options, bool learns_gradient) {
  if (problem.aggregation != Aggregation::kWeightedSum) {
    return absl::FailedPreconditionError("estimators from trajectories need AGGREGATION_WEIGHTED_SUM");
  }
  if (options.critic == EstimatorOptions::Critic::kLearned && !learns_gradient) {
    return absl::FailedPreconditionError("CRITIC_LEARNED needs a session with soft_q.learn_gradient");
  }
  for (size_t c = 0; c < problem.contexts.size(); ++c) {
    const Context& context = problem.contexts[c];
    if (context.weight == 0) continue;
    if (context.objective.size() != 1 || !std::holds_alternative<LeaderReturn>(context.objective[0].measure)) {
      return absl::FailedPreconditionError(absl::StrCat("contexts[", c,
                                                        "].objective is not one leader_return, which is what "
                                                        "estimators from trajectories estimate"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<GradientEstimate> EstimateFromRecords(const BilevelProblem& problem, const SessionData& data,
                                                     const Vector& x, const EstimatorOptions& options,
                                                     const Interrupt& interrupt) {
  if (x != data.parameters) {
    return absl::FailedPreconditionError(
        "parameters are not the session's: trajectories were made there; ESTIMATOR_PLUG_IN answers at any x");
  }
  if (!data.keeps_trajectories) {
    return absl::FailedPreconditionError("the session keeps no trajectories: its trajectory_capacity is 0");
  }
  const bool learned = !data.scores.empty() && data.scores[0].size() != 0;
  RETURN_IF_ERROR(CheckRecordable(problem, options, learned));
  SampledSum sum(x.size());
  int64_t cut = 0;
  bool off_policy = false, own = false, sampled = false, walked_by_others = false, cut_walks = false;
  for (size_t c = 0; c < problem.contexts.size(); ++c) {
    const Setting at{problem, data, x, options, interrupt, c};
    if (at.context().weight == 0) continue;
    ASSIGN_OR_RETURN(const EstimatedModel model,
                     EstimateModel(data.contexts[c].frame, data.contexts[c].entries, data.prior));
    ASSIGN_OR_RETURN(const FollowerPolicy follower, FindPolicy(at, model.mdp));
    const SparseRows features = at.context().reward.GradientFeatures();
    const Records records(data, c, follower.log_pi, at.walks() ? &features : nullptr);
    RETURN_IF_ERROR(records.Check(c));
    const Critics critics = AskCritics(at, model.mdp, follower.pi, records);
    // Systems that were not solved leave zeros behind, which are no answer.
    if (interrupt.Check().has_value()) return InterruptStatus(interrupt);
    const TrajectoryModel here = ModelOf(at, critics, critics.score(), model.mdp.num_actions());
    const double weight = at.context().weight * at.context().objective[0].weight;
    if (data.pair.has_value()) {
      const Setting before{problem, data, data.pair->x, options, interrupt, c, true};
      ASSIGN_OR_RETURN(const FollowerPolicy policy_before, FindPolicy(before, model.mdp));
      const Critics critics_before = AskCritics(before, model.mdp, policy_before.pi, records);
      if (interrupt.Check().has_value()) return InterruptStatus(interrupt);
      const TrajectoryModel there = ModelOf(before, critics_before, critics_before.score(), model.mdp.num_actions());
      const PairedGradient pair =
          EstimatePair({here, follower.log_pi}, {there, policy_before.log_pi}, records.trajectories(),
                       {.estimator = EstimatorOf(options.kind),
                        .horizon = Horizon::Kind::kSteps,
                        .kept_share = data.pair->kept_share,
                        .cap = data.pair->weight_cap});
      sum.Add(weight, pair.current, critics.bias);
      sum.AddPair(weight, pair, critics_before.bias);
    } else {
      sum.Add(weight,
              EstimateFromTrajectories(here, records.trajectories(), Horizon::Kind::kSteps, EstimatorOf(options.kind),
                                       records.walked()),
              critics.bias);
    }
    sum.estimate().unseen_rows += model.unseen_rows;
    sum.estimate().left_out += records.left_out();
    off_policy = off_policy || records.off_policy();
    own = own || records.own();
    sum.estimate().transitions += static_cast<uint64_t>(records.walked_transitions());
    walked_by_others = walked_by_others || records.walked_by_others();
    cut_walks = cut_walks || records.cut_walks();
    cut += records.cut();
    sampled = sampled || records.sampled();
  }
  GradientEstimate estimate = sum.Finish(problem, data, x);
  std::vector<std::string>& assumptions = estimate.assumptions;
  assumptions.emplace_back("trajectories are independent, and begin as the objective's initial distribution says");
  assumptions.emplace_back("standard errors take critics as they are: the estimated model's own error is not in them");
  if (own && !data.observed) {
    assumptions.emplace_back(
        "steps without behavior_log_probability were the follower's own: if somebody else acted, this is WRONG by an "
        "unknown amount");
  }
  if (off_policy) {
    assumptions.emplace_back("behavior log-probabilities are those of whoever acted");
    if (estimate.effective_sample_size < 0.5 * static_cast<double>(estimate.trajectories)) {
      assumptions.emplace_back(
          "weights are uneven: few trajectories count for most, and intervals from so heavy tails are often too short");
    }
  }
  if (cut > 0) {
    assumptions.emplace_back(absl::StrCat("BIASED: ", cut, " of ", estimate.trajectories,
                                          " trajectories were truncated, and count as if nothing followed; `bias` is "
                                          "what that leaves out on the model: subtract it"));
  }
  if (options.baseline == EstimatorOptions::Baseline::kModel && !IsPlugIn(options)) {
    assumptions.emplace_back(
        "with a control variate of the model most of the error is that of the model, which standard errors leave out: "
        "intervals are too short");
  }
  if (sampled) assumptions.emplace_back("the leader's values are those of the mean rewards that were sampled");
  if (options.kind == Kind::kOneStep) {
    assumptions.emplace_back("BIASED: grad Q - grad V is cut to one step; `bias` is what that costs on the model");
  }
  if (options.critic == EstimatorOptions::Critic::kContinuations) {
    assumptions.emplace_back("walks go on from a state as a visit of its own would, whoever set the environment to it");
  }
  if (walked_by_others) {
    assumptions.emplace_back("walks of other policies than today's weigh as likely as it would make them");
  }
  if (cut_walks) {
    assumptions.emplace_back("BIASED: the environment cut walks short, which leaves out those with more steps first");
  }
  if (IsPlugIn(options)) {
    assumptions.emplace_back(
        "critic and control variate of the model leave the plug-in gradient of the same data: these intervals are too "
        "short, ESTIMATOR_PLUG_IN has honest ones");
  }
  return estimate;
}

}  // namespace bilevel
