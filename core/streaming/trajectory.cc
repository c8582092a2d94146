#include "core/streaming/trajectory.h"

namespace bilevel {

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
