#include "tests/support/reference.h"

#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "Eigen/LU"

namespace bilevel::testing {
namespace {

bool Available(const TabularMdpSpec& mdp, Eigen::Index row) {
  return mdp.available_actions.empty() || mdp.available_actions[static_cast<size_t>(row)] != 0;
}

LongMatrix DenseTransitions(const TabularMdpSpec& mdp) {
  LongMatrix P = LongMatrix::Zero(Eigen::Index{mdp.num_states} * mdp.num_actions, mdp.num_states);
  for (Eigen::Index row = 0; row < P.rows(); ++row) {
    if (!Available(mdp, row)) continue;
    for (uint64_t k = mdp.offsets[row]; k < mdp.offsets[row + 1]; ++k) P(row, mdp.columns[k]) = mdp.probabilities[k];
  }
  return P;
}

// [S, S*A] matrix that sums over actions with the given weights.
LongMatrix ActionSum(const LongVector& weights, int num_actions) {
  LongMatrix sum = LongMatrix::Zero(weights.size() / num_actions, weights.size());
  for (Eigen::Index row = 0; row < weights.size(); ++row) sum(row / num_actions, row) = weights[row];
  return sum;
}

// Q, T V and the policy at V.
void Backup(const TabularMdpSpec& mdp, const LongVector& reward, long double gamma, long double tau,
            const LongVector& V, ReferenceSolution& solution, LongVector& backed_up) {
  const int A = mdp.num_actions;
  solution.q = reward + gamma * (solution.transitions * V);
  solution.pi = LongVector::Zero(reward.size());
  solution.log_pi = LongVector::Zero(reward.size());
  backed_up.resize(mdp.num_states);
  for (int s = 0; s < mdp.num_states; ++s) {
    long double largest = -std::numeric_limits<long double>::infinity(), sum = 0;
    for (int a = 0; a < A; ++a) {
      if (Available(mdp, Eigen::Index{s} * A + a)) largest = std::max(largest, solution.q[Eigen::Index{s} * A + a]);
    }
    for (int a = 0; a < A; ++a) {
      if (Available(mdp, Eigen::Index{s} * A + a))
        sum += std::exp((solution.q[Eigen::Index{s} * A + a] - largest) / tau);
    }
    backed_up[s] = largest + tau * std::log(sum);
    for (int a = 0; a < A; ++a) {
      const Eigen::Index row = Eigen::Index{s} * A + a;
      if (!Available(mdp, row)) {
        solution.q[row] = 0;
        continue;
      }
      solution.log_pi[row] = (solution.q[row] - largest) / tau - std::log(sum);
      solution.pi[row] = std::exp(solution.log_pi[row]);
    }
  }
}

LongVector Theta(const ProblemNumbers& numbers, const LongVector& x, LongMatrix& jacobian) {
  const Eigen::Index n = numbers.num_parameters;
  LongVector theta = x;
  jacobian = LongMatrix::Identity(n, n);
  Eigen::Index first = 0;
  for (const ParameterGroup& group : numbers.groups) {
    const long double scale = group.scale;
    long double normalizer = 0;
    for (Eigen::Index i = first; i < first + group.size; ++i) normalizer += std::exp(x[i]);
    for (Eigen::Index i = first; i < first + group.size; ++i) {
      switch (group.kind) {
        case MapKind::kIdentity:
          theta[i] = scale * x[i];
          jacobian(i, i) = scale;
          break;
        case MapKind::kSigmoid: {
          const long double p = 1 / (1 + std::exp(-x[i]));
          theta[i] = scale * p;
          jacobian(i, i) = scale * p * (1 - p);
          break;
        }
        case MapKind::kExp:
          theta[i] = jacobian(i, i) = scale * std::exp(x[i]);
          break;
        case MapKind::kTanh:
          theta[i] = scale * std::tanh(x[i]);
          jacobian(i, i) = scale * (1 - std::tanh(x[i]) * std::tanh(x[i]));
          break;
        case MapKind::kSoftmax:
          theta[i] = scale * std::exp(x[i]) / normalizer;
          for (Eigen::Index j = first; j < first + group.size; ++j) {
            const long double pi = std::exp(x[i]) / normalizer, pj = std::exp(x[j]) / normalizer;
            jacobian(i, j) = scale * pi * ((i == j ? 1 : 0) - pj);
          }
          break;
      }
    }
    first += group.size;
  }
  return theta;
}

// r(x) and dr/dx [S*A, n].
LongVector RewardAt(const ParametricRewardSpec& reward, const LongVector& x, const LongVector& theta,
                    const LongMatrix& jacobian, LongMatrix& derivative) {
  LongVector r = reward.base.cast<long double>();
  derivative = LongMatrix::Zero(r.size(), x.size());
  const LongMatrix features = Eigen::MatrixXd(reward.features).cast<long double>();
  r += features * theta;
  derivative += features * jacobian;
  if (reward.coefficient.size() != 0) {
    const LongMatrix M = reward.matrix.cast<long double>();
    const LongVector coefficient = reward.coefficient.cast<long double>();
    // Large parts that cancel between M and its transpose do so before they are multiplied.
    const LongMatrix twice = M + M.transpose();
    r += x.dot(twice * x) / 2 * coefficient;
    derivative += coefficient * (twice * x).transpose();
  }
  return r;
}

// P(x), rho(x) and their derivatives.
struct ReferenceWorld {
  LongMatrix transitions;              // [S*A, S]
  std::vector<LongMatrix> derivative;  // dP/dx_j, or empty
  LongVector initial;                  // [S]
  LongMatrix initial_derivative;       // [S, n]

