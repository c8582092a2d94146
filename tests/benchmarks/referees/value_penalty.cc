#include "tests/benchmarks/referees/value_penalty.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <utility>

namespace bilevel::referees {
namespace {

constexpr int kMaxSteps = 1000;
constexpr double kSufficientDecrease = 1e-4;
constexpr int kMaxHalvings = 8;
constexpr double kRounding = 1e-13;  // relative, of the penalised objective
constexpr double kTiny = 1e-290;     // visits below this count as none

// sign * f - sigma V^pi at one policy, and what its derivatives are made of.
struct Penalised {
  SoftBackup policy;  // q and value are those of the policy itself, not of the next one
  ContextObjective f;
  Vector visits;            // d pi [S*A]
  Vector residual;          // e [S*A]
  double value = 0;         // V^pi at rho
  double merit = 0;         // sign * f - sigma V^pi
  double stationarity = 0;  // sqrt(sum d pi e^2 / sum d)
};

Penalised Evaluate(const ContextRequest& request, double sign, double sigma, Vector log_pi) {
  const RegularizedMdp& follower = request.follower;
  const TabularMdp& mdp = *follower.mdp;
  Penalised at;
  at.policy.pi = Vector::Zero(mdp.num_rows());
  for (Eigen::Index row = 0; row < mdp.num_rows(); ++row) {
    if (mdp.available(row)) at.policy.pi[row] = std::exp(log_pi[row]);
  }
  at.policy.log_pi = std::move(log_pi);
  request.system.SetPolicy(at.policy.pi);
  const PolicyInput input{mdp, at.policy.pi, request.system, request.options.adjoint_tolerance, request.interrupt};
  const Vector paid = follower.reward - follower.temperature * at.policy.log_pi;
  const PolicyValue soft = EvaluatePolicy(input, follower.discount, paid, nullptr);
  const Occupancy occupancy = EvaluateOccupancy(input, follower.discount, mdp.initial_distribution(), nullptr);
  at.policy.value = soft.value;
  at.f = EvaluateContextObjective(request.context, InputOf(request, {at.policy.value, at.policy}));
  assert(at.f.follower_value.size() == 0);
  at.visits = occupancy.visits;
  at.value = mdp.initial_distribution().dot(soft.value);
  at.merit = sign * at.f.value - sigma * at.value;

  const Vector y = sign * CenterCotangent(mdp, at.policy.pi, at.f.y);
  at.residual = Vector::Zero(mdp.num_rows());
  for (Eigen::Index row = 0; row < mdp.num_rows(); ++row) {
    if (!mdp.available(row)) continue;
    at.residual[row] = soft.advantage[row] - (at.visits[row] > kTiny ? y[row] / (sigma * at.visits[row]) : 0);
  }
  at.stationarity = std::sqrt(at.visits.dot(at.residual.cwiseAbs2()) / occupancy.states.sum());
  return at;
}

// log pi + step, each state's probabilities summing to one; 0 where unavailable.
Vector Normalise(const TabularMdp& mdp, const Vector& logits) {
  Vector log_pi = Vector::Zero(logits.size());
  for (Eigen::Index first = 0; first < logits.size(); first += mdp.num_actions()) {
    double top = -std::numeric_limits<double>::infinity(), sum = 0;
    for (Eigen::Index row = first; row < first + mdp.num_actions(); ++row) {
      if (mdp.available(row)) top = std::max(top, logits[row]);
    }
    for (Eigen::Index row = first; row < first + mdp.num_actions(); ++row) {
      if (mdp.available(row)) sum += std::exp(logits[row] - top);
    }
    for (Eigen::Index row = first; row < first + mdp.num_actions(); ++row) {
      if (mdp.available(row)) log_pi[row] = logits[row] - top - std::log(sum);
    }
  }
  return log_pi;
}

// Moves `at` along log pi + t * direction, t = 1, 1/2, ..: until the merit falls, or where its differences drown in
// rounding, the residual. False when neither does.
bool Descend(const ContextRequest& request, double sign, double sigma, const Vector& direction, Penalised& at) {
  const double slope = -sigma * at.visits.cwiseProduct(at.residual).dot(direction);
  const bool rounding = -slope <= kRounding * (1 + std::abs(at.merit));
  for (int halvings = 0; halvings <= kMaxHalvings; ++halvings) {
    const double t = std::ldexp(1, -halvings);
    Penalised next = Evaluate(request, sign, sigma, Normalise(*request.follower.mdp, at.policy.log_pi + t * direction));
    if (rounding ? next.stationarity > (1 - t / 4) * at.stationarity
                 : !(next.merit <= at.merit + kSufficientDecrease * t * slope)) {
      continue;
    }
    at = std::move(next);
    return true;
  }
  return false;
}

// Returns the number of steps. Steps with some entries far too long are repeated with these cut short: along them the
// merit falls, too.
int Minimise(const ContextRequest& request, double sign, double sigma, Penalised& at) {
  int steps = 0;
  for (; steps < kMaxSteps && at.stationarity > 0; ++steps) {
    const Vector direction = at.residual / request.follower.temperature;
    if (!Descend(request, sign, sigma, direction, at) &&
        !Descend(request, sign, sigma, direction.cwiseMax(-1).cwiseMin(1), at)) {
      break;
    }
  }
  return steps;
}

// Adds weight * grad V^pi at rho, the policy held fixed.
void AddValueGradient(const ContextRequest& request, double weight, const Penalised& at, ParameterGradient& gradient) {
  const Vector lambda = weight * at.visits;
  AddThroughReward(request, lambda, gradient);
  AddThroughDynamics(request, lambda, at.policy.value, gradient);
  if (request.context.dynamics.has_value()) {
    request.context.dynamics->AddPullback(*request.follower.mdp, weight, {{}, {}, at.policy.value}, gradient.theta);
  }
}

}  // namespace

PenaltyGradient DifferentiatePenalty(const BilevelProblem& problem, const Vector& x, double sigma) {
  PenaltyGradient result;
  const double sign = problem.sign();
  result.gradient = SumOverContexts(problem, x, [&](const ContextRequest& request) {
    const Penalised answer = Evaluate(request, sign, sigma, SolveFollower(request).backup.log_pi);
    Penalised at = answer;
    result.steps += Minimise(request, sign, sigma, at);
    result.stationarity = std::max(result.stationarity, at.stationarity);
    ContextShare share{at.f.value + sign * sigma * (answer.value - at.value), std::move(at.f.direct),
                       ParameterGradient(x.size())};
    AddValueGradient(request, sign * sigma, answer, share.implicit);
    AddValueGradient(request, -sign * sigma, at, share.implicit);
    return share;
  });
  return result;
}

}  // namespace bilevel::referees
