#include "core/streaming/trajectory.h"

#include <algorithm>
#include <cmath>

namespace bilevel {

double CutBias(double largest, double discount, int64_t steps) {
  return std::pow(discount, static_cast<double>(steps)) * largest / (1 - discount);
}

int64_t StepsForBias(double largest, double discount, double bias) {
  if (discount == 0 || CutBias(largest, discount, 1) <= bias) return 1;
  const double steps = std::ceil(std::log(largest / ((1 - discount) * bias)) / -std::log(discount));
  return static_cast<int64_t>(std::min(steps, 9e18));
}

Trajectory Roll(const Simulator& simulator, const Vector& pi, int num_actions, int start, const Horizon& horizon,
                double discount, Rng& rng) {
  Trajectory trajectory;
  int state = start;
  for (int64_t t = 0; t < horizon.steps; ++t) {
    const int64_t row = int64_t{state} * num_actions + simulator.DrawAction(pi, state, rng);
    trajectory.rows.push_back(row);
    state = simulator.DrawNext(row, rng);
    if (state == Simulator::kEnded) {
      trajectory.terminated = true;
      break;
    }
    if (horizon.kind == Horizon::Kind::kGeometric && rng.Uniform() >= discount) break;
  }
  trajectory.final_state = state;
  return trajectory;
}

}  // namespace bilevel
