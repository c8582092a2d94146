// Gradient estimators beside the exact hyper-gradient: how far off, how noisy, how dear.
//
//   referees
//
// Problems: policy matching and the synthetic one at their x_1, Four-Rooms at x = 0 and at x ~ N(0, 1), and a random
// MDP whose leader earns a return. Columns:
//
//   bias     |E g - exact| / |exact|; of zeroth-order over 2000 directions, by control variate: good to a digit
//   sd       E[|g - E g|^2]^(1/2) / |exact|; 0 where nothing is drawn
//   cosine   of the angle between g and exact; of zeroth-order the mean over estimates
//   cost     time over that of an exact gradient, both from a cold start, one after the other
//   falls    by what factor the error (bias; sd where k varies) fell from the line above; "floor": both at rounding
//   level
//
// and after each estimator whether its error falls with its parameter on every line.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "client/problems/four_rooms.h"
#include "client/problems/policy_matching.h"
#include "client/problems/synthetic.h"
#include "tests/benchmarks/referees/draw_leader_return.h"
#include "tests/benchmarks/referees/iterated_differentiation.h"
#include "tests/benchmarks/referees/one_step.h"
#include "tests/benchmarks/referees/value_penalty.h"
#include "tests/benchmarks/referees/zeroth_order.h"
#include "tests/problems/decoded.h"

