// A park that charges at the gate and for rides: the smallest problem we know where neither part of (13) will do alone.
//
// A visitor takes or leaves what is offered: the gate, at price x_0, then two rides, at price x_1 each, worth 1; gamma
// = 0.9, tau = 1. Leaving the gate ends the visit, leaving a ride does not. The leader wants the most revenue,
//
//   phi(x) = p_0 T,   T = x_0 + gamma N x_1,   p_0 = sigmoid((gamma V_1 - x_0) / tau),   N = p_1 + gamma p_2
//
// p_1 = p_2 = sigmoid((1 - x_1) / tau): who takes a ride; V_1: what the rides are worth to who is inside; N' = -p_1 (1
// - p_1) - gamma p_2 (1 - p_2). Prices are in [-1, 4].
//
//   exploitation   (p_0, gamma p_0 N) > 0: whoever pays would pay more. Alone it ends in the corner (4, 4), which
//                  nobody enters
//   exploration    (-p_0 (1 - p_0) T, gamma p_0 (x_1 N' - (1 - p_0) N T)) / tau: who pays less comes more. Alone it
//   ends
//                  at (0, 0), where all is free
//   both           rides at cost and all charged at the gate, a two-part tariff: x_1 = 0 and, with W exp(W) = z,
//                  x_0 = tau (1 + W), phi = tau W,  z = exp(gamma V_1(0) / tau - 1)
//
// Oi (1971), "A Disneyland dilemma: two-part tariffs for a Mickey Mouse monopoly".

#ifndef BILEVEL_TESTS_BENCHMARKS_TOLL_PARK_H_
#define BILEVEL_TESTS_BENCHMARKS_TOLL_PARK_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "core/base/rng.h"
#include "core/problem/bilevel_problem.h"

namespace bilevel {

struct TollPark {
  static constexpr double kDiscount = 0.9, kTemperature = 1, kWorth = 1, kLowest = -1, kHighest = 4;

  static BilevelProblem Problem();
  static Vector Start();  // (3, 2)

  // In closed form.
  static double Revenue(double gate, double ride);
  static Vector Optimum();
};

// Both parts of the hyper-gradient at x.
struct GradientParts {
  double objective = 0;
  Vector exploitation, exploration;

  double cosine() const { return exploitation.dot(exploration) / (exploitation.norm() * exploration.norm()); }
};

// Of the leader's return, with exact answer and critics. Exact: from the model. Else: estimates by (13), reward to go
// less V_u.
GradientParts ExactParts(const BilevelProblem& problem, const Vector& x);
GradientParts SampledParts(const BilevelProblem& problem, const Vector& x, int trajectories, Rng& rng);

// Projected ascent along what `choose` makes of the parts, x_{k+1} = Project(x_k + min(step, 0.05 / |d|) d), until a
// step is shorter than `shortest` or `most_steps` are taken. All points, the start first.
struct AscentPath {
  std::vector<Vector> points;
  std::vector<double> cosines;  // at each
};
AscentPath Ascend(const BilevelProblem& problem, const std::function<GradientParts(const Vector&)>& parts,
                  const std::function<Vector(const GradientParts&)>& choose, double step, double shortest,
                  int most_steps);

}  // namespace bilevel

#endif  // BILEVEL_TESTS_BENCHMARKS_TOLL_PARK_H_
