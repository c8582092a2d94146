#include "core/streaming/session_learner.h"

#include <cmath>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "core/mdp/policy_evaluation.h"
#include "core/streaming/observed_policy.h"

namespace bilevel {

using Route = SessionLearnerOptions::Route;

namespace {

ModelFrame FrameOf(const TabularMdp& mdp, bool initial_known) {
  ModelFrame frame{mdp.num_states(), mdp.num_actions(), {}, {}};
  if (initial_known) frame.initial_distribution = mdp.initial_distribution();
  if (!mdp.all_available()) {
    for (Eigen::Index row = 0; row < mdp.num_rows(); ++row) {
      frame.available_actions.push_back(mdp.available(row) ? 1 : 0);
    }
  }
  return frame;
}

std::span<const uint8_t> AvailableIn(const ModelFrame& frame, int state) {
  if (frame.available_actions.empty()) return {};
  const auto actions = static_cast<size_t>(frame.num_actions);
  return std::span(frame.available_actions).subspan(static_cast<size_t>(state) * actions, actions);
}

absl::Status CheckAtLeastOne(const char* field, uint64_t value) {
  return value >= 1 ? absl::OkStatus() : FieldError(field, "is 0; must be >= 1");
}

}  // namespace

absl::Status SessionLearnerOptions::Validate() const {
  RETURN_IF_ERROR(CheckAtLeastOne("update_interval", update_interval));
  RETURN_IF_ERROR(CheckAtLeastOne("max_distinct", max_distinct));
  RETURN_IF_ERROR(CheckAtLeastOne("replay_capacity", replay_capacity));
  if (replay_draws < 0 || replay_draws > 1000) {
    return FieldError("replay_draws", absl::StrCat("is ", replay_draws, "; must be in [0, 1000]"));
  }
  if (!(prior.strength >= 0) || !std::isfinite(prior.strength)) {
    return FieldError("prior.strength", absl::StrCat("is ", ToText(prior.strength), "; must be finite and >= 0"));
  }
  if (!(observed_strength >= 0) || !std::isfinite(observed_strength)) {
    return FieldError("observed_strength", absl::StrCat("is ", ToText(observed_strength), "; must be finite and >= 0"));
  }
  RETURN_IF_ERROR(WithField("soft_q.q", soft_q.q.Validate()));
  RETURN_IF_ERROR(WithField("soft_q.gradient", soft_q.gradient.Validate()));
  return WithField("lower_level", lower_level.Validate());
}

absl::StatusOr<SessionLearner> SessionLearner::Create(BilevelProblem problem, bool initial_known, Vector x,
                                                      const SessionLearnerOptions& options) {
  RETURN_IF_ERROR(options.Validate());
  SessionLearner learner(std::move(problem), std::move(x), options);
  for (size_t c = 0; c < learner.problem_.contexts.size(); ++c) {
    const Context& context = learner.problem_.contexts[c];
    const TabularMdp& mdp = *context.mdp;
    ContextState& state = learner.contexts_.emplace_back(
        ContextState{FrameOf(mdp, initial_known),
                     TransitionCounts(mdp.num_states(), mdp.num_rows(), options.max_distinct),
                     Replay<Remembered>(options.replay_capacity),
                     std::nullopt,
                     {},
                     {},
                     {}});
    if (options.route == Route::kObserved) state.visits = Vector::Zero(mdp.num_rows());
    if (options.route != Route::kSoftQ) continue;
    const auto m = static_cast<int>(options.num_features);
    if (m > 0) state.features = RowMatrix::Zero(mdp.num_states(), m);
    SparseRows gradient_features(mdp.num_rows(), 0);
    if (options.learn_gradient) gradient_features = context.reward.GradientFeatures();
    state.soft_q.emplace(m > 0 ? m : mdp.num_states(), mdp.num_actions(), context.discount, context.temperature,
                         learner.RewardOf(c), std::move(gradient_features), options.soft_q);
  }
  return learner;
}

Vector SessionLearner::RewardOf(size_t context) const {
  return problem_.contexts[context].reward.Evaluate(x_, problem_.map.Apply(x_));
}

void SessionLearner::Learn(size_t writer, const Transition& transition, std::span<const double> features) {
  if (!scheduled_.empty() && scheduled_.begin()->first == merged_) ApplyScheduled();
  ContextState& state = contexts_[static_cast<size_t>(transition.context)];
  const int64_t row = int64_t{transition.state} * state.frame.num_actions + transition.action;
  const bool ended = transition.kind == StepKind::kTerminated;
  if (transition.begins) state.counts.AddStart(transition.state);
  if (ended) {
    state.counts.AddTermination(row);
  } else {
    state.counts.AddStep(row, transition.next_state);
  }
  ++merged_;
  if (options_.route == Route::kCount && options_.trajectory_capacity == 0) return;
  const uint32_t version = transition.parameters_version == 0 ? parameters_version_ : transition.parameters_version;
  trajectories_.Add(writer, transition, {row, transition.leader_reward, transition.behavior_log_probability, version});
  if (state.visits.size() != 0 && version == parameters_version_) state.visits[row] += 1;
  if (!state.soft_q.has_value()) return;
  const auto m = static_cast<Eigen::Index>(options_.num_features);
  if (m > 0) {
    const Eigen::Map<const Eigen::RowVectorXd> here(features.data(), m), there(features.data() + m, m);
    state.features.row(transition.state) = here;
    if (!ended) state.features.row(transition.next_state) = there;
  }
  const Remembered step{transition.state, transition.action, ended ? -1 : transition.next_state};
  LearnSoftQ(state, step);
  state.replay.Add(step);
  for (int i = 0; i < options_.replay_draws; ++i) LearnSoftQ(state, state.replay.Draw(rng_));
}

absl::Status SessionLearner::SetParameters(uint64_t after, Vector x) {
  if (parameters_version_ > 1 && after == last_change_ && x == x_) return absl::OkStatus();
  if (after < merged_) {
    return absl::FailedPreconditionError(
        absl::StrCat("after_merged is ", after, "; ", merged_, " transitions are merged already"));
  }
  if (!scheduled_.contains(after) && scheduled_.size() >= kMaxScheduled) {
    return absl::ResourceExhaustedError(absl::StrCat(kMaxScheduled, " changes of x are still to come; wait for some"));
  }
  scheduled_[after] = std::move(x);
  if (after == merged_) ApplyScheduled();
  return absl::OkStatus();
}

void SessionLearner::ApplyScheduled() {
  x_ = std::move(scheduled_.begin()->second);
  scheduled_.erase(scheduled_.begin());
  last_change_ = merged_;
  ++parameters_version_;
  for (size_t c = 0; c < contexts_.size(); ++c) {
    if (contexts_[c].soft_q.has_value()) contexts_[c].soft_q->SetReward(RewardOf(c));
    contexts_[c].visits.setZero();
  }
}

Features SessionLearner::FeaturesOf(const ContextState& state, int s, std::vector<Feature>& buffer) const {
  buffer.clear();
  if (options_.num_features == 0) {
    buffer.push_back({static_cast<uint32_t>(s), 1});
    return buffer;
  }
  for (Eigen::Index j = 0; j < state.features.cols(); ++j) {
    if (state.features(s, j) != 0) buffer.push_back({static_cast<uint32_t>(j), state.features(s, j)});
  }
  return buffer;
}

void SessionLearner::LearnSoftQ(ContextState& state, const Remembered& step) {
  const bool ended = step.next < 0;
  const int next = ended ? 0 : step.next;
  const int64_t row = int64_t{step.state} * state.frame.num_actions + step.action;
  state.soft_q->Learn({FeaturesOf(state, step.state, here_), step.action, row, FeaturesOf(state, next, there_),
                       AvailableIn(state.frame, next), ended});
}

absl::StatusOr<std::optional<PolicySnapshot>> SessionLearner::Update(const Interrupt& interrupt) {
  PolicySnapshot snapshot{version_ + 1, merged_, x_, parameters_version_, {}};
  for (size_t c = 0; c < contexts_.size(); ++c) {
    ASSIGN_OR_RETURN(std::optional<ContextPolicy> policy, MakePolicy(c, interrupt));
    if (!policy.has_value()) return std::optional<PolicySnapshot>();
    snapshot.contexts.push_back(*std::move(policy));
  }
  ++version_;
  next_update_ = merged_ + options_.update_interval;
  return std::optional(std::move(snapshot));
}

absl::StatusOr<std::optional<ContextPolicy>> SessionLearner::MakePolicy(size_t context, const Interrupt& interrupt) {
  switch (options_.route) {
    case Route::kSoftQ:
      return ReadSoftQ(context);
    case Route::kObserved:
      return ReadObserved(context, interrupt);
    default:
      return SolveModel(context, interrupt);
  }
}

absl::StatusOr<std::optional<ContextPolicy>> SessionLearner::ReadObserved(size_t context,
                                                                          const Interrupt& interrupt) const {
  const ContextState& state = contexts_[context];
  const Context& known = problem_.contexts[context];
  ASSIGN_OR_RETURN(const EstimatedModel model, EstimateModel(state.frame, state.counts.Sorted(), options_.prior));
  ObservedPolicy seen = EstimateObservedPolicy(state.frame, state.visits, options_.observed_strength);
  PolicySystem system(model.mdp, SystemKind(options_.lower_level, model.mdp.num_states()));
  system.SetPolicy(seen.pi);
  const RegularizedMdp follower{&model.mdp, RewardOf(context), {}, known.discount, known.temperature};
  Vector with_entropy = follower.reward;
  for (Eigen::Index row = 0; row < with_entropy.size(); ++row) {
    if (seen.pi[row] > 0) with_entropy[row] -= known.temperature * seen.log_pi[row];
  }
  const PolicyInput input{model.mdp, seen.pi, system, 1e-12, interrupt};
  PolicyValue value = EvaluatePolicy(input, known.discount, with_entropy, nullptr);
  if (interrupt.Check().has_value()) return std::optional<ContextPolicy>();
  const double residual = (SoftValueBackup(follower, value.value) - value.value).lpNorm<Eigen::Infinity>();
  return std::optional<ContextPolicy>(
      {std::move(seen.pi), std::move(seen.log_pi), std::move(value.value), residual, model.unseen_rows});
}

absl::StatusOr<std::optional<ContextPolicy>> SessionLearner::SolveModel(size_t context, const Interrupt& interrupt) {
  ContextState& state = contexts_[context];
  ASSIGN_OR_RETURN(const EstimatedModel model, EstimateModel(state.frame, state.counts.Sorted(), options_.prior));
  const Context& known = problem_.contexts[context];
  const RegularizedMdp follower{&model.mdp, RewardOf(context), {}, known.discount, known.temperature};
  PolicySystem system(model.mdp, SystemKind(options_.lower_level, model.mdp.num_states()));
  ASSIGN_OR_RETURN(LowerLevelSolution solution,
                   SolveLowerLevel(follower, options_.lower_level, state.value, interrupt, system));
  if (interrupt.Check().has_value()) return std::optional<ContextPolicy>();
  state.value = solution.value;
  return std::optional<ContextPolicy>({std::move(solution.backup.pi), std::move(solution.backup.log_pi),
                                       std::move(solution.value), solution.residual, model.unseen_rows});
}

absl::StatusOr<ContextPolicy> SessionLearner::ReadSoftQ(size_t context) const {
  const ContextState& state = contexts_[context];
  const Context& known = problem_.contexts[context];
  ASSIGN_OR_RETURN(const EstimatedModel model, EstimateModel(state.frame, state.counts.Sorted(), options_.prior));
  const int S = state.frame.num_states, A = state.frame.num_actions;
  const double tau = known.temperature;
  ContextPolicy policy{Vector::Zero(Eigen::Index{S} * A), Vector::Zero(Eigen::Index{S} * A), Vector(S), 0,
                       model.unseen_rows};
  std::vector<Feature> here;
  for (int s = 0; s < S; ++s) {
    const Vector q = state.soft_q->ActionValues(FeaturesOf(state, s, here), AvailableIn(state.frame, s));
    const double highest = q.maxCoeff();
    policy.value[s] = highest + tau * std::log(((q.array() - highest) / tau).exp().sum());
    for (int a = 0; a < A; ++a) {
      if (std::isinf(q[a])) continue;
      const Eigen::Index row = Eigen::Index{s} * A + a;
      policy.log_pi[row] = (q[a] - policy.value[s]) / tau;
      policy.pi[row] = std::exp(policy.log_pi[row]);
    }
  }
  const RegularizedMdp follower{&model.mdp, RewardOf(context), {}, known.discount, tau};
  policy.residual = (SoftValueBackup(follower, policy.value) - policy.value).lpNorm<Eigen::Infinity>();
  return policy;
}

std::vector<RowMatrix> SessionLearner::LearnedScores() const {
  std::vector<RowMatrix> scores;
  if (options_.route != Route::kSoftQ || !options_.learn_gradient) return scores;
  std::vector<Feature> here;
  for (const ContextState& state : contexts_) {
    const int S = state.frame.num_states, A = state.frame.num_actions;
    const LinearCritic& gradient = state.soft_q->gradient();
    RowMatrix& score = scores.emplace_back(RowMatrix::Zero(Eigen::Index{S} * A, gradient.dimension()));
    for (int s = 0; s < S; ++s) {
      const Features phi = FeaturesOf(state, s, here);
      const Vector pi = state.soft_q->Policy(phi, AvailableIn(state.frame, s));
      Vector mean = Vector::Zero(gradient.dimension());
      for (int a = 0; a < A; ++a) {
        if (pi[a] == 0) continue;
        const Vector value = gradient.Value(phi, a);
        score.row(Eigen::Index{s} * A + a) = value.transpose();
        mean += pi[a] * value;
      }
      for (int a = 0; a < A; ++a) {
        if (pi[a] > 0) score.row(Eigen::Index{s} * A + a) -= mean.transpose();
      }
    }
  }
  return scores;
}

TransitionRules SessionLearner::Rules(size_t max_open_episodes) const {
  TransitionRules rules{{}, max_open_episodes, options_.num_features};
  for (const ContextState& state : contexts_) {
    rules.contexts.push_back({state.frame.num_states, state.frame.num_actions, state.frame.available_actions});
  }
  return rules;
}

std::vector<ContextCounts> SessionLearner::Counts() const {
  std::vector<ContextCounts> counts;
  for (const ContextState& state : contexts_) counts.push_back({state.frame, state.counts.Sorted()});
  return counts;
}

uint64_t SessionLearner::dropped() const {
  uint64_t dropped = 0;
  for (const ContextState& state : contexts_) dropped += state.counts.dropped();
  return dropped;
}

double SessionLearner::MaxBytes(const BilevelProblem& problem, const SessionLearnerOptions& options) {
  constexpr double kNumber = sizeof(double);
  double bytes = TrajectoryStore::MaxBytes(options.trajectory_capacity);
  for (const Context& context : problem.contexts) {
    const double rows = static_cast<double>(context.mdp->num_rows());
    const double possible = (rows + 1) * (context.mdp->num_states() + 1.0);
    const auto distinct = static_cast<double>(options.max_distinct);
    const double kept = std::min(distinct, possible);
    bytes += static_cast<double>(TransitionCounts::MaxBytes(static_cast<uint64_t>(kept)));
    // While a policy is made: sorted counts, the model, its systems, the policy.
    bytes += kept * 64 + rows * 12 * kNumber;
    if (options.route != Route::kSoftQ) continue;
    const double d = options.learn_gradient ? static_cast<double>(context.reward.GradientFeatures().cols()) : 0;
    const auto m = static_cast<double>(options.num_features);
    const double weights = m > 0 ? m * context.mdp->num_actions() : rows;
    bytes += weights * (d + 4) * kNumber + m * context.mdp->num_states() * kNumber +
             static_cast<double>(options.replay_capacity) * sizeof(Remembered);
  }
  return bytes;
}

}  // namespace bilevel
