// Hyper-gradients from samples beside the exact one: bias, spread, direction and cost against the number of
// transitions.
//
//   estimators [--quick] [--csv FILE] [--svg FILE]
//
// Problems, each with the leader's return: a random MDP (S = 20, A = 4, n = 8, discount 0.9) and Four-Rooms with one
// goal (S = 104, n = 105, discount 0.99, temperature 0.005) at x = 0. The follower's policy is exact. Arms:
//
//   return, to go, to go - V, critic   (13) with exact grad Q - grad V: core/streaming/trajectory_gradient.h
//   model critic                       to go, all of grad Q - grad V and V_u from a model of as many other transitions
//   TD critic                          to go, grad Q - grad V by temporal differences from as many other transitions
//   plug-in                            the exact gradient of the model that the transitions estimate
//   zeroth order                       a two-point difference of returns, from half the transitions each, with the
//                                      follower's answer at both points exact
//   one step                           critic with grad r - E_pi grad r in place of grad Q - grad V: biased
//
// Columns, over 20 seeds: bias = |mean - exact| / |exact| and, in brackets, what the spread alone makes of it; spread =
// root mean square of |estimate - mean| / |exact|; cosine of the angle between estimate and exact, mean; seconds of one
// estimate, drawing included. An arm is called biased where bias exceeds three times what spread explains.

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
#include "core/streaming/estimated_model.h"
#include "core/streaming/soft_q_learner.h"
#include "tests/benchmarks/log_log_plot.h"
#include "tests/benchmarks/referees/draw_leader_return.h"
#include "tests/problems/decoded.h"
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

int StateOf(const TabularMdp& mdp, int64_t row) { return static_cast<int>(row / mdp.num_actions()); }

// Transitions of the same follower; the last step of a trajectory that was stopped leads nowhere that is known.
std::vector<TransitionCounts::Entry> Count(const TabularMdp& mdp, const std::vector<Trajectory>& trajectories) {
  TransitionCounts counts(mdp.num_states(), mdp.num_rows(), 1'000'000);
  for (const Trajectory& trajectory : trajectories) {
    counts.AddStart(StateOf(mdp, trajectory.rows.front()));
    for (size_t t = 0; t + 1 < trajectory.rows.size(); ++t) {
      counts.AddStep(trajectory.rows[t], StateOf(mdp, trajectory.rows[t + 1]));
    }
    if (trajectory.terminated) counts.AddTermination(trajectory.rows.back());
  }
  return counts.Sorted();
}

BilevelProblem OnModel(const WatchedFollower& follower, const std::vector<TransitionCounts::Entry>& entries) {
  BilevelProblem problem = follower.problem();
  const TabularMdp& mdp = follower.mdp();
  EstimatedModel model = *EstimateModel({mdp.num_states(), mdp.num_actions(), {}, {}}, entries, ModelPrior());
  problem.contexts[0].mdp = std::make_shared<const TabularMdp>(std::move(model.mdp));
  return problem;
}

Vector FromTrajectories(const TrajectoryModel& model, const std::vector<Trajectory>& trajectories,
                        TrajectoryEstimator estimator) {
  return EstimateFromTrajectories(model, trajectories, Horizon::Kind::kGeometric, estimator).mean();
}

// grad Q - grad V by temporal differences, targets by the exact policy.
RowMatrix LearnScore(const WatchedFollower& follower, const std::vector<Trajectory>& trajectories) {
  const TabularMdp& mdp = follower.mdp();
  const Context& context = follower.problem().contexts[0];
  const SparseRows features = context.reward.GradientFeatures();
  const int A = mdp.num_actions();
  LinearCritic critic(mdp.num_states(), A, static_cast<int>(features.cols()), {.power = 0.8, .scale = 10});
  const auto learn = [&](int64_t row, int next) {
    Vector target = features.row(row).transpose();
    for (int b = 0; b < A && next >= 0; ++b) {
      const Feature after{static_cast<uint32_t>(next), 1};
      target += context.discount * follower.pi()[Eigen::Index{next} * A + b] * critic.Value({&after, 1}, b);
    }
    const Feature state{static_cast<uint32_t>(StateOf(mdp, row)), 1};
    critic.Update({&state, 1}, static_cast<int>(row % A), target);
  };
  for (const Trajectory& trajectory : trajectories) {
    for (size_t t = 0; t + 1 < trajectory.rows.size(); ++t) {
      learn(trajectory.rows[t], StateOf(mdp, trajectory.rows[t + 1]));
    }
    if (trajectory.terminated) learn(trajectory.rows.back(), -1);
  }
  RowMatrix score = critic.weights();
  for (int s = 0; s < mdp.num_states(); ++s) {
    auto rows = score.middleRows(Eigen::Index{s} * A, A);
    const Eigen::RowVectorXd mean = follower.pi().segment(Eigen::Index{s} * A, A).transpose() * rows;
    rows.rowwise() -= mean;
  }
  return score;
}

