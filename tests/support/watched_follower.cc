#include "tests/support/watched_follower.h"

#include <utility>

#include "core/streaming/estimated_model.h"

namespace bilevel::testing {

WatchedFollower::WatchedFollower(BilevelProblem problem, const Vector& x)
    : problem_(std::move(problem)),
      x_(x),
      theta_(problem_.map.Apply(x)),
      simulator_(mdp()),
      features_(context().reward.GradientFeatures()),
      point_(*HypergradientEvaluator(problem_, {}).Evaluate(x, {})),
      critic_(AskModel(mdp())) {}

TabularMdp WatchedFollower::ModelOf(const std::vector<Trajectory>& trajectories) const {
  const auto state_of = [&](int64_t row) { return static_cast<int>(row / mdp().num_actions()); };
  TransitionCounts counts(mdp().num_states(), mdp().num_rows(), 1'000'000);
  for (const Trajectory& trajectory : trajectories) {
    for (size_t t = 0; t + 1 < trajectory.rows.size(); ++t) {
      counts.AddStep(trajectory.rows[t], state_of(trajectory.rows[t + 1]));
    }
    if (trajectory.terminated) {
      counts.AddTermination(trajectory.rows.back());
    } else {
      counts.AddStep(trajectory.rows.back(), trajectory.final_state);
    }
  }
  ModelFrame frame{mdp().num_states(), mdp().num_actions(), {}, mdp().initial_distribution()};
  for (Eigen::Index row = 0; row < mdp().num_rows(); ++row) {
    frame.available_actions.push_back(mdp().available(row) ? 1 : 0);
  }
  return EstimateModel(frame, counts.Sorted(), ModelPrior())->mdp;
}

ModelCritic WatchedFollower::AskModel(const TabularMdp& model, const RowMatrix* used) const {
  return bilevel::AskModel(model, pi(), context(), leader(), LeaderReward(), used, PolicySystem::Kind::kDirect, {});
}

TrajectoryModel WatchedFollower::Model(const Vector& leader_value, const RowMatrix& score) const {
  return {.map = problem_.map,
          .x = x_,
          .reward = context().reward,
          .temperature = context().temperature,
          .score = score,
          .leader_reward = leader().reward,
          .leader_discount = leader_discount(),
          .leader_value = leader_value,
          .leader_advantage = expected().leader.advantage,
          .num_actions = mdp().num_actions()};
}

TrajectoryModel WatchedFollower::ModelWithBias() const {
  TrajectoryModel model = Model(leader_value());
  model.expected = &expected();
  return model;
}

TrajectoryModel WatchedFollower::ModelWithControl() const {
  TrajectoryModel model = ModelWithBias();
  model.control_variate = true;
  model.initial_distribution = critic_.initial;
  return model;
}

RowMatrix WatchedFollower::OneStepScore() const { return bilevel::OneStepScore(mdp(), pi(), features_); }

Vector WatchedFollower::BiasOf(const RowMatrix& score) const {
  return ScoreBias(Model(leader_value()), score, critic_.visits);
}

Trajectory WatchedFollower::DrawOne(const Horizon& horizon, Rng& rng) const {
  const int start = simulator_.DrawStart(rng);
  return Roll(simulator_, pi(), mdp().num_actions(), start, horizon, leader_discount(), rng);
}

std::vector<Trajectory> WatchedFollower::Draw(int count, const Horizon& horizon, Rng& rng) const {
  std::vector<Trajectory> trajectories;
  for (int i = 0; i < count; ++i) trajectories.push_back(DrawOne(horizon, rng));
  return trajectories;
}

std::vector<Trajectory> WatchedFollower::DrawTransitions(int64_t transitions, Rng& rng) const {
  std::vector<Trajectory> trajectories;
  while (transitions > 0 || trajectories.size() < 2) {
    trajectories.push_back(DrawOne({}, rng));
    transitions -= static_cast<int64_t>(trajectories.back().rows.size());
  }
  return trajectories;
}

}  // namespace bilevel::testing
