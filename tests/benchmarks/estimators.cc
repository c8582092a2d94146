// Hyper-gradients from samples beside the exact one: bias, spread, direction and cost against the number of
// transitions.
//
//   estimators [--quick] [--csv FILE] [--svg FILE]
//
// Problems, each with the leader's return: a random MDP (S = 20, A = 3, n = 8, discount 0.9) and Four-Rooms with one
// goal (S = 104, n = 105, discount 0.99, temperature 0.005) at x = 0. The follower's policy is exact. Arms, of
// core/streaming/trajectory_gradient.h where nothing else is said:
//
//   return, to go, to go - V, critic   (13) with exact grad Q - grad V, V_u and Q_u
//   to go + cv, critic + cv            and with the exact expectation as control variate
//   continuations                      to go - V, grad Q - grad V from walks, whose steps count as transitions
//   model critic                       to go - V, grad Q - grad V and V_u from a model of half of the transitions, the
//                                      other half being the sample
//   model critic + cv                  and with that model's expectation as control variate
//   TD critic                          to go - V, grad Q - grad V and V_u by temporal differences from all transitions,
//                                      which are the sample as well; each is learned from twice
//   TD leader                          critic with Q_u - V_u of the same kind, too
//   plug-in                            the exact gradient of the model that the transitions estimate
//   zeroth on model                    differences along 64 random directions on that model
//   zeroth order                       a two-point difference of returns, from half the transitions each, with the
//                                      follower's answer at both points exact
//   one step                           critic with grad r - E_pi grad r in place of grad Q - grad V: biased
//
// Columns, over 20 seeds, in units of |exact|^2: bias^2 = |mean - exact|^2 and, in brackets, what the variance alone
// makes of it; variance = mean of |estimate - mean|^2; cosine of the angle between estimate and exact, mean; seconds of
// one estimate, drawing included. An arm is called biased where bias^2 exceeds nine times what variance explains.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "client/problems/four_rooms.h"
#include "core/streaming/zeroth_order_gradient.h"
#include "tests/benchmarks/log_log_plot.h"
#include "tests/benchmarks/referees/draw_leader_return.h"
#include "tests/problems/decoded.h"
#include "tests/support/learned_critic.h"
#include "tests/support/watched_follower.h"

