#include "core/streaming/observed_policy.h"

#include <cmath>

namespace bilevel {

ObservedPolicy EstimateObservedPolicy(const ModelFrame& frame, const Vector& visits, double strength) {
  const int A = frame.num_actions;
  ObservedPolicy policy{Vector::Zero(visits.size()), Vector::Zero(visits.size())};
  const auto available = [&](Eigen::Index row) {
    return frame.available_actions.empty() || frame.available_actions[static_cast<size_t>(row)] != 0;
  };
  for (int s = 0; s < frame.num_states; ++s) {
    const Eigen::Index first = Eigen::Index{s} * A;
    double actions = 0, seen = 0;
    for (Eigen::Index row = first; row < first + A; ++row) {
      if (!available(row)) continue;
      ++actions;
      seen += visits[row];
    }
    const double total = seen + strength;
    for (Eigen::Index row = first; row < first + A; ++row) {
      if (!available(row)) continue;
      policy.pi[row] = total > 0 ? (visits[row] + strength / actions) / total : 1 / actions;
      policy.log_pi[row] = std::log(policy.pi[row]);
    }
  }
  return policy;
}

}  // namespace bilevel
