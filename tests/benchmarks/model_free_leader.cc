#include "tests/benchmarks/model_free_leader.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "core/solvers/shares_chart.h"
#include "core/solvers/stochastic_descent.h"
#include "core/streaming/one_step_score.h"
#include "core/streaming/simulator.h"
#include "core/streaming/trajectory_gradient.h"

namespace bilevel {
namespace {

class ModelFreeLeader {
 public:
  ModelFreeLeader(const BilevelProblem& problem, const Vector& start, const ModelFreeOptions& options)
      : options_(options),
        chart_(*SharesChart::Create(problem)),
        problem_(options.in_shares ? chart_.problem() : problem),
        context_(problem_.contexts[0]),
        leader_(std::get<LeaderReturn>(context_.objective[0].measure)),
        leader_discount_(leader_.discount.value_or(context_.discount)),
        simulator_(*context_.mdp),
        features_(context_.reward.GradientFeatures()),
        critics_({*context_.mdp, context_.discount, leader_discount_, features_}, CriticsOptions(options)),
        seen_(options.ring),
        descent_(problem_, options.in_shares ? chart_.ToShares(start) : start,
                 {.first_step = options.first_step, .gradient_tolerance = 0, .max_steps = options.outer_steps + 1}),
        world_(options.seed, 1),
        replay_(options.seed, 2) {}

  ModelFreeProgress Step(const Interrupt& interrupt) {
    const int64_t k = progress_.steps++;
    progress_.temperature = Temperature(k);
    const Vector z = descent_.x(), p = problem_.map.Apply(z);
    critics_.MoveTo(context_.reward.Evaluate(z, p), leader_.reward.Evaluate(z, p), progress_.temperature);
    const std::vector<Trajectory> episodes = Watch();
    critics_.Learn(seen_, replay_, interrupt);
    progress_.objective = Objective(episodes);
    if (k >= options_.warm_up) descent_.Take(Estimate(z, episodes));
    Average();
    progress_.x = options_.in_shares ? chart_.FromShares(average_) : average_;
    return progress_;
  }

 private:
  static ReplayCriticsOptions CriticsOptions(const ModelFreeOptions& options) {
    ReplayCriticsOptions critics = options.critics;
    if (options.truncated) critics.gradient_sample = 0;
    return critics;
  }

  double Temperature(int64_t k) const {
    const double length = options_.continuation_share * (options_.outer_steps - options_.warm_up);
    const double done = std::clamp(static_cast<double>(k - options_.warm_up) / length, 0.0, 1.0);
    return context_.temperature * std::pow(options_.first_temperature_factor, 1 - done);
  }

  // Of the iterates since there is something to average.
  void Average() {
    const bool averaging = static_cast<double>(progress_.steps) > (1 - options_.averaged_share) * options_.outer_steps;
    averaged_ = averaging ? averaged_ + 1 : 1;
    average_ =
        averaged_ == 1 ? descent_.x() : Vector(average_ + (descent_.x() - average_) / static_cast<double>(averaged_));
  }

  // This step's episodes of the follower; they and the walker's steps go into the ring.
  std::vector<Trajectory> Watch() {
    const int num_actions = context_.mdp->num_actions();
    const auto wanted = static_cast<double>(progress_.steps * options_.transitions_per_step);
    std::vector<Trajectory> episodes;
    while (episodes.size() < 2 || static_cast<double>(followed_) < options_.follower_share * wanted) {
      episodes.push_back(
          Roll(simulator_, critics_.pi(), num_actions, simulator_.DrawStart(world_), {}, leader_discount_, world_));
      const Trajectory& episode = episodes.back();
      for (size_t t = 0; t < episode.rows.size(); ++t) {
        const bool last = t + 1 == episode.rows.size();
        Add(episode.rows[t], last ? episode.final_state : static_cast<int>(episode.rows[t + 1] / num_actions));
      }
      followed_ += static_cast<int64_t>(episode.rows.size());
    }
    while (static_cast<double>(progress_.transitions) < wanted) Walk();
    return episodes;
  }

  void Walk() {
    if (walker_ < 0 || walked_ == options_.longest_walk) {
      walker_ = simulator_.DrawStart(world_);
      walked_ = 0;
    }
    const int num_actions = context_.mdp->num_actions();
    const int64_t row = int64_t{walker_} * num_actions + static_cast<int64_t>(world_.Below(num_actions));
    walker_ = simulator_.DrawNext(row, world_);
    ++walked_;
    Add(row, walker_);
  }

  void Add(int64_t row, int next) {
    seen_.Add({static_cast<int32_t>(row), next});
    ++progress_.transitions;
  }

  // By the critic, from where this step's episodes began.
  double Objective(const std::vector<Trajectory>& episodes) const {
    const Vector value = critics_.LeaderValue();
    double sum = 0;
    for (const Trajectory& episode : episodes) sum += value[episode.rows.front() / context_.mdp->num_actions()];
    return sum / static_cast<double>(episodes.size());
  }

  GradientSample Estimate(const Vector& z, const std::vector<Trajectory>& episodes) const {
    const RowMatrix score =
        options_.truncated ? OneStepScore(*context_.mdp, critics_.pi(), features_) : critics_.Score();
    const SampledGradient found =
        EstimateFromTrajectories({.map = problem_.map,
                                  .x = z,
                                  .reward = context_.reward,
                                  .temperature = progress_.temperature,
                                  .score = score,
                                  .leader_reward = leader_.reward,
                                  .leader_discount = leader_discount_,
                                  .leader_value = {},
                                  .leader_advantage = critics_.LeaderAdvantage(),
                                  .num_actions = context_.mdp->num_actions()},
                                 episodes, Horizon::Kind::kGeometric, TrajectoryEstimator::kCritic);
    return {.objective = progress_.objective,
            .objective_standard_error = 0,
            .gradient = found.mean(),
            .standard_error = found.standard_error,
            .previous = {},
            .innovation_standard_error = {}};
  }

  ModelFreeOptions options_;
  SharesChart chart_;
  const BilevelProblem& problem_;  // over shares, or over x
  const Context& context_;
  const LeaderReturn& leader_;
  double leader_discount_;
  Simulator simulator_;
  SparseRows features_;  // grad r
  ReplayCritics critics_;
  Replay<ReplayedStep> seen_;
  StochasticDescent descent_;
  Rng world_, replay_;
  ModelFreeProgress progress_;
  Vector average_;  // of iterates
  int64_t averaged_ = 0;
  int64_t followed_ = 0;  // transitions of the follower
  int walker_ = -1, walked_ = 0;
};

}  // namespace

Vector AscendModelFree(const BilevelProblem& problem, const Vector& start, const ModelFreeOptions& options,
                       const std::function<void(const ModelFreeProgress&)>& report, const Interrupt& interrupt) {
  ModelFreeLeader leader(problem, start, options);
  Vector x = start;
  for (int k = 0; k < options.outer_steps && !interrupt.Check().has_value(); ++k) {
    const ModelFreeProgress progress = leader.Step(interrupt);
    x = progress.x;
    report(progress);
  }
  return x;
}

}  // namespace bilevel