namespace bilevel {
namespace {

using testing::WatchedFollower;
using Estimate = std::function<Vector(int64_t transitions, Rng& rng)>;
using Clock = std::chrono::steady_clock;

struct Arm {
  const char* name;
  Estimate estimate;
};

BilevelProblem OnModel(const WatchedFollower& follower, const std::vector<Trajectory>& trajectories) {
  BilevelProblem problem = follower.problem();
  problem.contexts[0].mdp = std::make_shared<const TabularMdp>(follower.ModelOf(trajectories));
  return problem;
}

Vector FromTrajectories(const TrajectoryModel& model, const std::vector<Trajectory>& trajectories,
                        TrajectoryEstimator estimator, const std::vector<SampledScore>& scores = {}) {
  return EstimateFromTrajectories(model, trajectories, Horizon::Kind::kGeometric, estimator, scores).mean();
}

Vector FromModelCritic(const WatchedFollower& follower, int64_t transitions, bool control, Rng& rng) {
  const auto critic = follower.AskModel(follower.ModelOf(follower.DrawTransitions(transitions / 2, rng)));
  TrajectoryModel model = follower.Model(critic.expected.leader.value, critic.gradient.advantage);
  model.expected = &critic.expected;
  model.control_variate = control;
  model.initial_distribution = follower.mdp().initial_distribution();
  return FromTrajectories(model, follower.DrawTransitions(transitions / 2, rng), TrajectoryEstimator::kRewardToGo);
}

// Mean return at x of a follower that answers exactly.
double MeanReturn(const WatchedFollower& follower, const Vector& x, int64_t transitions, Rng& rng) {
  const HypergradientPoint point = *HypergradientEvaluator(follower.problem(), {}).Evaluate(x, {});
  const TrajectoryModel model = follower.Model({});
  const Vector cost = model.leader_reward.Evaluate(x, model.map.Apply(x));
  double sum = 0, trajectories = 0;
  for (; transitions > 0; ++trajectories) {
    const Trajectory trajectory = Roll(follower.simulator(), point.contexts[0].solution.backup.pi, model.num_actions,
                                       follower.simulator().DrawStart(rng), {}, model.leader_discount, rng);
    for (const int64_t row : trajectory.rows) sum += cost[row];
    transitions -= static_cast<int64_t>(trajectory.rows.size());
  }
  return sum / trajectories;
}

std::vector<Arm> Arms(const WatchedFollower& follower) {
  using Kind = TrajectoryEstimator;
  const auto sampled = [&follower](Kind estimator, TrajectoryModel model) -> Estimate {
    return [&follower, estimator, model](int64_t transitions, Rng& rng) {
      return FromTrajectories(model, follower.DrawTransitions(transitions, rng), estimator);
    };
  };
  const TrajectoryModel plain = follower.Model({}), baseline = follower.Model(follower.leader_value());
  return {
      {"return", sampled(Kind::kReturn, plain)},
      {"to go", sampled(Kind::kRewardToGo, plain)},
      {"to go - V", sampled(Kind::kRewardToGo, baseline)},
      {"to go + cv", sampled(Kind::kRewardToGo, follower.ModelWithControl())},
      {"critic", sampled(Kind::kCritic, baseline)},
      {"critic + cv", sampled(Kind::kCritic, follower.ModelWithControl())},
      {"continuations",
       [&follower, baseline](int64_t transitions, Rng& rng) {
         // Walks are as long as trajectories on average, or longer.
         const auto trajectories = follower.DrawTransitions(transitions / 3, rng);
         return FromTrajectories(baseline, trajectories, Kind::kRewardToGo,
                                 follower.continuations().DrawScores(trajectories, rng));
       }},
      {"model critic",
       [&follower](int64_t transitions, Rng& rng) { return FromModelCritic(follower, transitions, false, rng); }},
      {"model critic + cv",
       [&follower](int64_t transitions, Rng& rng) { return FromModelCritic(follower, transitions, true, rng); }},
      {"TD critic",
       [&follower](int64_t transitions, Rng& rng) {
         const auto trajectories = follower.DrawTransitions(transitions, rng);
         const auto critic = LearnCritic(follower, trajectories, 1, rng);
         return FromTrajectories(follower.Model(critic.leader_value, critic.score), trajectories, Kind::kRewardToGo);
       }},
      {"TD leader",
       [&follower](int64_t transitions, Rng& rng) {
         const auto trajectories = follower.DrawTransitions(transitions, rng);
         const auto critic = LearnCritic(follower, trajectories, 1, rng);
         TrajectoryModel model = follower.Model(critic.leader_value, critic.score);
         model.leader_advantage = critic.leader_advantage;
         return FromTrajectories(model, trajectories, Kind::kCritic);
       }},
      {"plug-in",
       [&follower](int64_t transitions, Rng& rng) {
         const BilevelProblem problem = OnModel(follower, follower.DrawTransitions(transitions, rng));
         return HypergradientEvaluator(problem, {}).Evaluate(follower.x(), {})->gradient;
       }},
      {"zeroth on model",
       [&follower](int64_t transitions, Rng& rng) {
         const BilevelProblem problem = OnModel(follower, follower.DrawTransitions(transitions, rng));
         const auto found = *EstimateZerothOrder(problem, follower.x(), {.seed = rng.Bits()}, {});
         return Vector(found.gradient - found.bias);
       }},
      {"zeroth order",
       [&follower](int64_t transitions, Rng& rng) {
         constexpr double kSmoothing = 0.1;
         const Vector direction = testing::DrawNormal(rng, follower.x().size());
         const auto at = [&](double side) {
           return MeanReturn(follower, follower.x() + side * kSmoothing * direction, transitions / 2, rng);
         };
         const double up = at(1), down = at(-1);
         return Vector((up - down) / (2 * kSmoothing) * direction);
       }},
      {"one step",
       [&follower](int64_t transitions, Rng& rng) {
         const RowMatrix score = follower.OneStepScore();
         return FromTrajectories(follower.Model(follower.leader_value(), score),
                                 follower.DrawTransitions(transitions, rng), Kind::kCritic);
       }},
  };
}

struct Row {
  int64_t transitions;
  double bias, chance, variance;  // squares
  double rms, cosine, seconds;
};

Row Measure(const WatchedFollower& follower, const Arm& arm, int64_t transitions, int seeds) {
  const Vector& exact = follower.point().gradient;
  Vector sum = Vector::Zero(exact.size());
  double squares = 0, errors = 0, cosine = 0;
  const auto begin = Clock::now();
  for (int seed = 1; seed <= seeds; ++seed) {
    Rng rng(static_cast<uint64_t>(seed), static_cast<uint64_t>(transitions));
    const Vector g = arm.estimate(transitions, rng);
    sum += g;
    squares += g.squaredNorm();
    errors += (g - exact).squaredNorm();
    cosine += g.dot(exact) / std::max(g.norm() * exact.norm(), 1e-300);
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count() / seeds;
  const Vector mean = sum / seeds;
  const double size = exact.squaredNorm();
  const double variance = std::max(0.0, squares / seeds - mean.squaredNorm()) * seeds / (seeds - 1.0);
  return {transitions,     (mean - exact).squaredNorm() / size, variance / seeds / size,
          variance / size, std::sqrt(errors / seeds / size),    cosine / seeds,
          seconds};
}

struct Flags {
  bool quick = false;
  std::string csv, svg;
};

void Run(const char* name, const WatchedFollower& follower, const Flags& flags, std::ofstream& csv,
         std::vector<LogLogPlot::Panel>& panels) {
  std::printf("\n%s: |exact gradient| = %.4g\n", name, follower.point().gradient.norm());
  std::printf("  %-17s %11s %9s %11s %9s %8s %9s\n", "arm", "transitions", "bias^2", "(by chance)", "variance",
              "cosine", "seconds");
  const std::vector<int64_t> sizes =
      flags.quick ? std::vector<int64_t>{1000, 10'000} : std::vector<int64_t>{1000, 10'000, 100'000, 1'000'000};
  LogLogPlot::Panel& panel = panels.emplace_back();
  panel.title = name;
  for (const Arm& arm : Arms(follower)) {
    LogLogPlot::Curve curve{arm.name, {}};
    std::vector<Row> rows;
    for (const int64_t transitions : sizes) {
      rows.push_back(Measure(follower, arm, transitions, flags.quick ? 5 : 20));
      const Row& row = rows.back();
      std::printf("  %-17s %11lld %9.2e (%8.2e)  %9.2e %8.4f %9.2e\n", arm.name,
                  static_cast<long long>(row.transitions), row.bias, row.chance, row.variance, row.cosine, row.seconds);
      std::fflush(stdout);
      if (csv.is_open()) {
        csv << name << ',' << arm.name << ',' << row.transitions << ',' << row.bias << ',' << row.chance << ','
            << row.variance << ',' << row.rms << ',' << row.cosine << ',' << row.seconds << '\n';
      }
      curve.points.emplace_back(static_cast<double>(row.transitions), row.rms);
    }
    const Row& last = rows.back();
    const double slope = std::log10(rows.front().rms / last.rms) /
                         std::log10(static_cast<double>(sizes.back()) / static_cast<double>(sizes.front()));
    std::printf("  %-17s error ~ transitions^-%.2f%s\n", "", slope, last.bias > 9 * last.chance ? "; biased" : "");
    panel.curves.push_back(std::move(curve));
  }
}

}  // namespace
}  // namespace bilevel

int main(int argc, char** argv) {
  bilevel::Flags flags;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--quick") == 0) flags.quick = true;
    if (std::strcmp(argv[i], "--csv") == 0 && i + 1 < argc) flags.csv = argv[++i];
    if (std::strcmp(argv[i], "--svg") == 0 && i + 1 < argc) flags.svg = argv[++i];
  }
  std::ofstream csv;
  if (!flags.csv.empty()) {
    csv.open(flags.csv);
    csv << "problem,arm,transitions,squared_bias,squared_bias_by_chance,variance,rms,cosine,seconds\n";
  }
  std::vector<bilevel::LogLogPlot::Panel> panels;
  {
    const auto problem = bilevel::testing::Build(bilevel::referees::DrawLeaderReturn(1, 20));
    const bilevel::testing::WatchedFollower follower(problem, bilevel::Vector::Zero(problem.num_parameters));
    bilevel::Run("random MDP", follower, flags, csv, panels);
  }
  {
    const auto problem =
        bilevel::testing::Decoded(bilevel::client::FourRooms({.temperature = 0.005, .beta = 5, .two_goals = false}));
    const bilevel::testing::WatchedFollower follower(problem, bilevel::Vector::Zero(problem.num_parameters));
    bilevel::Run("Four-Rooms", follower, flags, csv, panels);
  }
  if (!flags.svg.empty()) {
    std::ofstream(flags.svg) << bilevel::LogLogPlot::Draw(panels, "transitions", "rms error / |exact|");
  }
}
