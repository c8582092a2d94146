#include "core/hypergradient/adjoint.h"

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

  adjoint.reward_gradient.resize(pi.size());
  ForStates(parallel_for, mdp, [&](Eigen::Index s, Eigen::Index first, Eigen::Index end) {
    for (Eigen::Index row = first; row < end; ++row) {
      adjoint.reward_gradient[row] = (adjoint.centered_y[row] - pi[row] * adjoint.z[s]) / tau;
      if (has_q) adjoint.reward_gradient[row] += cotangents.q[row];
    }
  });
  return adjoint;
}

EnvironmentDerivative ImplicitDerivative(const RegularizedMdp& follower, const Vector& lambda, const Vector& value) {
  return {follower.discount * lambda, value, {}};
}

AdjointError BoundAdjointError(const RegularizedMdp& follower, const Vector& pi, const Cotangents& cotangents,
                               const Adjoint& adjoint, const FollowerError& error, const Vector& centered_y_radius,
                               double centered_y_mass, Majorant& majorant, const PolicySystem& system) {
  const TabularMdp& mdp = *follower.mdp;
  const ParallelFor& parallel_for = follower.parallel_for;
  const double gamma = follower.discount, tau = follower.temperature;
  const bool has_q = cotangents.q.size() != 0;
  const double rounding = (system.column_steps() * mdp.num_actions() + 8.0) * kUnitRoundoff;
  AdjointError result;

  // With ' for exact quantities: (I - gamma P^pi')^T (z'' - z) = residual - gamma P^T (yc' - yc - (pi' - pi) z), and
  // what is pushed forward errs by its rounding.
  Vector& pushed = result.reward_gradient;
  pushed.resize(pi.size());
  ForStates(parallel_for, mdp, [&](Eigen::Index s, Eigen::Index first, Eigen::Index end) {
    const double abs_z = std::abs(adjoint.z[s]);
    for (Eigen::Index row = first; row < end; ++row) {
      double size = std::abs(adjoint.centered_y[row]) + pi[row] * abs_z;
      if (has_q) size += tau * std::abs(cotangents.q[row]);
      pushed[row] = centered_y_radius[row] + error.pi_radius[row] * abs_z + rounding * size;
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
    const double abs_z = std::abs(adjoint.z[s]);
    for (Eigen::Index row = first; row < end; ++row) {
      const double change = centered_y_radius[row] + error.pi_radius[row] * abs_z;
      const double reach = change + (result.z.size() == 0 ? 0.0 : (pi[row] + error.pi_radius[row]) * result.z[s]);
      const double size = std::abs(adjoint.centered_y[row]) + pi[row] * abs_z;
      result.reward_gradient[row] = (reach + kSteps * size) / tau + kSteps * std::abs(adjoint.reward_gradient[row]);
    }
  });
  return result;
}

}  // namespace bilevel