double MeanReturn(const WatchedFollower& follower, int64_t transitions, Rng& rng) {
  const auto& leader = std::get<LeaderReturn>(follower.problem().contexts[0].objective[0].measure);
  const Vector cost = leader.reward.Evaluate(follower.x(), follower.problem().map.Apply(follower.x()));
  const auto trajectories = follower.DrawTransitions(transitions, rng);
  double sum = 0;
  for (const Trajectory& trajectory : trajectories) {
    for (const int64_t row : trajectory.rows) sum += cost[row];
  }
  return sum / static_cast<double>(trajectories.size());
}

std::vector<Arm> Arms(const WatchedFollower& follower) {
  const auto sampled = [&follower](TrajectoryEstimator estimator, bool baseline) -> Estimate {
    return [&follower, estimator, baseline](int64_t transitions, Rng& rng) {
      const TrajectoryModel model = follower.Model(baseline ? follower.leader_value() : Vector());
      return FromTrajectories(model, follower.DrawTransitions(transitions, rng), estimator);
    };
  };
  return {
      {"return", sampled(TrajectoryEstimator::kReturn, false)},
      {"to go", sampled(TrajectoryEstimator::kRewardToGo, false)},
      {"to go - V", sampled(TrajectoryEstimator::kRewardToGo, true)},
      {"critic", sampled(TrajectoryEstimator::kCritic, true)},
      {"model critic",
       [&follower](int64_t transitions, Rng& rng) {
         const auto others = follower.DrawTransitions(transitions / 2, rng);
         const WatchedFollower model(OnModel(follower, Count(follower.mdp(), others)), follower.x());
         return FromTrajectories(follower.Model(model.leader_value(), model.gradient().advantage),
                                 follower.DrawTransitions(transitions / 2, rng), TrajectoryEstimator::kRewardToGo);
       }},
      {"TD critic",
       [&follower](int64_t transitions, Rng& rng) {
         const RowMatrix score = LearnScore(follower, follower.DrawTransitions(transitions / 2, rng));
         return FromTrajectories(follower.Model(follower.leader_value(), score),
                                 follower.DrawTransitions(transitions / 2, rng), TrajectoryEstimator::kRewardToGo);
       }},
      {"plug-in",
       [&follower](int64_t transitions, Rng& rng) {
         const auto entries = Count(follower.mdp(), follower.DrawTransitions(transitions, rng));
         const BilevelProblem problem = OnModel(follower, entries);
         return HypergradientEvaluator(problem, {}).Evaluate(follower.x(), {})->gradient;
       }},
      {"zeroth order",
       [&follower](int64_t transitions, Rng& rng) {
         constexpr double kSmoothing = 0.1;
         const Vector direction = testing::DrawNormal(rng, follower.x().size());
         const auto at = [&](double side) {
           const WatchedFollower moved(follower.problem(), follower.x() + side * kSmoothing * direction);
           return MeanReturn(moved, transitions / 2, rng);
         };
         const double up = at(1), down = at(-1);
         return Vector((up - down) / (2 * kSmoothing) * direction);
       }},
      {"one step",
       [&follower](int64_t transitions, Rng& rng) {
         const RowMatrix score = follower.OneStepScore();
         return FromTrajectories(follower.Model(follower.leader_value(), score),
                                 follower.DrawTransitions(transitions, rng), TrajectoryEstimator::kCritic);
       }},
  };
}

struct Row {
  int64_t transitions;
  double bias, noise, spread, rms, cosine, seconds;
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
  const double size = exact.norm();
  const double variance = std::max(0.0, squares / seeds - mean.squaredNorm()) * seeds / (seeds - 1.0);
  return {transitions,
          (mean - exact).norm() / size,
          std::sqrt(variance / seeds) / size,
          std::sqrt(variance) / size,
          std::sqrt(errors / seeds) / size,
          cosine / seeds,
          seconds};
}

struct Flags {
  bool quick = false;
  std::string csv, svg;
};

void Run(const char* name, const WatchedFollower& follower, const Flags& flags, std::ofstream& csv,
         std::vector<LogLogPlot::Panel>& panels) {
  std::printf("\n%s: |exact gradient| = %.4g\n", name, follower.point().gradient.norm());
  std::printf("  %-13s %11s %9s %11s %9s %8s %9s\n", "arm", "transitions", "bias", "(by spread)", "spread", "cosine",
              "seconds");
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
      std::printf("  %-13s %11lld %9.2e (%8.2e) %9.2e %8.4f %9.2e\n", arm.name, static_cast<long long>(row.transitions),
                  row.bias, row.noise, row.spread, row.cosine, row.seconds);
      std::fflush(stdout);
      if (csv.is_open()) {
        csv << name << ',' << arm.name << ',' << row.transitions << ',' << row.bias << ',' << row.noise << ','
            << row.spread << ',' << row.rms << ',' << row.cosine << ',' << row.seconds << '\n';
      }
      curve.points.emplace_back(static_cast<double>(row.transitions), row.rms);
    }
    const Row& last = rows.back();
    const double slope = std::log10(rows.front().rms / last.rms) /
                         std::log10(static_cast<double>(sizes.back()) / static_cast<double>(sizes.front()));
    std::printf("  %-13s error ~ transitions^-%.2f%s\n", "", slope, last.bias > 3 * last.noise ? "; biased" : "");
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
    csv << "problem,arm,transitions,bias,bias_by_spread,spread,rms,cosine,seconds\n";
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
