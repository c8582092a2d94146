// scratch main, to be replaced
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include "client/problems/four_rooms.h"
#include "core/hypergradient/hypergradient.h"
#include "tests/benchmarks/model_free_leader.h"
#include "tests/problems/decoded.h"
using namespace bilevel;
int main(int argc, char** argv) {
  const double tau = std::atof(argv[1]);
  ModelFreeOptions o;
  o.outer_steps = std::atoi(argv[2]);
  o.seed = std::strtoull(argv[3], nullptr, 10);
  if (argc > 4) o.first_temperature_factor = std::atof(argv[4]);
  if (argc > 5) o.ring = std::atoi(argv[5]);
  if (argc > 6) o.critics.sweeps = std::atoi(argv[6]);
  if (argc > 7) o.first_step = std::atof(argv[7]);
  if (argc > 8) o.continuation_share = std::atof(argv[8]);
  const BilevelProblem truth = testing::Decoded(client::FourRooms({.temperature = tau, .beta = 5, .two_goals = false}));
  HypergradientEvaluator referee(truth, {});
  Rng rng(o.seed, 0);
  Vector start(truth.num_parameters);
  for (double& e : start) e = 0.01 * rng.Normal();
  auto b = std::chrono::steady_clock::now();
  double best = -9;
  AscendModelFree(truth, start, o, [&](const ModelFreeProgress& p) {
    if (p.steps % (o.outer_steps / 20) == 0) {
      double v = referee.EvaluateObjective(p.x, {})->value;
      best = std::max(best, v);
      std::printf("%6lld %9lld tau %.5f est %.4f true %.4f  %.1fs\n", (long long)p.steps, (long long)p.transitions, p.temperature, p.objective, v,
                  std::chrono::duration<double>(std::chrono::steady_clock::now() - b).count());
      std::fflush(stdout);
    }
  }, {});
}
