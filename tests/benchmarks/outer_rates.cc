// The smallest exact |grad phi(x_j)|^2, j <= k, against outer steps k, beside a line of slope -1, O(1/k).
//
//   outer_rates [--quick] [--csv FILE] [--svg FILE]
//
// Policy matching, as math.md 5 draws it (S = 20, A = 4, n = 30), beta = 1, N = 1, from x_1 ~ N(0, 1):
//
//   M-SoBiRL            adjoint by one gradient step, as published
//   M-SoBiRL, l1        adjoint by the step-free iteration
//   exact gradients     the default steps of solvers/stochastic_descent.h without noise: what SoBiRL's loop is worth
//                       itself. Its estimates are of returns, and policy matching is none
//
// Leader's return, draw_noisy_return.h, beta = 0.1, N = 1, from x = (1, .., 1):
//
//   M-SoBiRL, M-SoBiRL, l1, and exact gradients as above
//   SoBiRL, Stoc-SoBiRL 16 trajectories a step, exact answers and critics
//
// M-SoBiRL is run anew for each k, and counts with the point that it returns after k steps. Means over seeds of the
// smallest; slopes: least squares of logarithms over k >= 10, down to 1e-10.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "core/solvers/m_sobirl.h"
#include "core/streaming/sampled_follower.h"
#include "tests/benchmarks/draw_noisy_return.h"
#include "tests/benchmarks/log_log_plot.h"

