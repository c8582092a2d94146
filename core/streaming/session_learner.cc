#include "core/streaming/session_learner.h"

#include <algorithm>
#include <utility>

#include "core/base/interrupt_status.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"

namespace bilevel {

using Route = SessionLearnerOptions::Route;

absl::StatusOr<SessionLearner> SessionLearner::Create(BilevelProblem problem, bool initial_known, Vector x,
                                                      const SessionLearnerOptions& options) {
  RETURN_IF_ERROR(options.Validate());
  if (options.descent.has_value()) x = problem.feasible_set.Project(x);
  SessionLearner learner(std::move(problem), std::move(x), options);
  if (options.descent.has_value()) {
    if (!UsesPreferences(options.descent->estimator.kind)) RETURN_IF_ERROR(CheckObjective(*learner.problem_));
    learner.descent_.emplace(*learner.problem_, learner.x_, *options.descent);
  }
  for (size_t c = 0; c < learner.problem_->contexts.size(); ++c) {
    learner.contexts_.emplace_back(ContextSetting{learner.problem_->contexts[c], learner.RewardOf(c)}, initial_known,
                                   *learner.options_);
  }
  return learner;
}

Vector SessionLearner::RewardOf(size_t context) const {
  return problem_->contexts[context].reward.Evaluate(x_, problem_->map.Apply(x_));
}

void SessionLearner::Learn(size_t writer, const Transition& transition, std::span<const double> features) {
  const uint32_t version = transition.parameters_version == 0 ? parameters_version_ : transition.parameters_version;
  ContextLearner& context = contexts_[static_cast<size_t>(transition.context)];
  context.Learn(transition, features, version == parameters_version_, rng_);
  ++merged_;
  if (trajectories_.capacity() != 0) {
    const int64_t row = int64_t{transition.state} * context.frame().num_actions + transition.action;
    trajectories_.Add(writer, transition,
                      {row, transition.leader_reward, transition.behavior_log_probability, version});
  }
  if (merged_ == window_end_) CloseWindow();
}

void SessionLearner::CloseWindow() {
  std::vector<DriftWindow::Comparison> found;
  int tests = 0;
  for (ContextLearner& context : contexts_) {
    found.push_back(context.CompareWindow());
    tests += (found.back().transitions.degrees > 0 ? 1 : 0) + (found.back().policy.degrees > 0 ? 1 : 0);
  }
  if (tests > 0) ++windows_compared_;
  const double level = tests > 0 ? SpentInWindow(options_->drift->significance, windows_compared_) / tests : 0;
  bool any = false;
  for (size_t c = 0; c < contexts_.size(); ++c) {
    const auto tell = [&](Drift::What what, const Homogeneity::Result& result, double residual) {
      if (result.degrees == 0 || result.p_value > level) return false;
      drifts_.Add(
          {merged_, what, static_cast<int32_t>(c), result.p_value, level, result.statistic, result.degrees, residual});
      return any = true;
    };
    const bool transitions = tell(Drift::What::kTransitions, found[c].transitions, found[c].residual);
    const bool policy = tell(Drift::What::kPolicy, found[c].policy, 0);
    forgotten_ += contexts_[c].CloseWindow(transitions, policy);
    if ((transitions || policy) && !options_->drift->keep) {
      trajectories_.Forget(static_cast<int32_t>(c), window_trajectories_);
    }
  }
  window_end_ += options_->drift->window;
  window_trajectories_ = trajectories_.begun();
  if (!any || options_->drift->keep) return;
  next_update_ = merged_;
  // Averages and the best so far are of what is no longer so.
  if (descent_.has_value()) descent_->Restart(x_);
}

void SessionLearner::SetParameters(Vector x) {
  if (descent_.has_value()) {
    descent_->Restart(x);
    x = descent_->x();
  }
  Move(std::move(x));
}

void SessionLearner::Move(Vector x) {
  x_ = std::move(x);
  ++parameters_version_;
  for (size_t c = 0; c < contexts_.size(); ++c) contexts_[c].Move({problem_->contexts[c], RewardOf(c)});
}

absl::StatusOr<std::optional<double>> SessionLearner::Residual(const Interrupt& interrupt) {
  double residual = 0;
  for (size_t c = 0; c < contexts_.size() && options_->route != Route::kPlugIn; ++c) {
    ASSIGN_OR_RETURN(const std::optional<ContextPolicy> policy,
                     contexts_[c].MakePolicy({problem_->contexts[c], RewardOf(c)}, interrupt));
    if (!policy.has_value()) return std::optional<double>();
    residual = std::max(residual, policy->residual);
  }
  return std::optional(residual);
}

SessionData SessionLearner::DataOfStep(std::vector<Preference> preferences) const {
  SessionData data = Data(UsesTrajectories(descent_->options().estimator.kind));
  data.preferences = std::move(preferences);
  for (size_t c = 0; c < contexts_.size() && descent_->options().LearnsPairs(); ++c) {
    data.previous_log_policies.push_back(contexts_[c].PreviousLogPolicy());
    data.previous_scores.push_back(contexts_[c].PreviousScore(*problem_->contexts[c].mdp));
  }
  if (data.previous_log_policies.empty()) {
    data.previous_log_policies.resize(contexts_.size());
    data.previous_scores.resize(contexts_.size());
  }
  return data;
}

absl::StatusOr<std::shared_ptr<const OuterStep>> SessionLearner::Step(const Interrupt& interrupt,
                                                                      std::vector<Preference> preferences) {
  if (!descent_.has_value()) return absl::FailedPreconditionError("the session has no outer loop");
  std::optional<double> residual;
  SessionData data;
  if (!descent_->stopped()) {
    ASSIGN_OR_RETURN(residual, Residual(interrupt));
    if (!residual.has_value()) return InterruptStatus(interrupt);
    data = DataOfStep(std::move(preferences));
  }
  ASSIGN_OR_RETURN(OuterStep step, descent_->Step(std::move(data), residual.value_or(0), interrupt));
  step.merged = merged_;
  if (!descent_->stopped()) Move(descent_->x());
  step_ = std::make_shared<const OuterStep>(std::move(step));
  step_told_ = false;
  return step_;
}

absl::StatusOr<std::optional<PolicySnapshot>> SessionLearner::Update(const Interrupt& interrupt) {
  // A step that must wait says so in descent().
  if (descent_.has_value() && !descent_->options().on_request) Step(interrupt).IgnoreError();
  ASSIGN_OR_RETURN(std::optional<PolicySnapshot> snapshot, MakePolicy(interrupt));
  if (snapshot.has_value()) next_update_ = merged_ + options_->update_interval;
  return snapshot;
}

absl::StatusOr<std::optional<PolicySnapshot>> SessionLearner::MakePolicy(const Interrupt& interrupt) {
  PolicySnapshot snapshot{version_ + 1, merged_, x_, parameters_version_, {}, std::nullopt, drifts_, nullptr};
  for (size_t c = 0; c < contexts_.size(); ++c) {
    ASSIGN_OR_RETURN(std::optional<ContextPolicy> policy,
                     contexts_[c].MakePolicy({problem_->contexts[c], RewardOf(c)}, interrupt));
    if (!policy.has_value()) return std::optional<PolicySnapshot>();
    snapshot.contexts.push_back(*std::move(policy));
  }
  if (options_->estimate.has_value()) {
    // What cannot be estimated yet is left out.
    absl::StatusOr<GradientEstimate> estimate = EstimateGradient(
        *problem_, Data(UsesTrajectories(options_->estimate->kind)), x_, *options_->estimate, interrupt);
    if (interrupt.Check().has_value()) return std::optional<PolicySnapshot>();
    if (estimate.ok()) snapshot.estimate = *std::move(estimate);
  }
  ++version_;
  if (!std::exchange(step_told_, true)) snapshot.step = step_;
  return std::optional(std::move(snapshot));
}

TransitionRules SessionLearner::Rules(size_t max_open_episodes) const {
  TransitionRules rules{{}, max_open_episodes, options_->num_features};
  for (size_t c = 0; c < contexts_.size(); ++c) {
    const ModelFrame& frame = contexts_[c].frame();
    rules.contexts.push_back(
        {frame.num_states, frame.num_actions, frame.available_actions, problem_->contexts[c].discount});
  }
  return rules;
}

SessionData SessionLearner::Data(bool trajectories) const {
  SessionData data{.eras = eras(),
                   .merged = merged_ - forgotten_,
                   .parameters = x_,
                   .parameters_version = parameters_version_,
                   .prior = options_->prior,
                   .observed = options_->route == Route::kObserved,
                   .keeps_trajectories = options_->trajectory_capacity > 0};
  for (size_t c = 0; c < contexts_.size(); ++c) {
    data.contexts.push_back(contexts_[c].Counts());
    data.log_policies.push_back(contexts_[c].ModelFreeLogPolicy().value_or(Vector()));
    data.scores.push_back(contexts_[c].LearnedScore(*problem_->contexts[c].mdp).value_or(RowMatrix()));
  }
  if (trajectories) data.trajectories.assign(trajectories_.held().begin(), trajectories_.held().end());
  return data;
}

std::vector<uint32_t> SessionLearner::eras() const {
  std::vector<uint32_t> eras;
  for (const ContextLearner& context : contexts_) eras.push_back(context.era());
  return eras;
}

uint64_t SessionLearner::dropped() const {
  uint64_t dropped = 0;
  for (const ContextLearner& context : contexts_) dropped += context.dropped();
  return dropped;
}

double SessionLearner::MaxBytes(const BilevelProblem& problem, const SessionLearnerOptions& options) {
  double bytes = TrajectoryStore::MaxBytes(options.trajectory_capacity);
  for (const Context& context : problem.contexts) bytes += ContextLearner::MaxBytes(context, options);
  return bytes;
}

}  // namespace bilevel
