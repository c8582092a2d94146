#include "core/streaming/context_learner.h"

#include <cmath>
#include <utility>

#include "core/base/status_macros.h"
#include "core/mdp/policy_evaluation.h"
#include "core/streaming/follower_policy.h"
#include "core/streaming/one_step_score.h"

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

RegularizedMdp FollowerOf(const ContextSetting& setting, const EstimatedModel& model) {
  return {&model.mdp, setting.reward, {}, setting.context.discount, setting.context.temperature};
}

double BellmanResidual(const RegularizedMdp& follower, const Vector& value) {
  Vector backup;
  return SoftValueBackup(follower, value, backup).Size();
}

}  // namespace

ContextLearner::ContextLearner(const ContextSetting& setting, bool initial_known, const SessionLearnerOptions& options)
    : options_(&options),
      frame_(FrameOf(*setting.context.mdp, initial_known)),
      counts_(frame_.num_states, setting.context.mdp->num_rows(), options.max_distinct),
      replay_(options.replay_capacity) {
  const Eigen::Index rows = setting.context.mdp->num_rows();
  if (options.route == Route::kObserved) visits_ = Vector::Zero(rows);
  if (options.drift.has_value()) {
    drift_.emplace(frame_.num_states, frame_.num_actions, options.max_distinct, options.route == Route::kObserved);
  }
  if (options.route != Route::kSoftQ) return;
  const auto m = static_cast<int>(options.num_features);
  if (m > 0) features_ = RowMatrix::Zero(frame_.num_states, m);
  SparseRows gradient_features(rows, 0);
  if (options.learn_gradient) gradient_features = setting.context.reward.GradientFeatures();
  soft_q_.emplace(m > 0 ? m : frame_.num_states, frame_.num_actions, setting.context.discount,
                  setting.context.temperature, setting.reward, std::move(gradient_features), options.soft_q);
}

void ContextLearner::Learn(const Transition& transition, std::span<const double> features, bool newest, Rng& rng) {
  const bool ended = transition.kind == StepKind::kTerminated;
  const DriftWindow::Step counted{RowOf(transition.state, transition.action),
                                  ended ? frame_.num_states : transition.next_state,
                                  transition.begins && transition.walk == WalkKind::kNone, newest};
  Count(counted);
  if (visits_.size() != 0 && newest) visits_[counted.row] += 1;
  if (drift_.has_value()) drift_->Add(counted);
  if (!soft_q_.has_value()) return;
  if (const Eigen::Index m = features_.cols(); m > 0) {
    features_.row(transition.state) = Eigen::Map<const Eigen::RowVectorXd>(features.data(), m);
    if (!ended) features_.row(transition.next_state) = Eigen::Map<const Eigen::RowVectorXd>(features.data() + m, m);
  }
  const Remembered step{transition.state, transition.action, ended ? -1 : transition.next_state};
  LearnSoftQ(step);
  replay_.Add(step);
  for (int i = 0; i < options_->replay_draws; ++i) LearnSoftQ(replay_.Draw(rng));
}

void ContextLearner::Count(const DriftWindow::Step& step) {
  if (step.begins) counts_.AddStart(static_cast<int>(step.row / frame_.num_actions));
  if (step.column == frame_.num_states) {
    counts_.AddTermination(step.row);
  } else {
    counts_.AddStep(step.row, step.column);
  }
}

void ContextLearner::Move(const ContextSetting& setting) {
  if (soft_q_.has_value()) {
    if (options_->descent.has_value() && options_->descent->LearnsPairs()) previous_soft_q_ = soft_q_;
    soft_q_->SetReward(setting.reward);
  }
  visits_.setZero();
  if (drift_.has_value()) drift_->Move();
}

uint64_t ContextLearner::CloseWindow(bool transitions, bool policy) {
  const bool forget = !options_->drift->keep;
  const uint64_t counted = counts_.total();
  if (transitions && forget) {
    dropped_before_ += counts_.dropped();
    counts_ =
        TransitionCounts(frame_.num_states, int64_t{frame_.num_states} * frame_.num_actions, options_->max_distinct);
    replay_.Clear();
    for (std::optional<SoftQLearner>* learner : {&soft_q_, &previous_soft_q_}) {
      if (learner->has_value()) (*learner)->RestartSteps();
    }
    for (const DriftWindow::Step& step : drift_->window()) {
      Count(step);
      if (!soft_q_.has_value()) continue;
      replay_.Add({static_cast<int32_t>(step.row / frame_.num_actions),
                   static_cast<int32_t>(step.row % frame_.num_actions),
                   step.column == frame_.num_states ? -1 : step.column});
    }
  }
  if ((transitions || policy) && forget && visits_.size() != 0) {
    visits_.setZero();
    drift_->AddActed(visits_);
  }
  if ((transitions || policy) && forget) ++era_;
  drift_->Close(transitions, policy);
  return counted - counts_.total();
}

