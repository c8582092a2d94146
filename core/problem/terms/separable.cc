#include "core/problem/terms/separable.h"

#include <cmath>

#include "core/base/floating_point.h"
#include "core/mdp/for_states.h"

namespace bilevel {
namespace {

// dh/dpi of one action, up to a constant in each state, 0 where it is multiplied by pi = 0 anyway. Not for kForwardKl.
double SlopeAt(const Separable& term, Eigen::Index row, double pi, double log_pi) {
  switch (term.kind) {
    case Separable::Kind::kSquaredDistance:
      return term.target.size() == 0 ? pi : pi - term.target[row];
    case Separable::Kind::kReverseKl:
      return log_pi - (term.target[row] > 0 ? std::log(term.target[row]) : 0.0);
    default:
      return -log_pi;
  }
}

Vector Slope(const Separable& term, const TermInput& input) {
  Vector result(input.pi().size());
  for (Eigen::Index row = 0; row < result.size(); ++row) {
    result[row] = SlopeAt(term, row, input.pi()[row], input.backup.log_pi[row]);
  }
  return result;
}

// How the slope moves with the policy.
Vector SlopeChange(Separable::Kind kind, const Vector& pi, const Vector& log_pi) {
  if (kind == Separable::Kind::kSquaredDistance) return pi;
  return kind == Separable::Kind::kEntropy ? Vector(-log_pi) : log_pi;
}

// t log(t / pi).
double Divergence(double t, double log_pi) { return t > 0 ? t * (std::log(t) - log_pi) : 0.0; }

}  // namespace

TermValue EvaluateTerm(const Separable& term, const TermInput& input, const TermValue* /*near*/) {
  const TabularMdp& mdp = input.mdp;
  const Vector &pi = input.pi(), &log_pi = input.backup.log_pi;
  TermValue result;
  result.y.resize(pi.size());
  result.value = SumStates(input.system.parallel_for(), mdp, [&](Eigen::Index s, Eigen::Index first, Eigen::Index end) {
    const double mu = term.state_weights[s];
    double sum = 0;
    for (Eigen::Index row = first; row < end; ++row) {
      if (term.kind == Separable::Kind::kForwardKl) {
        sum += Divergence(term.target[row], log_pi[row]);
        result.y[row] = -mu * term.target[row];
        continue;
      }
      const double slope = SlopeAt(term, row, pi[row], log_pi[row]);
      sum += term.kind == Separable::Kind::kSquaredDistance ? 0.5 * slope * slope : pi[row] * slope;
      result.y[row] = mu * pi[row] * slope;
    }
    return mu * sum;
  });
  return result;
}

TermRadius BoundTermError(const Separable& term, const TermInput& input, const TermValue& value,
                          const TermErrorInput& errors) {
  const TabularMdp& mdp = input.mdp;
  const ParallelFor& parallel_for = input.system.parallel_for();
  const Vector &pi = input.pi(), &log_pi = input.backup.log_pi;
  const Vector &change = errors.error.pi_radius, &log_change = errors.error.log_pi_radius;
  const double sums = static_cast<double>(mdp.num_rows()) + 4, actions = mdp.num_actions();
  TermRadius radius;
  radius.centered_y.resize(pi.size());
  if (term.kind == Separable::Kind::kForwardKl) {
    // yc = mu (pi visits - t).
    radius.value = SumStates(parallel_for, mdp, [&](Eigen::Index s, Eigen::Index first, Eigen::Index end) {
      const double mu = term.state_weights[s];
      double visits = 0, sum = 0;
      for (Eigen::Index row = first; row < end; ++row) visits += term.target[row];
      for (Eigen::Index row = first; row < end; ++row) {
        const double t = term.target[row];
        sum += t * (log_change[row] + sums * kUnitRoundoff * std::abs(log_pi[row]));
        radius.centered_y[row] = mu * (visits * change[row] + (actions + 4) * kUnitRoundoff * (t + pi[row] * visits));
      }
      return mu * sum;
    });
    radius.value += sums * kUnitRoundoff * value.value;
    return radius;
  }
  const bool squared = term.kind == Separable::Kind::kSquaredDistance;
  radius.value = SumStates(parallel_for, mdp, [&](Eigen::Index s, Eigen::Index first, Eigen::Index end) {
    const double mu = term.state_weights[s];
    double mean = 0, y_sum = 0;
    for (Eigen::Index row = first; row < end; ++row) {
      mean += pi[row] * SlopeAt(term, row, pi[row], log_pi[row]);
      y_sum += std::abs(value.y[row]);
    }
    // As CenteredRadius; first the part of each action alone.
    double mean_change = 0, sum = 0;
    for (Eigen::Index row = first; row < end; ++row) {
      const double slope = SlopeAt(term, row, pi[row], log_pi[row]), size = std::abs(slope),
                   high = pi[row] + change[row];
      const double slope_radius = squared ? change[row] + kUnitRoundoff * size
                                          : log_change[row] + 4 * kUnitRoundoff * (size + std::abs(log_pi[row]));
      const double own = change[row] * std::abs(slope - mean) + high * slope_radius;
      mean_change += own;
      radius.centered_y[row] = own;
      sum += squared ? change[row] * (size + 0.5 * change[row])
                     : change[row] * size + high * slope_radius + sums * kUnitRoundoff * pi[row] * size;
    }
    for (Eigen::Index row = first; row < end; ++row) {
      radius.centered_y[row] = mu * (radius.centered_y[row] + (pi[row] + change[row]) * mean_change) +
                               (actions + 8) * kUnitRoundoff * (std::abs(value.y[row]) + pi[row] * y_sum);
    }
    return mu * sum;
  });
  if (squared) radius.value += sums * kUnitRoundoff * value.value;
  return radius;
}

TermTangent DifferentiateTerm(const Separable& term, const TermInput& input, const TermValue& value,
                              const TermTangentInput& tangent) {
  TermTangent result;
  if (term.kind == Separable::Kind::kForwardKl) {
    result.y = Vector::Zero(value.y.size());
    return result;
  }
  const Vector mu = RepeatForActions(input.mdp, term.state_weights);
  result.y = mu.cwiseProduct(tangent.pi.cwiseProduct(Slope(term, input)) +
                             input.pi().cwiseProduct(SlopeChange(term.kind, tangent.pi, tangent.log_pi)));
  return result;
}

}  // namespace bilevel
