// Pullback in every argument against central differences of the long double reference, and its bounds.

#include "core/hypergradient/pullback.h"

#include <functional>

#include "gtest/gtest.h"
#include "tests/support/reference.h"
#include "tests/support/sanitized.h"

namespace bilevel::testing {
namespace {

constexpr uint64_t kSeeds = kSanitized ? 4 : 24;

// F = sum g_pi pi + sum g_Q Q + sum g_V V of the reference answer.
long double Objective(const TabularMdpSpec& mdp, const LongVector& reward, long double gamma, long double tau,
                      const OutputCotangents& g) {
  const ReferenceSolution solution = SolveReference(mdp, reward, gamma, tau);
  return solution.pi.dot(g.policy.cast<long double>()) + solution.q.dot(g.q.cast<long double>()) +
         solution.value.dot(g.value.cast<long double>());
}

long double Central(const std::function<long double(long double)>& f) {
  const long double h = 1e-5L;  // error h^2 times the third derivative, checked by the fourth-order formula
  return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h);
}

struct Sample {
  TabularMdpSpec spec;
  TabularMdp mdp;
  RegularizedMdp follower;
  OutputCotangents g;
};

Sample Draw(uint64_t seed, double min_tau) {
  Rng rng(seed);
  TabularMdpSpec spec = DrawMdp(rng, 6, 3, seed % 2 == 0, seed % 3 == 0);
  auto mdp = TabularMdp::Create(spec);
  EXPECT_TRUE(mdp.ok());
  Sample sample{spec, *std::move(mdp), {}, {}};
  sample.follower = FollowerOf(sample.mdp, DrawNormal(rng, 18), 1 - std::pow(10, -0.3 - 1.5 * rng.Uniform()),
                               std::pow(min_tau, rng.Uniform()));
  sample.g = {DrawNormal(rng, 18), DrawNormal(rng, 18), DrawNormal(rng, 6)};
  for (Eigen::Index row = 0; row < 18; ++row) {
    if (!sample.mdp.available(row)) sample.g.policy[row] = sample.g.q[row] = 0;
  }
  return sample;
}

PullbackResult PullBack(const Sample& sample, const LowerLevelOptions& options = {}) {
  RegularizedMdp follower = sample.follower;
  follower.mdp = &sample.mdp;
  PolicySystem system(sample.mdp, SystemKind(options, sample.mdp));
  const auto solution = SolveLowerLevel(follower, options, {}, Interrupt(), system);
  EXPECT_TRUE(solution.ok()) << solution.status();
  system.SetPolicy(solution->backup.pi);
  const FollowerError error = BoundFollowerError(follower, *solution, system, Interrupt());
  return Pullback(follower, *solution, error, sample.g,
                  {.adjoint_tolerance = options.adjoint_tolerance, .want_transitions = true}, {}, Interrupt(), system);
}

struct Exact {
  Vector reward, transitions;
  double discount, temperature;
};

Exact Differences(const Sample& sample) {
  const LongVector r = sample.follower.reward.cast<long double>();
  const long double gamma = sample.follower.discount, tau = sample.follower.temperature;
  Exact exact;
  exact.reward = Vector::Zero(r.size());
  for (Eigen::Index row = 0; row < r.size(); ++row) {
    if (!sample.mdp.available(row)) continue;
    exact.reward[row] = static_cast<double>(Central([&](long double h) {
      LongVector moved = r;
      moved[row] += h;
      return Objective(sample.spec, moved, gamma, tau, sample.g);
    }));
  }
  exact.transitions = Vector::Zero(static_cast<Eigen::Index>(sample.spec.probabilities.size()));
  for (size_t k = 0; k < sample.spec.probabilities.size(); ++k) {
    exact.transitions[static_cast<Eigen::Index>(k)] = static_cast<double>(Central([&](long double h) {
      TabularMdpSpec moved = sample.spec;
      const double p = moved.probabilities[k];
      moved.probabilities[k] = static_cast<double>(p + h);
      // The step as it was represented.
      const long double step = static_cast<long double>(moved.probabilities[k]) - p;
      const long double f = Objective(moved, r, gamma, tau, sample.g),
                        f0 = Objective(sample.spec, r, gamma, tau, sample.g);
      return f0 + (f - f0) * (h / step);
    }));
  }
  exact.discount =
      static_cast<double>(Central([&](long double h) { return Objective(sample.spec, r, gamma + h, tau, sample.g); }));
  exact.temperature =
      static_cast<double>(Central([&](long double h) { return Objective(sample.spec, r, gamma, tau + h, sample.g); }));
  return exact;
}

TEST(Pullback, EqualsDifferencesInRewardTransitionsDiscountAndTemperature) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    const Sample sample = Draw(seed, 0.1);
    const PullbackResult result = PullBack(sample);
    const Exact exact = Differences(sample);
    // Fourth-order differences at h = 1e-5: about (h/tau)^4 and 1e-19/h relative.
    EXPECT_LT((result.reward - exact.reward).norm(), 1e-9 * (1 + exact.reward.norm()));
    EXPECT_LT((result.transitions - exact.transitions).norm(), 1e-8 * (1 + exact.transitions.norm()));
    EXPECT_NEAR(result.discount, exact.discount, 1e-8 * (1 + std::abs(exact.discount)));
    EXPECT_NEAR(result.temperature, exact.temperature, 1e-8 * (1 + std::abs(exact.temperature)));
  }
}

TEST(Pullback, BoundsLieAboveTheErrorsOfALooselySolvedAnswer) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    const Sample sample = Draw(seed, 0.1);
    const Exact exact = Differences(sample);
    for (const double tolerance : {1e-2, 1e-4}) {
      const PullbackResult result = PullBack(
          sample,
          {.residual_tolerance = tolerance, .method = LowerLevelMethod::kSweeps, .adjoint_tolerance = tolerance});
      const double noise = 1e-8;  // of the differences
      EXPECT_LE((result.reward - exact.reward).norm(), result.reward_error_bound + noise * exact.reward.norm());
      EXPECT_LE((result.transitions - exact.transitions).norm(),
                result.transitions_error_bound + noise * exact.transitions.norm());
      EXPECT_LE(std::abs(result.discount - exact.discount),
                result.discount_error_bound + noise * std::abs(exact.discount));
      EXPECT_LE(std::abs(result.temperature - exact.temperature),
                result.temperature_error_bound + noise * std::abs(exact.temperature));
    }
  }
}

TEST(Pullback, EstimateIsTheErrorToThreeDigitsWhenSolvedModerately) {
  int close = 0, all = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Sample sample = Draw(seed, 0.1);
    const Exact exact = Differences(sample);
    const PullbackResult result = PullBack(sample, {.residual_tolerance = 1e-5, .method = LowerLevelMethod::kSweeps});
    const double error = (result.reward - exact.reward).norm();
    if (error < 1e-7) continue;
    ++all;
    close += std::abs(result.reward_error_estimate - error) < 5e-3 * error;
  }
  EXPECT_GE(all, static_cast<int>(kSeeds) / 3);
  EXPECT_GE(close, all * 9 / 10);
}

}  // namespace
}  // namespace bilevel::testing
