#include "tests/support/watched_follower.h"

#include <utility>

namespace bilevel::testing {

WatchedFollower::WatchedFollower(BilevelProblem problem, const Vector& x)
    : problem_(std::move(problem)),
      x_(x),
      theta_(problem_.map.Apply(x)),
      world_(problem_, 0, PolicySystem::Kind::kDirect),
      simulator_(world_.mdp()),
      point_(*HypergradientEvaluator(problem_, {}).Evaluate(x, {})) {
  world_.system().SetPolicy(pi());
  const PolicyInput policy{world_.mdp(), pi(), world_.system(), 1e-13, interrupt_};
  gradient_ = SolveValueGradient(policy, context().discount, context().reward.GradientFeatures());
  leader_ = EvaluatePolicy(policy, context().discount, leader().reward.Evaluate(x_, theta_), nullptr);
}

TrajectoryModel WatchedFollower::Model(const Vector& leader_value, const RowMatrix& score) const {
  return {.map = problem_.map,
          .x = x_,
          .reward = context().reward,
          .temperature = context().temperature,
          .score = score,
          .leader_reward = leader().reward,
          .leader_discount = context().discount,
          .leader_value = leader_value,
          .leader_advantage = leader_.advantage,
          .num_actions = mdp().num_actions()};
}

RowMatrix WatchedFollower::OneStepScore() const {
  RowMatrix score = context().reward.GradientFeatures();
  const int A = mdp().num_actions();
  for (int s = 0; s < mdp().num_states(); ++s) {
    const Eigen::Index first = Eigen::Index{s} * A;
    const Eigen::RowVectorXd mean = pi().segment(first, A).transpose() * score.middleRows(first, A);
    for (int a = 0; a < A; ++a) {
      if (mdp().available(first + a)) {
        score.row(first + a) -= mean;
      } else {
        score.row(first + a).setZero();
      }
    }
  }
  return score;
}

Trajectory WatchedFollower::DrawOne(const Horizon& horizon, Rng& rng) const {
  const int start = simulator_.DrawStart(rng);
  return Roll(simulator_, pi(), mdp().num_actions(), start, horizon, context().discount, rng);
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