namespace bilevel::referees {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kDirections = 2000;     // in all estimates of a line together
constexpr double kFloor = 1e-9;       // errors below count as rounding
constexpr double kMinSeconds = 0.02;  // of repeated timing

struct Stage {
  const BilevelProblem& problem;
  const Vector& x;
  Vector exact;
};

struct Line {
  std::string parameter;
  double bias = 0;
  double deviation = 0;
  double cosine = 0;
  double cost = 0;     // in exact gradients
  bool noise = false;  // its error is the deviation
  double error() const { return noise ? deviation : bias; }
};

// Median seconds of a call, repeated for a while.
double Seconds(const std::function<void()>& call) {
  std::vector<double> seconds;
  for (double sum = 0; sum < kMinSeconds || seconds.size() < 3; sum += seconds.back()) {
    const auto begin = Clock::now();
    call();
    seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + static_cast<long>(seconds.size() / 2), seconds.end());
  return seconds[seconds.size() / 2];
}

double ExactSeconds(const Stage& stage) {
  return Seconds([&stage] { ExactGradient(stage.problem, stage.x); });
}

double Cosine(const Vector& a, const Vector& b) { return a.dot(b) / (a.norm() * b.norm()); }

Line Deterministic(const Stage& stage, std::string parameter, const std::function<Vector()>& estimate) {
  const Vector g = estimate();
  return {std::move(parameter), (g - stage.exact).norm() / stage.exact.norm(), 0, Cosine(g, stage.exact),
          Seconds([&] { estimate(); }) / ExactSeconds(stage)};
}

Line Sampled(const Stage& stage, double smoothing, int directions, bool noise) {
  char parameter[48];
  std::snprintf(parameter, sizeof parameter, "h = %g, k = %d", smoothing, directions);
  Vector bias = Vector::Zero(stage.x.size());
  double variance = 0, cosine = 0;
  const int estimates = kDirections / directions;
  const auto begin = Clock::now();
  for (int i = 0; i < estimates; ++i) {
    const ZerothOrderGradient g =
        EstimateByDifferences(stage.problem, stage.x, stage.exact,
                              {.smoothing = smoothing, .directions = directions, .seed = static_cast<uint64_t>(i)});
    bias += g.bias / estimates;
    variance += g.standard_error.squaredNorm() / estimates;
    cosine += Cosine(g.mean, stage.exact) / estimates;
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count() / estimates;
  return {parameter, bias.norm() / stage.exact.norm(), std::sqrt(variance) / stage.exact.norm(),
          cosine,    seconds / ExactSeconds(stage),    noise};
}

void Print(const char* estimator, const std::vector<Line>& lines, const char* parameter) {
  bool falls = lines.size() > 1;
  for (size_t i = 0; i < lines.size(); ++i) {
    const Line& line = lines[i];
    char fall[16] = "-";
    if (i > 0) {
      const double before = lines[i - 1].error(), after = line.error();
      const bool floor = before < kFloor && after < kFloor;
      std::snprintf(fall, sizeof fall, floor ? "floor" : "%.3g", before / after);
      falls = falls && (floor || after < before);
    }
    std::printf("  %-24s %-20s %8.1e %8.1e %9.6f %8.1f %8s\n", estimator, line.parameter.c_str(), line.bias,
                line.deviation, line.cosine, line.cost, fall);
  }
  if (parameter == nullptr) {
    std::printf("  %24s no parameter: converges to nothing\n", "");
  } else {
    std::printf("  %24s %s in %s\n", "", falls ? "converges" : "does not fall on every line", parameter);
  }
}

void Judge(const std::string& name, const BilevelProblem& problem, const Vector& x) {
  const RefereeGradient exact = ExactGradient(problem, x);
  const Stage stage{problem, x, exact.total()};
  std::printf("\n%s: n = %d, |exact| %.3g, its implicit part %.3g, exact gradient in %.0f us\n", name.c_str(),
              problem.num_parameters, stage.exact.norm(), exact.implicit.norm(), 1e6 * ExactSeconds(stage));
  std::printf("  %-24s %-20s %8s %8s %9s %8s %8s\n", "estimator", "", "bias", "sd", "cosine", "cost", "falls");

  std::vector<Line> lines;
  for (const double smoothing : {1e-1, 1e-2, 1e-3}) lines.push_back(Sampled(stage, smoothing, 100, false));
  Print("zeroth-order", lines, "the smoothing h");
  lines.clear();
  for (const int directions : {10, 100, 1000}) lines.push_back(Sampled(stage, 1e-3, directions, true));
  Print("zeroth-order", lines, "the directions k");

  Print("one step", {Deterministic(stage, "", [&] { return TruncateToOneStep(problem, x).total(); })}, nullptr);

  lines.clear();
  for (const int sweeps : {10, 100, 1000}) {
    lines.push_back(Deterministic(stage, "K = " + std::to_string(sweeps),
                                  [&] { return DifferentiateSweeps(problem, x, sweeps).total(); }));
  }
  Print("iterated differentiation", lines, "the sweeps K");

  lines.clear();
  for (const int exponent : {1, 2, 3, 4, 5}) {
    lines.push_back(Deterministic(stage, "sigma = 1e" + std::to_string(exponent), [&] {
      return DifferentiatePenalty(problem, x, std::pow(10, exponent)).gradient.total();
    }));
  }
  Print("value penalty", lines, "sigma");
  std::fflush(stdout);
}

int Main() {
  const client::SeededProblem matching = client::PolicyMatching(0), synthetic = client::Synthetic(0);
  Judge("policy matching, x_1", testing::Decoded(matching.problem), testing::ToVector(matching.start));
  Judge("synthetic, x_1", testing::Decoded(synthetic.problem), testing::ToVector(synthetic.start));
  const BilevelProblem four_rooms = testing::Decoded(client::FourRooms({.temperature = 0.003, .beta = 1}));
  Judge("Four-Rooms, lambda 0.003, beta 1, x = 0", four_rooms, Vector::Zero(four_rooms.num_parameters));
  Rng rng(1);
  Judge("Four-Rooms, lambda 0.003, beta 1, x ~ N(0, 1)", four_rooms,
        testing::DrawNormal(rng, four_rooms.num_parameters));
  const BilevelProblem leader_return = testing::Build(DrawLeaderReturn(1, 20));
  Judge("leader's return in a random MDP, x ~ N(0, 1)", leader_return,
        testing::DrawNormal(rng, leader_return.num_parameters));
  return 0;
}

}  // namespace
}  // namespace bilevel::referees

int main() { return bilevel::referees::Main(); }
