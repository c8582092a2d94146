#include "core/hypergradient/adjoint.h"

namespace bilevel {
namespace {

constexpr double kUnitRoundoff = 0x1p-53;

}  // namespace

Vector CenterCotangent(const TabularMdp& mdp, const Vector& pi, const Vector& y) {
  return y - pi.cwiseProduct(RepeatForActions(mdp, SumOverActions(mdp, y)));
}

Adjoint SolveAdjoint(const RegularizedMdp& follower, const Vector& pi, const Cotangents& cotangents, double tolerance,
                     const Vector& start, const Interrupt& interrupt, PolicySystem& system) {
  const TabularMdp& mdp = *follower.mdp;
  const double gamma = follower.discount, tau = follower.temperature;
  Adjoint adjoint;
  adjoint.centered_y = CenterCotangent(mdp, pi, cotangents.y);

  Vector pushed = adjoint.centered_y;
  if (cotangents.q.size() != 0) pushed += tau * cotangents.q;
  Vector b = -gamma * mdp.PushForward(pushed, follower.parallel_for);
  if (cotangents.value.size() != 0) b -= tau * cotangents.value;

  adjoint.z = start.size() == b.size() ? start : Vector::Zero(b.size());
  adjoint.converged = system.SolveTransposed(gamma, b, tolerance * b.lpNorm<1>(), interrupt, adjoint.z).converged;
  adjoint.residual = b - adjoint.z + gamma * system.MultiplyTransposed(adjoint.z);
  adjoint.residual_l1 = adjoint.residual.lpNorm<1>();

  adjoint.reward_gradient = (adjoint.centered_y - pi.cwiseProduct(RepeatForActions(mdp, adjoint.z))) / tau;
  if (cotangents.q.size() != 0) adjoint.reward_gradient += cotangents.q;
  return adjoint;
}

EnvironmentDerivative ImplicitDerivative(const RegularizedMdp& follower, const Vector& lambda, const Vector& value) {
  return {follower.discount * lambda, value, {}};
}

AdjointError BoundAdjointError(const RegularizedMdp& follower, const Vector& pi, const Cotangents& cotangents,
                               const Adjoint& adjoint, const FollowerError& error, const Vector& centered_y_radius,
                               Majorant& majorant, const PolicySystem& system) {
  const TabularMdp& mdp = *follower.mdp;
  const double gamma = follower.discount, tau = follower.temperature;
  const Vector abs_z = adjoint.z.cwiseAbs();
  Vector abs_pushed = adjoint.centered_y.cwiseAbs();
  if (cotangents.q.size() != 0) abs_pushed += tau * cotangents.q.cwiseAbs();

  // With ' for exact quantities: (I - gamma P^pi')^T (z'' - z) = residual - gamma P^T (yc' - yc - (pi' - pi) z).
  const Vector change = centered_y_radius + error.pi_radius.cwiseProduct(RepeatForActions(mdp, abs_z));
  const double steps = system.column_steps() * mdp.num_actions() + 8.0;
  Vector rounding =
      abs_z + adjoint.residual.cwiseAbs() +
      gamma * mdp.PushForward(abs_pushed + pi.cwiseProduct(RepeatForActions(mdp, abs_z)), follower.parallel_for);
  if (cotangents.value.size() != 0) rounding += tau * cotangents.value.cwiseAbs();
  const Vector g = adjoint.residual.cwiseAbs() + gamma * mdp.PushForward(change, follower.parallel_for) +
                   steps * kUnitRoundoff * rounding;

  AdjointError result;
  result.z = majorant.BoundTransposed(g);
  result.reward_gradient =
      (change + (pi + error.pi_radius).cwiseProduct(RepeatForActions(mdp, result.z))) / tau +
      8 * kUnitRoundoff * adjoint.reward_gradient.cwiseAbs() +
      (8 * kUnitRoundoff / tau) * (adjoint.centered_y.cwiseAbs() + pi.cwiseProduct(RepeatForActions(mdp, abs_z)));
  return result;
}

}  // namespace bilevel
