#include "core/hypergradient/adjoint.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/floating_point.h"
#include "core/mdp/for_states.h"

namespace bilevel {

Vector CenterCotangent(const TabularMdp& mdp, const Vector& pi, Vector y, const ParallelFor& parallel_for) {
  ForStates(parallel_for, mdp, [&](Eigen::Index, Eigen::Index first, Eigen::Index end) {
    double sum = 0;
    for (Eigen::Index row = first; row < end; ++row) sum += y[row];
    for (Eigen::Index row = first; row < end; ++row) y[row] -= pi[row] * sum;
  });
  return y;
}

Adjoint SolveAdjoint(const RegularizedMdp& follower, const Vector& pi, Cotangents cotangents, double tolerance,
                     const Vector& start, const Interrupt& interrupt, PolicySystem& system) {
  const TabularMdp& mdp = *follower.mdp;
  const ParallelFor& parallel_for = follower.parallel_for;
  const double gamma = follower.discount, tau = follower.temperature;
  Adjoint adjoint;
  adjoint.centered_y = CenterCotangent(mdp, pi, std::move(cotangents.y), parallel_for);

  const bool has_q = cotangents.q.size() != 0;
  Vector b = -gamma * (has_q ? mdp.PushForward(adjoint.centered_y + tau * cotangents.q, parallel_for)
                             : mdp.PushForward(adjoint.centered_y, parallel_for));
  if (cotangents.value.size() != 0) b -= tau * cotangents.value;

  adjoint.z = start.size() == b.size() ? start : Vector::Zero(b.size());
  adjoint.converged = system.SolveTransposed(gamma, b, tolerance * b.lpNorm<1>(), interrupt, adjoint.z).converged;
  adjoint.residual = b - adjoint.z + gamma * system.MultiplyTransposed(adjoint.z);
  adjoint.residual_l1 = adjoint.residual.lpNorm<1>();

  FormRewardGradient(follower, pi, adjoint.centered_y, adjoint.z, cotangents.q, adjoint.reward_gradient);
  return adjoint;
}

void FormRewardGradient(const RegularizedMdp& follower, const Vector& pi, const Vector& centered_y, const Vector& z,
                        const Vector& q, Vector& result) {
  const bool has_q = q.size() != 0;
  result.resize(pi.size());
  ForStates(follower.parallel_for, *follower.mdp, [&](Eigen::Index s, Eigen::Index first, Eigen::Index end) {
    for (Eigen::Index row = first; row < end; ++row) {
      result[row] = (centered_y[row] - pi[row] * z[s]) / follower.temperature;
      if (has_q) result[row] += q[row];
    }
  });
}

EnvironmentDerivative ImplicitDerivative(const RegularizedMdp& follower, const Vector& lambda, const Vector& value) {
  return {follower.discount * lambda, value, {}};
}

AdjointError BoundAdjointError(const RegularizedMdp& follower, const Vector& pi, const Cotangents& cotangents,
                               const Adjoint& adjoint, const FollowerError& error, Vector centered_y_radius,
                               double centered_y_mass, Majorant& majorant, const PolicySystem& system) {
  const TabularMdp& mdp = *follower.mdp;
  const ParallelFor& parallel_for = follower.parallel_for;
  const double gamma = follower.discount, tau = follower.temperature;
  const bool has_q = cotangents.q.size() != 0;
  const double rounding = (system.column_steps() * mdp.num_actions() + 8.0) * kUnitRoundoff;
  const auto size_of = [&](Eigen::Index s, Eigen::Index row) {
    const double size = std::abs(adjoint.centered_y[row]) + pi[row] * std::abs(adjoint.z[s]);
    return has_q ? size + tau * std::abs(cotangents.q[row]) : size;
  };
  AdjointError result;

  // With ' for exact quantities: (I - gamma P^pi')^T (z'' - z) = residual - gamma P^T (yc' - yc - (pi' - pi) z), and
  // what is pushed forward errs by its rounding.
  Vector& pushed = result.reward_gradient;
  pushed = std::move(centered_y_radius);
  ForStates(parallel_for, mdp, [&](Eigen::Index s, Eigen::Index first, Eigen::Index end) {
    const double abs_z = std::abs(adjoint.z[s]);
    for (Eigen::Index row = first; row < end; ++row) {
      pushed[row] += error.pi_radius[row] * abs_z + rounding * size_of(s, row);
    }
  });
  Vector g = gamma * mdp.PushForward(pushed, parallel_for);
  g += (1 + rounding) * adjoint.residual.cwiseAbs() + rounding * adjoint.z.cwiseAbs();
  if (cotangents.value.size() != 0) g += (rounding * tau) * cotangents.value.cwiseAbs();

  if (majorant.effort() == Majorant::Effort::kNorms) {
    result.z_mass = majorant.BoundSum(g.sum() + gamma * mdp.max_row_sum() * centered_y_mass);
    result.reward_gradient_mass = (1 + 1e-12) * (centered_y_mass + result.z_mass) / tau;
  } else {
    result.z = majorant.BoundTransposed(g);
  }
  constexpr double kSteps = 8 * kUnitRoundoff;
  ForStates(parallel_for, mdp, [&](Eigen::Index s, Eigen::Index first, Eigen::Index end) {
    for (Eigen::Index row = first; row < end; ++row) {
      const double size = size_of(s, row), change = std::max(pushed[row] - rounding * size, 0.0);
      const double reach = change + (result.z.size() == 0 ? 0.0 : (pi[row] + error.pi_radius[row]) * result.z[s]);
      // Roundings of lambda, which is at most size / tau, and of `change`.
      result.reward_gradient[row] = (reach + kSteps * (2 * size + pushed[row])) / tau;
    }
  });
  return result;
}

}  // namespace bilevel