std::span<const uint8_t> ContextLearner::AvailableIn(int state) const {
  if (frame_.available_actions.empty()) return {};
  const auto actions = static_cast<size_t>(frame_.num_actions);
  return std::span(frame_.available_actions).subspan(static_cast<size_t>(state) * actions, actions);
}

Features ContextLearner::FeaturesOf(int state, std::vector<Feature>& buffer) const {
  buffer.clear();
  if (features_.cols() == 0) buffer.push_back({static_cast<uint32_t>(state), 1});
  for (Eigen::Index j = 0; j < features_.cols(); ++j) {
    if (features_(state, j) != 0) buffer.push_back({static_cast<uint32_t>(j), features_(state, j)});
  }
  return buffer;
}

void ContextLearner::LearnSoftQ(const Remembered& step) {
  const bool ended = step.next < 0;
  const int next = ended ? 0 : step.next;
  const LearnedStep learned{FeaturesOf(step.state, here_), step.action,       RowOf(step.state, step.action),
                            FeaturesOf(next, there_),      AvailableIn(next), ended};
  soft_q_->Learn(learned);
  if (previous_soft_q_.has_value()) previous_soft_q_->Learn(learned);
}

absl::StatusOr<std::optional<ContextPolicy>> ContextLearner::MakePolicy(const ContextSetting& setting,
                                                                        const Interrupt& interrupt) {
  ASSIGN_OR_RETURN(std::optional<ContextPolicy> policy, ReadPolicy(setting, interrupt));
  if (drift_.has_value() && policy.has_value()) drift_->OfferValue(policy->value);
  return policy;
}

absl::StatusOr<std::optional<ContextPolicy>> ContextLearner::ReadPolicy(const ContextSetting& setting,
                                                                        const Interrupt& interrupt) {
  ASSIGN_OR_RETURN(const EstimatedModel model, EstimateModel(frame_, counts_.Sorted(), options_->prior));
  switch (options_->route) {
    case Route::kSoftQ:
      return ReadSoftQ(setting, model, interrupt);
    case Route::kObserved:
      return ReadObserved(setting, model, interrupt);
    default:
      return SolveModel(setting, model, interrupt);
  }
}

absl::StatusOr<std::optional<ContextPolicy>> ContextLearner::SolveModel(const ContextSetting& setting,
                                                                        const EstimatedModel& model,
                                                                        const Interrupt& interrupt) {
  PolicySystem system(model.mdp, SystemKind(options_->lower_level, model.mdp));
  ASSIGN_OR_RETURN(LowerLevelSolution solution,
                   SolveLowerLevel(FollowerOf(setting, model), options_->lower_level, value_, interrupt, system));
  if (interrupt.Check().has_value()) return std::optional<ContextPolicy>();
  value_ = solution.value;
  return std::optional<ContextPolicy>({std::move(solution.backup.pi), std::move(solution.backup.log_pi),
                                       std::move(solution.value), solution.residual, model.unseen_rows});
}

std::optional<ContextPolicy> ContextLearner::ReadObserved(const ContextSetting& setting, const EstimatedModel& model,
                                                          const Interrupt& interrupt) const {
  ObservedPolicy seen = EstimateObservedPolicy(frame_, visits_, options_->observed_strength);
  PolicySystem system(model.mdp, SystemKind(options_->lower_level, model.mdp));
  system.SetPolicy(seen.pi);
  const RegularizedMdp follower = FollowerOf(setting, model);
  Vector with_entropy = follower.reward;
  for (Eigen::Index row = 0; row < with_entropy.size(); ++row) {
    if (seen.pi[row] > 0) with_entropy[row] -= follower.temperature * seen.log_pi[row];
  }
  const PolicyInput input{model.mdp, seen.pi, system, 1e-12, interrupt};
  PolicyValue value = EvaluatePolicy(input, follower.discount, with_entropy, nullptr);
  if (interrupt.Check().has_value()) return std::nullopt;
  const double residual = BellmanResidual(follower, value.value);
  return ContextPolicy{std::move(seen.pi), std::move(seen.log_pi), std::move(value.value), residual, model.unseen_rows};
}

