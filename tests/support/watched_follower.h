// A follower at one x whose world is known: its exact answer, and trajectories of it to estimate from.

#ifndef BILEVEL_TESTS_SUPPORT_WATCHED_FOLLOWER_H_
#define BILEVEL_TESTS_SUPPORT_WATCHED_FOLLOWER_H_

#include <vector>

#include "core/hypergradient/hypergradient.h"
#include "core/streaming/continuations.h"
#include "core/streaming/model_critic.h"
#include "core/streaming/one_step_score.h"

namespace bilevel::testing {

// Of a problem with one context, which has one term, the leader's return from the environment's initial distribution.
class WatchedFollower {
 public:
  WatchedFollower(BilevelProblem problem, const Vector& x);

  const BilevelProblem& problem() const { return problem_; }
  const Vector& x() const { return x_; }
  const TabularMdp& mdp() const { return *context().mdp; }
  const HypergradientPoint& point() const { return point_; }
  const Vector& pi() const { return point_.contexts[0].solution.backup.pi; }
  const ValueGradient& gradient() const { return critic_.gradient; }
  // At x [S*A].
  Vector Reward() const { return context().reward.Evaluate(x_, theta_); }
  Vector LeaderReward() const { return leader().reward.Evaluate(x_, theta_); }
  const Vector& leader_value() const { return critic_.expected.leader.value; }
  // Of the exact score.
  const ExpectedGradient& expected() const { return critic_.expected; }
  ExpectedGradient Expect(const RowMatrix& score) const { return AskModel(mdp(), &score).expected; }
  double leader_discount() const { return leader().discount.value_or(context().discount); }

  // grad r - E_pi grad r, the score cut to one step [S*A, d].
  RowMatrix OneStepScore() const;
  // The observed frequencies, initial distribution as it is; rows that were never seen stay where they are.
  TabularMdp ModelOf(const std::vector<Trajectory>& trajectories) const;
  // What a model says of the follower's policy, where estimators use its own score or another.
  ModelCritic AskModel(const TabularMdp& model, const RowMatrix* used = nullptr) const;

  // Exact, of estimates with another score [n].
  Vector BiasOf(const RowMatrix& score) const;

  // leader_value: the baseline, or empty.
  TrajectoryModel Model(const Vector& leader_value) const { return Model(leader_value, gradient().advantage); }
  TrajectoryModel Model(const Vector& leader_value, const RowMatrix& score) const;
  // With V_u as baseline, what is expected for a bias, and as control variate.
  TrajectoryModel ModelWithBias() const;
  TrajectoryModel ModelWithControl() const;

  const Simulator& simulator() const { return simulator_; }
  Continuations continuations() const { return {simulator_, pi(), mdp().num_actions(), context().discount, features_}; }

  std::vector<Trajectory> Draw(int count, const Horizon& horizon, Rng& rng) const;
  // As many as it takes for this many transitions, two at least.
  std::vector<Trajectory> DrawTransitions(int64_t transitions, Rng& rng) const;

 private:
  const Context& context() const { return problem_.contexts[0]; }
  const LeaderReturn& leader() const { return std::get<LeaderReturn>(context().objective[0].measure); }
  Trajectory DrawOne(const Horizon& horizon, Rng& rng) const;

  BilevelProblem problem_;
  Vector x_, theta_;
  Simulator simulator_;
  SparseRows features_;  // grad r
  HypergradientPoint point_;
  ModelCritic critic_;
};

}  // namespace bilevel::testing

#endif  // BILEVEL_TESTS_SUPPORT_WATCHED_FOLLOWER_H_
