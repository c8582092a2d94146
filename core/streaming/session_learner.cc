#include "core/streaming/session_learner.h"

#include <cmath>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"

namespace bilevel {
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
  RETURN_IF_ERROR(WithField("soft_q.q", soft_q.q.Validate()));
  RETURN_IF_ERROR(WithField("soft_q.gradient", soft_q.gradient.Validate()));
  return WithField("lower_level", lower_level.Validate());
}

absl::StatusOr<SessionLearner> SessionLearner::Create(BilevelProblem problem, bool initial_known, Vector x,
                                                      const SessionLearnerOptions& options) {
  RETURN_IF_ERROR(options.Validate());
  SessionLearner learner(std::move(problem), std::move(x), options);
  const Vector theta = learner.problem_.map.Apply(learner.x_);
  for (const Context& context : learner.problem_.contexts) {
    const TabularMdp& mdp = *context.mdp;
    ContextState& state = learner.contexts_.emplace_back(
        ContextState{FrameOf(mdp, initial_known),
                     TransitionCounts(mdp.num_states(), mdp.num_rows(), options.max_distinct),
                     Replay<Remembered>(options.replay_capacity),
                     std::nullopt,
                     {}});
    if (options.route == SessionLearnerOptions::Route::kSoftQ) {
      state.soft_q.emplace(mdp.num_states(), mdp.num_actions(), context.discount, context.temperature,
                           context.reward.Evaluate(learner.x_, theta), context.reward.GradientFeatures(),
                           options.soft_q);
    }
  }
  return learner;
}

void SessionLearner::Learn(const Transition& transition) {
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
  if (!state.soft_q.has_value()) return;
  const Remembered step{transition.state, transition.action, ended ? -1 : transition.next_state};
  LearnSoftQ(state, step);
  state.replay.Add(step);
  for (int i = 0; i < options_.replay_draws; ++i) LearnSoftQ(state, state.replay.Draw(rng_));
}

void SessionLearner::LearnSoftQ(ContextState& state, const Remembered& step) {
  const bool ended = step.next < 0;
  const Feature here{static_cast<uint32_t>(step.state), 1}, there{static_cast<uint32_t>(ended ? 0 : step.next), 1};
  const int64_t row = int64_t{step.state} * state.frame.num_actions + step.action;
  state.soft_q->Learn(
      {{&here, 1}, step.action, row, {&there, 1}, AvailableIn(state.frame, ended ? 0 : step.next), ended});
}

absl::StatusOr<std::optional<PolicySnapshot>> SessionLearner::Update(const Interrupt& interrupt) {
  PolicySnapshot snapshot{version_ + 1, merged_, x_, {}};
  for (size_t c = 0; c < contexts_.size(); ++c) {
    if (contexts_[c].soft_q.has_value()) {
      ASSIGN_OR_RETURN(ContextPolicy policy, ReadSoftQ(c));
      snapshot.contexts.push_back(std::move(policy));
      continue;
    }
    ASSIGN_OR_RETURN(std::optional<ContextPolicy> policy, SolveModel(c, interrupt));
    if (!policy.has_value()) return std::optional<PolicySnapshot>();
    snapshot.contexts.push_back(*std::move(policy));
  }
  ++version_;
  next_update_ = merged_ + options_.update_interval;
  return std::optional(std::move(snapshot));
}

absl::StatusOr<std::optional<ContextPolicy>> SessionLearner::SolveModel(size_t context, const Interrupt& interrupt) {
  ContextState& state = contexts_[context];
  ASSIGN_OR_RETURN(const EstimatedModel model, EstimateModel(state.frame, state.counts.Sorted(), options_.prior));
  const Context& known = problem_.contexts[context];
  const RegularizedMdp follower{
      &model.mdp, known.reward.Evaluate(x_, problem_.map.Apply(x_)), {}, known.discount, known.temperature};
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
  for (int s = 0; s < S; ++s) {
    const Feature here{static_cast<uint32_t>(s), 1};
    const Vector q = state.soft_q->ActionValues({&here, 1}, AvailableIn(state.frame, s));
    const double highest = q.maxCoeff();
    policy.value[s] = highest + tau * std::log(((q.array() - highest) / tau).exp().sum());
    for (int a = 0; a < A; ++a) {
      if (std::isinf(q[a])) continue;
      const Eigen::Index row = Eigen::Index{s} * A + a;
      policy.log_pi[row] = (q[a] - policy.value[s]) / tau;
      policy.pi[row] = std::exp(policy.log_pi[row]);
    }
  }
  const RegularizedMdp follower{&model.mdp, known.reward.Evaluate(x_, problem_.map.Apply(x_)), {}, known.discount, tau};
  policy.residual = (SoftValueBackup(follower, policy.value) - policy.value).lpNorm<Eigen::Infinity>();
  return policy;
}

TransitionRules SessionLearner::Rules(size_t max_open_episodes) const {
  TransitionRules rules{{}, max_open_episodes};
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
  double bytes = 0;
  for (const Context& context : problem.contexts) {
    const double rows = static_cast<double>(context.mdp->num_rows());
    const double possible = (rows + 1) * (context.mdp->num_states() + 1.0);
    const auto distinct = static_cast<double>(options.max_distinct);
    const double kept = std::min(distinct, possible);
    bytes += static_cast<double>(TransitionCounts::MaxBytes(static_cast<uint64_t>(kept)));
    // While a policy is made: sorted counts, the model, its systems, the policy.
    bytes += kept * 64 + rows * 12 * kNumber;
    if (options.route != SessionLearnerOptions::Route::kSoftQ) continue;
    const double d = static_cast<double>(context.reward.GradientFeatures().cols());
    bytes += rows * (d + 4) * kNumber + static_cast<double>(options.replay_capacity) * sizeof(Remembered);
  }
  return bytes;
}

}  // namespace bilevel
