// How many outer steps and samples Stoc-SoBiRL takes for an accuracy, and SoBiRL with plain mini-batches beside it.
//
//   stoc_sobirl [--quick] [--csv FILE] [--svg FILE]
//
// Problem: draw_noisy_return.h, from x = (1, .., 1), with four trajectories a step, so that noise dominates. Seeds draw
// MDP and samples; arms share MDPs. Every arm has the default steps of solvers/stochastic_descent.h.
//
//   SoBiRL              plain mini-batches; answers solved to 1e-8, exact critics
//   Stoc-SoBiRL         recursive momentum over pairs with cap 10; the same answers and critics
//   Stoc-SoBiRL, no W   the same without weights in its pairs: biased
//   Stoc-SoBiRL, soft Q nothing but samples: answers and grad Q by warm-started soft Q-learning, (step k)^(2/3) sweeps
//   a
//                       step, learning rates visits^-1/2; all transitions count
//
// Accuracy of step K: |grad phi(x_k)|^2, exact, as the mean over (K/2, K] and seeds, which is what the published rates
// speak of (a step drawn at random) without the steps on the way there. Counts: the first K at which it is below eps.
// Exponents: least squares of log count against log eps over the last two decades of it, or as much as there is;
// brackets: 95 % of 1000 bootstrap draws of seeds, the same for all arms. Published for Stoc-SoBiRL: outer steps
// eps^-1.5, samples eps^-3.5; both upper bounds.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "core/hypergradient/hypergradient.h"
#include "core/streaming/sampled_follower.h"
#include "tests/benchmarks/draw_noisy_return.h"
#include "tests/benchmarks/log_log_plot.h"

