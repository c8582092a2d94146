#include "core/streaming/sampled_follower.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "core/streaming/estimated_model.h"
#include "core/streaming/model_critic.h"
#include "core/streaming/one_step_score.h"

namespace bilevel {
namespace {

constexpr uint64_t kMaxDistinct = 10'000'000;

absl::Status Interrupted() { return absl::CancelledError("interrupted between samples"); }

absl::Status CheckProblem(const BilevelProblem& problem) {
  const auto refuse = [](const char* what) { return absl::FailedPreconditionError(what); };
  if (problem.contexts.size() != 1) return refuse("a sampled follower has one context");
  const Context& context = problem.contexts[0];
  if (context.dynamics.has_value()) return refuse("a sampled follower's dynamics must not depend on x");
  if (context.objective.size() != 1 || !std::holds_alternative<LeaderReturn>(context.objective[0].measure)) {
    return refuse("a sampled follower's objective is one leader_return term");
  }
  if (std::get<LeaderReturn>(context.objective[0].measure).initial.size() != 0) {
    return refuse("a sampled follower's leader_return starts where the environment does");
  }
  return absl::OkStatus();
}

absl::Status CheckOptions(const SampledFollowerOptions& options) {
  using Options = SampledFollowerOptions;
  if (!(options.cap > 0)) return FieldError("cap", absl::StrCat("is ", ToText(options.cap), "; must be > 0"));
  if (options.critic == Options::Critic::kLearned && options.answer != Options::Answer::kSoftQ) {
    return FieldError("critic", "is learned together with a soft Q answer alone");
  }
  if (options.critic == Options::Critic::kLearned && options.estimator == TrajectoryEstimator::kCritic) {
    return FieldError("critic", "is learned, which knows no advantage of the leader's; the estimator wants it");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SampledFollower> SampledFollower::Create(const BilevelProblem& problem,
                                                        const SampledFollowerOptions& options) {
  RETURN_IF_ERROR(CheckProblem(problem));
  RETURN_IF_ERROR(CheckOptions(options));
  return SampledFollower(problem, options);
}

SampledFollower::SampledFollower(const BilevelProblem& problem, const SampledFollowerOptions& options)
    : problem_(&problem),
      options_(options),
      weight_(context().weight * context().objective[0].weight),
      rng_(options.seed),
      simulator_(mdp()),
      system_(std::make_unique<PolicySystem>(mdp(), PolicySystem::Kind::kDirect)) {
  if (options.answer == SampledFollowerOptions::Answer::kSoftQ) {
    const bool gradient = options.critic == SampledFollowerOptions::Critic::kLearned;
    learner_.emplace(mdp().num_states(), mdp().num_actions(), context().discount, context().temperature,
                     Vector::Zero(mdp().num_rows()),
                     gradient ? context().reward.GradientFeatures() : SparseRows(mdp().num_rows(), 0), options.soft_q);
  }
  if (options.critic == SampledFollowerOptions::Critic::kEstimatedModel) {
    counts_.emplace(mdp().num_states(), mdp().num_rows(), kMaxDistinct);
  }
}

absl::Status SampledFollower::Solve(const Vector& reward, double residual, const Interrupt& interrupt, Point& point) {
  const RegularizedMdp follower{&mdp(), reward, {}, context().discount, context().temperature};
  LowerLevelOptions options;
  options.residual_tolerance = residual;
  options.refuse_unreachable = false;
  options.method = LowerLevelMethod::kSweeps;
  ASSIGN_OR_RETURN(const LowerLevelSolution solution, SolveLowerLevel(follower, options, value_, interrupt, *system_));
  if (solution.termination.reason != StopReason::kConverged) return Interrupted();
  value_ = solution.value;
  point.pi = solution.backup.pi;
  point.log_pi = solution.backup.log_pi;
  return absl::OkStatus();
}

std::vector<uint8_t> SampledFollower::Available(int state) const {
  std::vector<uint8_t> available;
  for (int a = 0; a < mdp().num_actions() && !mdp().all_available(); ++a) {
    available.push_back(mdp().available(Eigen::Index{state} * mdp().num_actions() + a) ? 1 : 0);
  }
  return available;
}

absl::Status SampledFollower::Learn(int64_t sweeps, SoftQLearner* before, const Interrupt& interrupt) {
  const int num_actions = mdp().num_actions();
  for (int64_t sweep = 0; sweep < sweeps; ++sweep) {
    if (interrupt.Check().has_value()) return Interrupted();
    for (Eigen::Index row = 0; row < mdp().num_rows(); ++row) {
      if (!mdp().available(row)) continue;
      const int next = simulator_.DrawNext(row, rng_);
      const int state = std::max(next, 0);
      const std::array<Feature, 1> from{{{static_cast<uint32_t>(row / num_actions), 1}}};
      const std::array<Feature, 1> to{{{static_cast<uint32_t>(state), 1}}};
      const std::vector<uint8_t> available = Available(state);
      const LearnedStep step{from, static_cast<int>(row % num_actions), row, to, available, next == Simulator::kEnded};
      learner_->Learn(step);
      if (before != nullptr) before->Learn(step);
      ++learned_;
    }
  }
  return absl::OkStatus();
}

void SampledFollower::SetPolicy(const SoftQLearner& learner, Point& point) const {
  point.pi = point.log_pi = Vector::Zero(mdp().num_rows());
  for (int state = 0; state < mdp().num_states(); ++state) {
    const std::array<Feature, 1> at{{{static_cast<uint32_t>(state), 1}}};
    const Vector q = learner.ActionValues(at, Available(state)) / context().temperature;
    const double soft_value = q.maxCoeff() + std::log((q.array() - q.maxCoeff()).exp().sum());
    for (int a = 0; a < mdp().num_actions(); ++a) {
      const Eigen::Index row = Eigen::Index{state} * mdp().num_actions() + a;
      if (!mdp().available(row)) continue;
      point.log_pi[row] = q[a] - soft_value;
      point.pi[row] = std::exp(point.log_pi[row]);
    }
  }
}

absl::StatusOr<TabularMdp> SampledFollower::EstimatedMdp(const Point& point, const SampleEffort& effort,
                                                         const Interrupt& interrupt) {
  if (counts_->total() == 0) {
    ASSIGN_OR_RETURN(const auto trajectories, Draw(point.pi, effort.trajectories, interrupt));
    Count(trajectories);
  }
  ModelFrame frame{mdp().num_states(), mdp().num_actions(), {}, mdp().initial_distribution()};
  for (Eigen::Index row = 0; row < mdp().num_rows() && !mdp().all_available(); ++row) {
    frame.available_actions.push_back(mdp().available(row) ? 1 : 0);
  }
  ASSIGN_OR_RETURN(EstimatedModel model, EstimateModel(frame, counts_->Sorted(), {}));
  return std::move(model.mdp);
}

void SampledFollower::AddCritics(const TabularMdp& model, const SoftQLearner* learner, const Interrupt& interrupt,
                                 Point& point) const {
  if (options_.critic == SampledFollowerOptions::Critic::kLearned) {
    point.score = CenteredScore(mdp(), point.pi, learner->gradient().weights());
    return;
  }
  const Vector cost = leader().reward.Evaluate(point.x, problem_->map.Apply(point.x));
  ModelCritic critic =
      AskModel(model, point.pi, context(), leader(), cost, nullptr, PolicySystem::Kind::kDirect, interrupt);
  point.score = std::move(critic.gradient.advantage);
  point.leader_value = std::move(critic.expected.leader.value);
  point.leader_advantage = std::move(critic.expected.leader.advantage);
}

absl::StatusOr<std::vector<Trajectory>> SampledFollower::Draw(const Vector& pi, int64_t count,
                                                              const Interrupt& interrupt) {
  std::vector<Trajectory> trajectories;
  for (int64_t i = 0; i < count; ++i) {
    if (interrupt.Check().has_value()) return Interrupted();
    trajectories.push_back(
        Roll(simulator_, pi, mdp().num_actions(), simulator_.DrawStart(rng_), {}, leader_discount(), rng_));
    acted_ += static_cast<int64_t>(trajectories.back().rows.size());
  }
  return trajectories;
}

void SampledFollower::Count(const std::vector<Trajectory>& trajectories) {
  for (const Trajectory& trajectory : trajectories) {
    for (size_t t = 0; t < trajectory.rows.size(); ++t) {
      const bool last = t + 1 == trajectory.rows.size();
      if (last && trajectory.terminated) {
        counts_->AddTermination(trajectory.rows[t]);
      } else {
        counts_->AddStep(trajectory.rows[t], last ? trajectory.final_state
                                                  : static_cast<int>(trajectory.rows[t + 1] / mdp().num_actions()));
      }
    }
  }
}

TrajectoryModel SampledFollower::ModelAt(const Point& point) const {
  return {.map = problem_->map,
          .x = point.x,
          .reward = context().reward,
          .temperature = context().temperature,
          .score = point.score,
          .leader_reward = leader().reward,
          .leader_discount = leader_discount(),
          .leader_value = point.leader_value,
          .leader_advantage = point.leader_advantage,
          .num_actions = mdp().num_actions(),
          .initial_distribution = {}};
}

Vector SampledFollower::Assemble(const Vector& gradient, const Vector& x) const {
  ParameterGradient total(x.size());
  total.x = weight_ * gradient;
  return problem_->AssembleGradient(total, x);
}

absl::StatusOr<GradientSample> SampledFollower::Sample(const Vector& x, double kept_share, const SampleEffort& effort,
                                                       const Interrupt& interrupt) {
  using Options = SampledFollowerOptions;
  auto point = std::make_unique<Point>();
  point->x = x;
  const bool paired = kept_share > 0 && last_ != nullptr;
  std::optional<SoftQLearner> before;
  if (options_.answer == Options::Answer::kSolved) {
    RETURN_IF_ERROR(Solve(RewardAt(x), effort.residual, interrupt, *point));
  } else {
    if (paired) {
      before = learner_;
      before->SetReward(RewardAt(last_->x));
    }
    learner_->SetReward(RewardAt(x));
    RETURN_IF_ERROR(Learn(effort.sweeps, paired ? &*before : nullptr, interrupt));
    SetPolicy(*learner_, *point);
    if (paired) SetPolicy(*before, *last_);
  }
  std::optional<TabularMdp> estimated;
  if (counts_.has_value()) {
    ASSIGN_OR_RETURN(estimated, EstimatedMdp(*point, effort, interrupt));
  }
  const TabularMdp& known = estimated.has_value() ? *estimated : mdp();
  AddCritics(known, learner_.has_value() ? &*learner_ : nullptr, interrupt, *point);
  if (paired && (before.has_value() || estimated.has_value())) {
    AddCritics(known, before.has_value() ? &*before : nullptr, interrupt, *last_);
  }
  ASSIGN_OR_RETURN(const auto trajectories, Draw(point->pi, std::max<int64_t>(2, effort.trajectories), interrupt));
  const TrajectoryModel model = ModelAt(*point);
  GradientSample sample;
  pair_.reset();
  if (paired) {
    const TrajectoryModel there = ModelAt(*last_);
    const Vector& log_pi_before = options_.weighted ? last_->log_pi : point->log_pi;
    pair_ = EstimatePair({model, point->log_pi}, {there, log_pi_before}, trajectories,
                         {.estimator = options_.estimator, .kept_share = kept_share, .cap = options_.cap});
    estimate_ = pair_->current;
    sample.previous = Assemble(pair_->previous, last_->x);
    sample.innovation_standard_error = std::abs(weight_) * pair_->innovation_standard_error;
  } else {
    estimate_ = EstimateFromTrajectories(model, trajectories, Horizon::Kind::kGeometric, options_.estimator);
  }
  if (counts_.has_value()) Count(trajectories);
  sample.objective = weight_ * estimate_.objective + problem_->PenaltyValue(x);
  sample.objective_standard_error = std::abs(weight_) * estimate_.objective_standard_error;
  sample.gradient = Assemble(estimate_.mean(), x);
  sample.standard_error = std::abs(weight_) * estimate_.standard_error;
  last_ = std::move(point);
  return sample;
}

}  // namespace bilevel
