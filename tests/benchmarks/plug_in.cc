// Four-Rooms from transitions alone: what a global search finds on a model that was estimated from them.
//
//   plug_in [--transitions N] [--seed K]
//
// One goal, (1,9), beta = 5. A walker with uniformly random actions is watched for N transitions (default 1e5) from the
// published start, anew after each arrival at the goal and after 500 steps; each transition is seen once. Counts make a
// model (frequencies; cells never left by an action: the follower stays), `portfolio` searches on it from
// x ~ 0.01 N(0, 1), and what it finds is scored on the true model. Published model-free best after 1e6 to 1e7
// transitions: 0.67 / 0.55 / 1.34. Fails where the required value is missed at the default N.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "client/problems/four_rooms.h"
#include "core/hypergradient/hypergradient.h"
#include "core/solvers/optimize.h"
#include "core/streaming/estimated_model.h"
#include "core/streaming/simulator.h"
#include "tests/problems/decoded.h"

namespace bilevel {
namespace {

struct Setting {
  double temperature, required, published;
};
constexpr Setting kSettings[] = {{0.001, 0.69, 0.67}, {0.003, 0.53, 0.55}, {0.005, 1.46, 1.34}};
constexpr int kDefaultTransitions = 100'000;
constexpr int kLongestEpisode = 500;

TransitionCounts Watch(const TabularMdp& mdp, int transitions, Rng& rng) {
  const Simulator simulator(mdp);
  TransitionCounts counts(mdp.num_states(), mdp.num_rows(), 100'000);
  int state = -1, steps = 0;
  for (int i = 0; i < transitions; ++i) {
    if (state < 0) {
      state = simulator.DrawStart(rng);
      steps = 0;
      counts.AddStart(state);
    }
    const auto action = static_cast<int64_t>(rng.Below(static_cast<uint64_t>(mdp.num_actions())));
    const int64_t row = int64_t{state} * mdp.num_actions() + action;
    state = simulator.DrawNext(row, rng);
    if (state == Simulator::kEnded) {
      counts.AddTermination(row);
    } else {
      counts.AddStep(row, state);
      if (++steps == kLongestEpisode) state = -1;
    }
  }
  return counts;
}

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(value);
}

bool Run(const Setting& setting, int transitions, uint64_t seed) {
  const BilevelProblem truth =
      testing::Decoded(client::FourRooms({.temperature = setting.temperature, .beta = 5, .two_goals = false}));
  const TabularMdp& mdp = *truth.contexts[0].mdp;
  Rng rng(seed, 1);
  const TransitionCounts counts = Watch(mdp, transitions, rng);
  EstimatedModel estimated =
      Must(EstimateModel({mdp.num_states(), mdp.num_actions(), {}, {}}, counts.Sorted(), ModelPrior()));
  BilevelProblem problem = truth;
  problem.contexts[0].mdp = std::make_shared<const TabularMdp>(std::move(estimated.mdp));

  Vector start(problem.num_parameters);
  for (double& entry : start) entry = 0.01 * rng.Normal();
  const auto begin = std::chrono::steady_clock::now();
  ProgressReporter silent;
  const OuterResult found = Must(Optimize(problem, start, PortfolioOptions(), {.seed = seed}, Interrupt(), silent));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const HypergradientPoint score = Must(HypergradientEvaluator(truth, {}).EvaluateCertified(found.best.x, Interrupt()));
  const bool ok = score.objective >= setting.required;
  std::printf("%7g %12d %7d %10.4f %10.4f %8.0e %8.2f %9.2f %8.1f %8d  %s\n", setting.temperature, transitions,
              static_cast<int>(estimated.unseen_rows), found.best.objective, score.objective,
              score.certificate.objective_error_bound, setting.required, setting.published, seconds, found.evaluations,
              ok ? "ok" : "MISSED");
  std::fflush(stdout);
  return ok;
}

}  // namespace
}  // namespace bilevel

int main(int argc, char** argv) {
  int transitions = bilevel::kDefaultTransitions;
  uint64_t seed = 0;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--transitions") == 0) transitions = std::atoi(argv[i + 1]);
    if (std::strcmp(argv[i], "--seed") == 0) seed = static_cast<uint64_t>(std::atoll(argv[i + 1]));
  }
  std::printf("Four-Rooms, goal (1,9), beta 5, from transitions; portfolio on the estimated model, seed %llu\n",
              static_cast<unsigned long long>(seed));
  std::printf("%7s %12s %7s %10s %10s %8s %8s %9s %8s %8s\n", "lambda", "transitions", "unseen", "on model", "true",
              "bound", "required", "published", "search s", "evals");
  bool ok = true;
  for (const bilevel::Setting& setting : bilevel::kSettings) ok = bilevel::Run(setting, transitions, seed) && ok;
  return ok || transitions != bilevel::kDefaultTransitions ? 0 : 1;
}