namespace bilevel {
namespace {

struct Arm {
  const char* name;
  bool momentum, weights, soft_q;
};
constexpr int64_t kBatch = 4;  // trajectories a step

constexpr Arm kArms[] = {{"SoBiRL", false, true, false},
                         {"Stoc-SoBiRL", true, true, false},
                         {"Stoc-SoBiRL, no W", true, false, false},
                         {"Stoc-SoBiRL, soft Q", true, true, true}};

// Of one run, at every recorded step.
struct Trace {
  std::vector<double> accuracy, samples;
};

std::vector<int64_t> Checkpoints(int64_t last) {
  std::vector<int64_t> steps;
  for (double k = 4; static_cast<int64_t>(k) <= last; k *= 1.1) {
    if (steps.empty() || static_cast<int64_t>(k) > steps.back()) steps.push_back(static_cast<int64_t>(k));
  }
  return steps;
}

Trace Run(const Arm& arm, uint64_t seed, const std::vector<int64_t>& checkpoints) {
  const BilevelProblem problem = DrawNoisyReturn(seed);
  SampledFollowerOptions options{.seed = seed};
  if (arm.soft_q) {
    options.answer = SampledFollowerOptions::Answer::kSoftQ;
    options.critic = SampledFollowerOptions::Critic::kLearned;
    options.soft_q = {.q = {.power = 0.5}, .gradient = {.power = 0.5}};
  }
  options.weighted = arm.weights;
  SampledFollower follower = *SampledFollower::Create(problem, options);
  StochasticDescent descent(problem, Vector::Ones(problem.num_parameters),
                            {.momentum = arm.momentum, .gradient_tolerance = 0, .max_steps = checkpoints.back() + 1});
  HypergradientEvaluator exact(problem, {});
  Trace trace;
  double sum = 0;
  std::vector<double> sums{0};  // of |grad|^2, evaluated every `stride` steps and in between taken as constant
  double current = 0;
  for (int64_t k = 1; k <= checkpoints.back(); ++k) {
    const int64_t stride = std::max<int64_t>(1, k / 50);
    if (k % stride == 0) current = exact.Evaluate(descent.x(), {})->gradient.squaredNorm();
    sums.push_back(sum += current);
    const auto sweeps = k == 1 ? 400 : static_cast<int64_t>(std::ceil(std::pow(static_cast<double>(k), 2.0 / 3)));
    descent.Take(*follower.Sample(descent.x(), descent.kept_share(), {.trajectories = kBatch, .sweeps = sweeps}, {}));
    if (trace.accuracy.size() < checkpoints.size() && k == checkpoints[trace.accuracy.size()]) {
      const int64_t half = k / 2;
      trace.accuracy.push_back((sum - sums[static_cast<size_t>(half)]) / static_cast<double>(k - half));
      trace.samples.push_back(static_cast<double>(follower.acted() + follower.learned()));
    }
  }
  return trace;
}

// Means over seeds, some of them perhaps several times.
struct Curve {
  std::vector<double> steps, samples, accuracy;
};
Curve Average(const std::vector<Trace>& traces, const std::vector<size_t>& seeds,
              const std::vector<int64_t>& checkpoints) {
  Curve curve;
  for (size_t i = 0; i < checkpoints.size(); ++i) {
    double accuracy = 0, samples = 0;
    for (const size_t seed : seeds) {
      accuracy += traces[seed].accuracy[i] / static_cast<double>(seeds.size());
      samples += traces[seed].samples[i] / static_cast<double>(seeds.size());
    }
    curve.steps.push_back(static_cast<double>(checkpoints[i]));
    curve.samples.push_back(samples);
    curve.accuracy.push_back(accuracy);
  }
  return curve;
}

// The slope of log count against log eps, eps from `high` down to `low`.
double Exponent(const Curve& curve, const std::vector<double>& counts, double high, double low) {
  constexpr int kPoints = 20;
  double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0;
  for (int i = 0; i <= kPoints; ++i) {
    const double eps = high * std::pow(low / high, static_cast<double>(i) / kPoints);
    const auto found = std::find_if(curve.accuracy.begin(), curve.accuracy.end(), [=](double a) { return a <= eps; });
    if (found == curve.accuracy.end()) continue;  // not reached by this draw
    const double x = std::log(eps), y = std::log(counts[static_cast<size_t>(found - curve.accuracy.begin())]);
    n += 1, sx += x, sy += y, sxx += x * x, sxy += x * y;
  }
  return n < 3 ? std::nan("") : (n * sxy - sx * sy) / (n * sxx - sx * sx);
}

struct Estimate {
  double value, low, high;
};
Estimate Interval(double value, std::vector<double> draws) {
  draws.erase(std::remove_if(draws.begin(), draws.end(), [](double d) { return std::isnan(d); }), draws.end());
  if (draws.empty()) return {value, std::nan(""), std::nan("")};
  std::sort(draws.begin(), draws.end());
  const auto at = [&](double share) {
    return draws[static_cast<size_t>(share * static_cast<double>(draws.size() - 1))];
  };
  return {value, at(0.025), at(0.975)};
}

struct Flags {
  bool quick = false;
  std::string csv, svg;
};

void Main(const Flags& flags) {
  const size_t seeds = flags.quick ? 3 : 20;
  const int bootstraps = flags.quick ? 50 : 1000;
  std::ofstream csv;
  if (!flags.csv.empty()) {
    csv.open(flags.csv);
    csv << "arm,outer_step,samples,squared_gradient,low,high\n";
  }
  std::vector<LogLogPlot::Panel> panels{{"against outer steps", {}}, {"against samples", {}}};
  std::printf("  %-20s %10s %10s %9s %8s  %-24s %-24s\n", "arm", "steps", "samples", "|grad|^2", "decades",
              "outer steps ~ eps^", "samples ~ eps^");
  for (const Arm& arm : kArms) {
    const auto checkpoints = Checkpoints(flags.quick ? 200 : arm.soft_q ? 6000 : 60'000);
    std::vector<Trace> traces;
    for (size_t seed = 1; seed <= seeds; ++seed) traces.push_back(Run(arm, seed, checkpoints));
    std::vector<size_t> all;
    for (size_t seed = 0; seed < seeds; ++seed) all.push_back(seed);
    const Curve curve = Average(traces, all, checkpoints);
    // Down to what the arm reaches in the end, from where it has left the start.
    const double low = curve.accuracy.back() * 1.05;
    const double high = std::min(100 * low, 0.75 * curve.accuracy.front());
    std::vector<double> by_steps, by_samples;
    std::vector<std::vector<double>> spread(checkpoints.size());
    Rng rng(7);
    for (int b = 0; b < bootstraps; ++b) {
      std::vector<size_t> drawn;
      for (size_t i = 0; i < seeds; ++i) drawn.push_back(static_cast<size_t>(rng.Below(seeds)));
      const Curve redrawn = Average(traces, drawn, checkpoints);
      by_steps.push_back(Exponent(redrawn, redrawn.steps, high, low));
      by_samples.push_back(Exponent(redrawn, redrawn.samples, high, low));
      for (size_t i = 0; i < checkpoints.size(); ++i) spread[i].push_back(redrawn.accuracy[i]);
    }
    const Estimate steps = Interval(Exponent(curve, curve.steps, high, low), by_steps);
    const Estimate samples = Interval(Exponent(curve, curve.samples, high, low), by_samples);
    std::printf("  %-20s %10.0f %10.3g %9.2e %8.1f  %6.2f [%5.2f, %5.2f]    %6.2f [%5.2f, %5.2f]\n", arm.name,
                curve.steps.back(), curve.samples.back(), curve.accuracy.back(), std::log10(high / low), steps.value,
                steps.low, steps.high, samples.value, samples.low, samples.high);
    std::fflush(stdout);
    panels[0].curves.push_back({arm.name, {}});
    panels[1].curves.push_back({arm.name, {}});
    for (size_t i = 0; i < checkpoints.size(); ++i) {
      const Estimate accuracy = Interval(curve.accuracy[i], spread[i]);
      if (csv.is_open()) {
        csv << '"' << arm.name << "\"," << checkpoints[i] << ',' << curve.samples[i] << ',' << accuracy.value << ','
            << accuracy.low << ',' << accuracy.high << '\n';
      }
      panels[0].curves.back().points.emplace_back(curve.steps[i], curve.accuracy[i]);
      panels[1].curves.back().points.emplace_back(curve.samples[i], curve.accuracy[i]);
    }
  }
  // Through the last point of Stoc-SoBiRL and of its soft Q arm.
  const auto published = [&](size_t panel, size_t curve, double exponent) {
    const auto [x, y] = panels[panel].curves[curve].points.back();
    return std::vector<std::pair<double, double>>{{x / 300, y * std::pow(300, 1 / exponent)}, {x, y}};
  };
  panels[0].curves.push_back({"published", published(0, 1, 1.5)});
  panels[1].curves.push_back({"published", published(1, 3, 3.5)});
  if (!flags.svg.empty()) {
    std::ofstream(flags.svg) << LogLogPlot::Draw(panels, "count", "|grad phi|^2, mean over the latter half");
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
