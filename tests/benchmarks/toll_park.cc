#include "tests/benchmarks/toll_park.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "tests/support/random_problem.h"
#include "tests/support/watched_follower.h"

namespace bilevel {
namespace {

using testing::WatchedFollower;

constexpr double kLongest = 0.05;

double Sigmoid(double z) { return 1 / (1 + std::exp(-z)); }

// W exp(W) = z by Newton's method on W + log W = log z.
double LambertW(double log_z) {
  double w = 1;
  for (int i = 0; i < 50; ++i) w -= (w + std::log(w) - log_z) / (1 + 1 / w);
  return w;
}

// Worth of the rides to who is inside, at this price.
double RidesValue(double ride) {
  using P = TollPark;
  const double one = P::kTemperature * std::log1p(std::exp((P::kWorth - ride) / P::kTemperature));
  return one + P::kDiscount * one;
}

}  // namespace

BilevelProblem TollPark::Problem() {
  constexpr int kStates = 3, kActions = 2;  // gate, first ride, second ride; take, leave
  testing::ContextNumbers context;
  TabularMdpSpec& mdp = context.mdp;
  mdp.num_states = kStates;
  mdp.num_actions = kActions;
  mdp.offsets = {0, 1, 1, 2, 3, 3, 3};
  mdp.columns = {1, 2, 2};
  mdp.probabilities = {1, 1, 1};
  mdp.termination_probability = Vector::Zero(6);
  mdp.termination_probability[1] = 1;
  mdp.termination_probability.tail(2).setOnes();
  mdp.initial_distribution = Vector::Unit(kStates, 0);
  context.discount = kDiscount;
  context.temperature = kTemperature;
  Eigen::MatrixXd price = Eigen::MatrixXd::Zero(6, 2);
  price(0, 0) = price(2, 1) = price(4, 1) = 1;
  context.reward.base = Vector::Zero(6);
  context.reward.base[2] = context.reward.base[4] = kWorth;
  context.reward.features = Eigen::MatrixXd(-price).sparseView();
  context.return_weight = 1;
  context.leader_reward.base = Vector::Zero(6);
  context.leader_reward.features = price.sparseView();
  testing::ProblemNumbers numbers;
  numbers.num_parameters = 2;
  numbers.sense = Sense::kMaximize;
  numbers.contexts.push_back(std::move(context));
  BilevelProblem problem = testing::Build(numbers);
  problem.feasible_set =
      *FeasibleSet::Create(2, {{2, Box{Vector::Constant(2, kLowest), Vector::Constant(2, kHighest)}}});
  return problem;
}

Vector TollPark::Start() { return Eigen::Vector2d(3, 2); }

double TollPark::Revenue(double gate, double ride) {
  const double taken = Sigmoid((kWorth - ride) / kTemperature);
  const double enter = Sigmoid((kDiscount * RidesValue(ride) - gate) / kTemperature);
  return enter * (gate + kDiscount * (1 + kDiscount) * taken * ride);
}

Vector TollPark::Optimum() {
  return Eigen::Vector2d(kTemperature * (1 + LambertW(kDiscount * RidesValue(0) / kTemperature - 1)), 0);
}

GradientParts ExactParts(const BilevelProblem& problem, const Vector& x) {
  const WatchedFollower follower(problem, x);
  const Vector& rho = follower.mdp().initial_distribution();
  const Context& context = problem.contexts[0];
  // Rewards are linear in x and the map is the identity: features are parameters.
  return {.objective = follower.point().objective,
          .exploitation = follower.expected().exploitation.value.transpose() * rho,
          .exploration = follower.expected().exploration.value.transpose() * rho / context.temperature};
}

GradientParts SampledParts(const BilevelProblem& problem, const Vector& x, int trajectories, Rng& rng) {
  const WatchedFollower follower(problem, x);
  const SampledGradient found =
      EstimateFromTrajectories(follower.Model(follower.leader_value()), follower.Draw(trajectories, {}, rng),
                               Horizon::Kind::kGeometric, TrajectoryEstimator::kRewardToGo);
  return {.objective = found.objective, .exploitation = found.exploitation, .exploration = found.exploration};
}

AscentPath Ascend(const BilevelProblem& problem, const std::function<GradientParts(const Vector&)>& parts,
                  const std::function<Vector(const GradientParts&)>& choose, double step, double shortest,
                  int most_steps) {
  AscentPath path;
  Vector x = TollPark::Start();
  for (int k = 0; k <= most_steps; ++k) {
    const GradientParts at = parts(x);
    path.points.push_back(x);
    path.cosines.push_back(at.cosine());
    const Vector d = choose(at);
    const Vector next = problem.feasible_set.Project(x + std::min(step, kLongest / d.norm()) * d);
    const double moved = (next - x).norm();
    x = next;
    if (moved < shortest) break;
  }
  return path;
}

}  // namespace bilevel