  // (dP/dx_j) V, [S*A, n].
  LongMatrix Move(const LongVector& value) const {
    LongMatrix moved = LongMatrix::Zero(transitions.rows(), initial_derivative.cols());
    for (size_t j = 0; j < derivative.size(); ++j) moved.col(static_cast<Eigen::Index>(j)) = derivative[j] * value;
    return moved;
  }
};

ReferenceWorld WorldAt(const ContextNumbers& c, const LongVector& theta, const LongMatrix& jacobian) {
  const Eigen::Index n = theta.size();
  ReferenceWorld world;
  world.transitions = DenseTransitions(c.mdp);
  world.initial = c.mdp.initial_distribution.cast<long double>();
  world.initial_derivative = LongMatrix::Zero(world.initial.size(), n);
  if (c.dynamics.initial.rows() != 0) {
    const LongMatrix features = Eigen::MatrixXd(c.dynamics.initial).cast<long double>();
    world.initial = features * theta;
    world.initial_derivative = features * jacobian;
  }
  if (c.dynamics.transitions.rows() == 0) return world;
  const LongMatrix features = Eigen::MatrixXd(c.dynamics.transitions).cast<long double>();
  world.derivative.assign(static_cast<size_t>(n), LongMatrix::Zero(world.transitions.rows(), world.transitions.cols()));
  for (Eigen::Index row = 0; row < world.transitions.rows(); ++row) {
    if (!Available(c.mdp, row)) continue;
    const auto begin = static_cast<Eigen::Index>(c.mdp.offsets[row]),
               end = static_cast<Eigen::Index>(c.mdp.offsets[row + 1]);
    if (features.middleRows(begin, end - begin).isZero(0)) continue;
    for (Eigen::Index k = begin; k < end; ++k) {
      const uint32_t column = c.mdp.columns[static_cast<size_t>(k)];
      world.transitions(row, column) = features.row(k).dot(theta);
      const LongVector slope = jacobian.transpose() * features.row(k).transpose();
      for (Eigen::Index j = 0; j < n; ++j) world.derivative[static_cast<size_t>(j)](row, column) = slope[j];
    }
  }
  return world;
}

}  // namespace

ReferenceSolution SolveReference(const TabularMdpSpec& mdp, const LongVector& reward, long double discount,
                                 long double temperature) {
  return SolveReference(mdp, DenseTransitions(mdp), reward, discount, temperature);
}

ReferenceSolution SolveReference(const TabularMdpSpec& mdp, const LongMatrix& transitions, const LongVector& reward,
                                 long double discount, long double temperature) {
  ReferenceSolution solution;
  solution.transitions = transitions;
  LongVector V = LongVector::Zero(mdp.num_states), backed_up;
  long double last = std::numeric_limits<long double>::infinity();
  for (int i = 0; i < 10000; ++i) {
    Backup(mdp, reward, discount, temperature, V, solution, backed_up);
    const LongVector r = backed_up - V;
    const long double residual = r.lpNorm<Eigen::Infinity>();
    if (residual == 0 || (residual < 1e-12L * (1 + V.lpNorm<Eigen::Infinity>()) && residual >= 0.5L * last)) break;
    last = residual;
    const LongMatrix system = LongMatrix::Identity(mdp.num_states, mdp.num_states) -
                              discount * ActionSum(solution.pi, mdp.num_actions) * solution.transitions;
    V += system.partialPivLu().solve(r);
  }
  solution.value = V;
  return solution;
}

ReferencePoint EvaluateReference(const ProblemNumbers& numbers, const Vector& x_double) {
  const LongVector x = x_double.cast<long double>();
  LongMatrix jacobian;
  const LongVector theta = Theta(numbers, x, jacobian);
  const long double sign = numbers.sense == Sense::kMaximize ? -1 : 1;
  const long double l2 = numbers.penalties.squared_l2;
  ReferencePoint point;
  point.objective = sign * l2 * x.squaredNorm() / 2;
  point.gradient = sign * l2 * x;
  for (const ContextNumbers& c : numbers.contexts) {
    const int A = c.mdp.num_actions, S = c.mdp.num_states;
    const long double gamma = c.discount, tau = c.temperature;
    LongMatrix dr;
    const LongVector r = RewardAt(c.reward, x, theta, jacobian, dr);
    const ReferenceWorld world = WorldAt(c, theta, jacobian);
    const LongMatrix& P = world.transitions;
    ReferenceSolution solution = SolveReference(c.mdp, P, r, gamma, tau);
    const LongVector& pi = solution.pi;
    const LongMatrix average = ActionSum(pi, A);
    const LongMatrix identity = LongMatrix::Identity(S, S);
    const LongMatrix repeat = ActionSum(LongVector::Ones(pi.size()), A).transpose();
    const LongMatrix dq = dr + gamma * world.Move(solution.value);
    const LongMatrix dV = (identity - gamma * average * P).partialPivLu().solve(average * dq);
    const LongMatrix dlog = (dq + gamma * P * dV - repeat * dV) / tau;
    const LongMatrix dpi = pi.asDiagonal() * dlog;
    const auto add = [&](long double weight, long double value, const LongVector& gradient) {
      point.objective += c.weight * weight * value;
      point.gradient += c.weight * weight * gradient;
    };
    // The value of a cost from a start, and its derivative.
    const auto value_of = [&](const LongVector& cost, const LongMatrix& dcost, std::optional<double> discount,
                              const Vector& own_initial, LongVector& gradient) {
      const long double gamma_u = discount.value_or(c.discount);
      const auto lu = (identity - gamma_u * average * P).partialPivLu();
      const LongVector V = lu.solve(average * cost);
      const LongVector q = cost + gamma_u * P * V;
      const LongMatrix slope = LongMatrix(ActionSum(q, A) * dpi) + average * (dcost + gamma_u * world.Move(V));
      const LongVector initial = own_initial.size() != 0 ? LongVector(own_initial.cast<long double>()) : world.initial;
      gradient = lu.solve(slope).transpose() * initial;
      if (own_initial.size() == 0) gradient += world.initial_derivative.transpose() * V;
      return initial.dot(V);
    };
    if (c.return_weight != 0) {
      LongMatrix dc;
      const LongVector cost = RewardAt(c.leader_reward, x, theta, jacobian, dc);
      LongVector gradient;
      const long double value = value_of(cost, dc, c.leader_discount, c.leader_initial, gradient);
      add(c.return_weight, value, gradient);
    }
    if (c.matching_weight != 0) {
      const LongMatrix features = Eigen::MatrixXd(c.matching_features).cast<long double>();
      long double value = 0;
      LongVector gradient = LongVector::Zero(x.size()), of_feature;
      for (Eigen::Index k = 0; k < features.cols(); ++k) {
        const long double gap = value_of(features.col(k), LongMatrix::Zero(pi.size(), x.size()), c.matching_discount,
                                         c.matching_initial, of_feature) -
                                c.matching_target[k];
        value += gap * gap / 2;
        gradient += gap * of_feature;
      }
      add(c.matching_weight, value, gradient);
    }
    if (c.demonstration_weight != 0) {
      const LongVector counts = c.counts.cast<long double>();
      add(c.demonstration_weight, -counts.dot(solution.log_pi) / counts.sum(),
          -dlog.transpose() * counts / counts.sum());
    }
    if (c.quadratic_weight != 0) {
      const LongVector mu = repeat * c.state_weights.cast<long double>();
      const LongVector gap = pi - c.target.cast<long double>();
      add(c.quadratic_weight, mu.dot(gap.cwiseAbs2()) / 2, dpi.transpose() * mu.cwiseProduct(gap));
    }
    if (c.divergence_weight != 0) {
      const LongVector mu = repeat * c.state_weights.cast<long double>();
      const LongVector t = c.divergence_target.cast<long double>();
      const LongVector log_t = t.unaryExpr([](long double v) { return v > 0 ? std::log(v) : 0.0L; });
      switch (c.divergence) {
        case Separable::Kind::kForwardKl:
          add(c.divergence_weight, mu.dot(t.cwiseProduct(log_t - solution.log_pi)),
              -dlog.transpose() * mu.cwiseProduct(t));
          break;
        case Separable::Kind::kReverseKl:
          add(c.divergence_weight, mu.dot(pi.cwiseProduct(solution.log_pi - log_t)),
              dpi.transpose() * mu.cwiseProduct(solution.log_pi - log_t));
          break;
        default:
          add(c.divergence_weight, -mu.dot(pi.cwiseProduct(solution.log_pi)),
              -dpi.transpose() * mu.cwiseProduct(solution.log_pi));
      }
    }
    if (c.value_weight != 0) {
      const bool own = c.value_initial.size() != 0;
      const LongVector initial = own ? LongVector(c.value_initial.cast<long double>()) : world.initial;
      LongVector gradient = dV.transpose() * initial;
      if (!own) gradient += world.initial_derivative.transpose() * solution.value;
      add(c.value_weight, initial.dot(solution.value), gradient);
    }
    point.solutions.push_back(std::move(solution));
  }
  return point;
}

}  // namespace bilevel::testing