std::optional<ContextPolicy> ContextLearner::ReadSoftQ(const ContextSetting& setting, const EstimatedModel& model,
                                                       const Interrupt& interrupt) const {
  const int S = frame_.num_states, A = frame_.num_actions;
  const double tau = setting.context.temperature;
  ContextPolicy policy{Vector::Zero(Eigen::Index{S} * A), Vector::Zero(Eigen::Index{S} * A), Vector(S), 0,
                       model.unseen_rows};
  std::vector<Feature> here;
  for (int s = 0; s < S; ++s) {
    if (interrupt.Check().has_value()) return std::nullopt;
    const Vector q = soft_q_->ActionValues(FeaturesOf(s, here), AvailableIn(s));
    const double highest = q.maxCoeff();
    policy.value[s] = highest + tau * std::log(((q.array() - highest) / tau).exp().sum());
    for (int a = 0; a < A; ++a) {
      if (std::isinf(q[a])) continue;
      const Eigen::Index row = RowOf(s, a);
      policy.log_pi[row] = (q[a] - policy.value[s]) / tau;
      policy.pi[row] = std::exp(policy.log_pi[row]);
    }
  }
  policy.residual = BellmanResidual(FollowerOf(setting, model), policy.value);
  return policy;
}

std::optional<Vector> ContextLearner::ModelFreeLogPolicy() const {
  if (options_->route == Route::kObserved) {
    const Vector pi = EstimateObservedPolicy(frame_, visits_, options_->observed_strength).pi;
    return pi.unaryExpr([](double entry) { return std::log(entry); });
  }
  if (!soft_q_.has_value()) return std::nullopt;
  return LogPolicyOf(*soft_q_);
}

Vector ContextLearner::PreviousLogPolicy() const {
  return previous_soft_q_.has_value() ? LogPolicyOf(*previous_soft_q_) : Vector();
}

Vector ContextLearner::LogPolicyOf(const SoftQLearner& learner) const {
  Vector log_pi(Eigen::Index{frame_.num_states} * frame_.num_actions);
  std::vector<Feature> here;
  for (int s = 0; s < frame_.num_states; ++s) {
    log_pi.segment(RowOf(s, 0), frame_.num_actions) = learner.LogPolicy(FeaturesOf(s, here), AvailableIn(s));
  }
  return log_pi;
}

std::optional<RowMatrix> ContextLearner::LearnedScore(const TabularMdp& mdp) const {
  if (!soft_q_.has_value() || !options_->learn_gradient) return std::nullopt;
  return ScoreOf(*soft_q_, mdp);
}

RowMatrix ContextLearner::PreviousScore(const TabularMdp& mdp) const {
  return previous_soft_q_.has_value() ? ScoreOf(*previous_soft_q_, mdp) : RowMatrix();
}

RowMatrix ContextLearner::ScoreOf(const SoftQLearner& learner, const TabularMdp& mdp) const {
  const LinearCritic& gradient = learner.gradient();
  RowMatrix q(mdp.num_rows(), gradient.dimension());
  std::vector<Feature> here;
  for (int s = 0; s < frame_.num_states; ++s) {
    const Features phi = FeaturesOf(s, here);
    for (int a = 0; a < frame_.num_actions; ++a) q.row(RowOf(s, a)) = gradient.Value(phi, a).transpose();
  }
  return CenteredScore(mdp, KnownPolicy(LogPolicyOf(learner)).pi, std::move(q));
}

double ContextLearner::MaxBytes(const Context& context, const SessionLearnerOptions& options) {
  constexpr double kNumber = sizeof(double);
  const double rows = static_cast<double>(context.mdp->num_rows());
  const double possible = (rows + 1) * (context.mdp->num_states() + 1.0);
  const double kept = std::min(static_cast<double>(options.max_distinct), possible);
  double bytes = static_cast<double>(TransitionCounts::MaxBytes(static_cast<uint64_t>(kept), context.mdp->num_rows()));
  // While a policy is made: sorted counts, the model, its systems, the policy.
  bytes += kept * 64 + rows * 12 * kNumber;
  if (options.drift.has_value()) {
    bytes += DriftWindow::MaxBytes(context.mdp->num_states(), context.mdp->num_rows(), kept,
                                   static_cast<double>(options.drift->window));
  }
  if (options.route != Route::kSoftQ) return bytes;
  const double d = options.learn_gradient ? static_cast<double>(context.reward.num_gradient_features()) : 0;
  const auto m = static_cast<double>(options.num_features);
  const double weights = m > 0 ? m * context.mdp->num_actions() : rows;
  const double learners = options.descent.has_value() && options.descent->LearnsPairs() ? 2 : 1;
  return bytes + learners * weights * (d + 4) * kNumber + m * context.mdp->num_states() * kNumber +
         static_cast<double>(options.replay_capacity) * sizeof(Remembered);
}

}  // namespace bilevel