namespace bilevel {
namespace {

constexpr double kRounding = 1e-10;  // what is below is left out of slopes and pictures

struct Task {
  BilevelProblem problem;
  Vector start;
  double step;  // of M-SoBiRL
};

Task DrawPolicyMatching(uint64_t seed) {
  constexpr int kStates = 20, kActions = 4, kParameters = 30;
  constexpr Eigen::Index kRows = Eigen::Index{kStates} * kActions;
  Rng rng(seed);
  testing::ContextNumbers context;
  TabularMdpSpec& mdp = context.mdp;
  mdp.num_states = kStates;
  mdp.num_actions = kActions;
  mdp.offsets = {0};
  for (Eigen::Index row = 0; row < kRows; ++row) {
    std::vector<uint32_t> states(kStates);
    for (uint32_t s = 0; s < kStates; ++s) states[s] = s;
    const size_t support = 1 + rng.Below(kStates - 1);
    for (size_t i = 0; i < support; ++i) std::swap(states[i], states[i + rng.Below(kStates - i)]);
    std::sort(states.begin(), states.begin() + static_cast<int64_t>(support));
    Vector weights(static_cast<Eigen::Index>(support));
    for (double& weight : weights) weight = 1e-9 + rng.Uniform();
    weights /= weights.sum();
    mdp.columns.insert(mdp.columns.end(), states.begin(), states.begin() + static_cast<int64_t>(support));
    mdp.probabilities.insert(mdp.probabilities.end(), weights.begin(), weights.end());
    mdp.offsets.push_back(mdp.columns.size());
  }
  context.discount = 0.9;
  context.temperature = 0.5;
  context.reward.base = Vector::Zero(kRows);
  context.reward.features = testing::DrawNormal(rng, kRows * kParameters, 1 / std::sqrt(kParameters))
                                .reshaped(kRows, kParameters)
                                .sparseView();
  context.quadratic_weight = 5.0 / kStates;  // the term's own factor is 1/2
  context.state_weights = Vector::Ones(kStates);
  context.target = Vector(kRows);
  for (double& entry : context.target) entry = rng.Uniform();
  for (Eigen::Index s = 0; s < kStates; ++s) {
    context.target.segment(s * kActions, kActions) /= context.target.segment(s * kActions, kActions).sum();
  }
  testing::ProblemNumbers numbers;
  numbers.num_parameters = kParameters;
  numbers.penalties.squared_l2 = 1e-3;
  numbers.contexts.push_back(std::move(context));
  Task task{testing::Build(numbers), {}, 1};
  task.start = testing::DrawNormal(rng, kParameters);
  return task;
}

Task DrawReturn(uint64_t seed) {
  Task task{DrawNoisyReturn(seed), {}, 0.1};
  task.start = Vector::Ones(task.problem.num_parameters);
  return task;
}

std::vector<int64_t> Checkpoints(int64_t last) {
  std::vector<int64_t> steps;
  for (double k = 1; static_cast<int64_t>(k) <= last; k *= 1.25) {
    if (steps.empty() || static_cast<int64_t>(k) > steps.back()) steps.push_back(static_cast<int64_t>(k));
  }
  return steps;
}

// The smallest |grad|^2 up to each checkpoint.
using Smallest = std::vector<double>;
using Method = std::function<Smallest(const Task&, uint64_t seed, const std::vector<int64_t>& checkpoints)>;

Method MSobirl(MSobirlOptions::AdjointStep adjoint) {
  return [adjoint](const Task& task, uint64_t, const std::vector<int64_t>& checkpoints) {
    Smallest smallest;
    for (const int64_t k : checkpoints) {
      OuterOptions options;
      options.gradient_tolerance = 0;
      options.max_iterations = static_cast<int>(k);
      options.certify_result = false;
      ProgressReporter reporter;
      const OuterResult result = *SolveMSobirl(
          task.problem, task.start, {.step_size = task.step, .adjoint_step = adjoint}, options, {}, reporter);
      const double square = result.best.gradient_norm * result.best.gradient_norm;
      smallest.push_back(smallest.empty() ? square : std::min(smallest.back(), square));
    }
    return smallest;
  };
}

// batch 0: exact gradients.
Method Descent(bool momentum, int64_t batch) {
  return [=](const Task& task, uint64_t seed, const std::vector<int64_t>& checkpoints) {
    HypergradientEvaluator exact(task.problem, {});
    std::optional<SampledFollower> follower;
    if (batch > 0) follower = *SampledFollower::Create(task.problem, {.seed = seed});
    StochasticDescent descent(task.problem, task.start,
                              {.momentum = momentum, .gradient_tolerance = 0, .max_steps = checkpoints.back() + 1});
    Smallest smallest;
    double least = HUGE_VAL;
    for (int64_t k = 1; k <= checkpoints.back(); ++k) {
      const HypergradientPoint point = *exact.Evaluate(descent.x(), {});
      least = std::min(least, point.gradient.squaredNorm());
      if (k == checkpoints[smallest.size()]) smallest.push_back(least);
      if (follower.has_value()) {
        descent.Take(*follower->Sample(descent.x(), descent.kept_share(), {.trajectories = batch}, {}));
      } else {
        descent.Take({.gradient = point.gradient, .standard_error = Vector::Zero(point.gradient.size())});
      }
      if (descent.stopped()) smallest.resize(checkpoints.size(), least);
      if (smallest.size() == checkpoints.size()) break;
    }
    return smallest;
  };
}

struct Arm {
  const char* name;
  Method run;
};

double Slope(const std::vector<std::pair<double, double>>& points) {
  double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0;
  for (const auto& [k, value] : points) {
    if (k < 10 || !(value >= kRounding)) continue;
    const double x = std::log(k), y = std::log(value);
    n += 1, sx += x, sy += y, sxx += x * x, sxy += x * y;
  }
  return (n * sxy - sx * sy) / (n * sxx - sx * sx);
}

struct Flags {
  bool quick = false;
  std::string csv, svg;
};

LogLogPlot::Panel Measure(const char* title, const std::function<Task(uint64_t)>& draw, const std::vector<Arm>& arms,
                          const Flags& flags, std::ofstream& csv) {
  const uint64_t seeds = flags.quick ? 2 : 10;
  const std::vector<int64_t> checkpoints = Checkpoints(flags.quick ? 60 : 3000);
  LogLogPlot::Panel panel{title, {}};
  std::printf("%s\n  %-18s %12s %12s %12s   slope\n", title, "|grad|^2 by", "step 10", "step 100", "the end");
  for (const Arm& arm : arms) {
    LogLogPlot::Curve curve{arm.name, {}};
    for (const int64_t k : checkpoints) curve.points.emplace_back(static_cast<double>(k), 0);
    for (uint64_t seed = 1; seed <= seeds; ++seed) {
      const Smallest smallest = arm.run(draw(seed), seed, checkpoints);
      for (size_t i = 0; i < smallest.size(); ++i) curve.points[i].second += smallest[i] / static_cast<double>(seeds);
    }
    const auto at = [&](double k) {
      return std::find_if(curve.points.begin(), curve.points.end() - 1, [=](const auto& p) { return p.first >= k; })
          ->second;
    };
    std::printf("  %-18s %12.2e %12.2e %12.2e   %5.2f\n", arm.name, at(10), at(100), curve.points.back().second,
                Slope(curve.points));
    std::fflush(stdout);
    for (const auto& [k, value] : curve.points) {
      if (csv.is_open()) csv << title << ",\"" << arm.name << "\"," << k << ',' << value << '\n';
    }
    panel.curves.push_back(std::move(curve));
  }
  const double first = panel.curves[0].points[0].second, last = static_cast<double>(checkpoints.back());
  panel.curves.push_back({"O(1/k)", {{1, first}, {last, first / last}}});
  return panel;
}

void Main(const Flags& flags) {
  std::ofstream csv;
  if (!flags.csv.empty()) {
    csv.open(flags.csv);
    csv << "problem,arm,outer_step,smallest_squared_gradient\n";
  }
  using Step = MSobirlOptions::AdjointStep;
  std::vector<Arm> arms{{"M-SoBiRL", MSobirl(Step::kGradient)},
                        {"M-SoBiRL, l1", MSobirl(Step::kL1)},
                        {"exact gradients", Descent(false, 0)}};
  std::vector<LogLogPlot::Panel> panels;
  panels.push_back(Measure("policy matching", DrawPolicyMatching, arms, flags, csv));
  arms.push_back({"SoBiRL", Descent(false, 16)});
  arms.push_back({"Stoc-SoBiRL", Descent(true, 16)});
  panels.push_back(Measure("leader's return", DrawReturn, arms, flags, csv));
  // The legend is the first panel's: the same names in the same order.
  LogLogPlot::Panel& first = panels[0];
  first.curves.insert(first.curves.end() - 1, {{"SoBiRL", {}}, {"Stoc-SoBiRL", {}}});
  for (LogLogPlot::Panel& panel : panels) {
    for (LogLogPlot::Curve& curve : panel.curves) {
      for (auto& [k, value] : curve.points) value = value < kRounding ? 0 : value;
    }
  }
  if (!flags.svg.empty()) {
    std::ofstream(flags.svg) << LogLogPlot::Draw(panels, "outer steps", "smallest |grad phi|^2");
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
  bilevel::Main(flags);
}
