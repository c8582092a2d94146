// Environments that move, against their mixtures in long double.

#include "core/problem/parametric_dynamics.h"
#include "core/base/floating_point.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/random_problem.h"
#include "tests/support/reference.h"

namespace bilevel::testing {
namespace {

using ::testing::HasSubstr;
using Triplets = std::vector<Eigen::Triplet<double, int64_t>>;

SparseRows Sparse(Eigen::Index rows, Eigen::Index cols, const Triplets& triplets) {
  SparseRows result(rows, cols);
  result.setFromTriplets(triplets.begin(), triplets.end());
  return result;
}

// One action, from everywhere to everywhere.
TabularMdpSpec Complete(int num_states) {
  TabularMdpSpec spec{.num_states = num_states, .num_actions = 1};
  spec.offsets.push_back(0);
  for (int s = 0; s < num_states; ++s) {
    for (int next = 0; next < num_states; ++next) {
      spec.columns.push_back(static_cast<uint32_t>(next));
      spec.probabilities.push_back(1.0 / num_states);
    }
    spec.offsets.push_back(spec.columns.size());
  }
  return spec;
}

// rho(s) = share_s and P(s2|s) = (share_(s2 + s) + 3 share_(s2 - s)) / 4, indices modulo S.
ParametricDynamicsSpec Shifts(int S, double scale) {
  Triplets transitions, initial;
  for (int s = 0; s < S; ++s) {
    initial.emplace_back(s, s, 1 / scale);
    for (int next = 0; next < S; ++next) {
      transitions.emplace_back(S * s + next, (next + s) % S, 0.25 / scale);
      transitions.emplace_back(S * s + next, (next - s + S) % S, 0.75 / scale);
    }
  }
  return {Sparse(Eigen::Index{S} * S, S, transitions), Sparse(S, S, initial)};
}

TEST(ParametricDynamics, RoundingCoversSharesThatLieFarApart) {
  constexpr double kInvisible = 1e-280;  // of all shares
  double largest = 0;
  for (uint64_t seed = 1; seed <= 1000; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const int S = 1 + static_cast<int>(rng.Below(12));
    const double scale = 0.5 + rng.Uniform();
    const ParameterMap map = *ParameterMap::Create(S, {{S, MapKind::kSoftmax, scale}});
    const ParametricDynamicsSpec spec = Shifts(S, scale);
    TabularMdp mdp = *TabularMdp::Create(Complete(S));
    const ParametricDynamics dynamics = *ParametricDynamics::Create(mdp, map, spec);
    const Vector x = std::pow(10.0, 3 * rng.Uniform()) * DrawNormal(rng, S), theta = map.Apply(x);
    dynamics.Move(theta, map.BoundRounding(x, theta), mdp);

    const LongVector wide = x.cast<long double>();
    LongVector shares = (wide.array() - wide.maxCoeff()).exp();
    shares *= scale / shares.sum();
    const auto expect_near = [&](const SparseRows& features, const Vector& probabilities) {
      const LongVector exact = Eigen::MatrixXd(features).cast<long double>() * shares;
      const Vector error = (exact - probabilities.cast<long double>()).cwiseAbs().cast<double>();
      const double claimed = mdp.probability_rounding() * kUnitRoundoff;
      EXPECT_TRUE((error.array() <= claimed * probabilities.array() + kInvisible).all());
      const Vector relative = error.array() / probabilities.array().max(kInvisible);
      largest = std::max(largest, (error.array() > kInvisible).select(relative, 0.0).maxCoeff());
    };
    expect_near(spec.transitions, Eigen::Map<const Vector>(mdp.Probabilities().data(), Eigen::Index{S} * S));
    expect_near(spec.initial, mdp.initial_distribution());
    EXPECT_LE(mdp.probability_rounding(), 1e3);
  }
  EXPECT_GT(largest, 100 * kUnitRoundoff);  // a bound that knows nothing of the spread would be wrong
}

// Of one state that always returns to itself, whose features' row is `row`.
std::string Refusal(const std::vector<ParameterGroup>& groups, const std::vector<double>& row) {
  const int n = static_cast<int>(row.size());
  const TabularMdp mdp = *TabularMdp::Create(Complete(1));
  Triplets triplets;
  for (int j = 0; j < n; ++j) triplets.emplace_back(0, j, row[static_cast<size_t>(j)]);
  const auto dynamics =
      ParametricDynamics::Create(mdp, *ParameterMap::Create(n, groups), {Sparse(1, n, triplets), SparseRows()});
  return std::string(dynamics.status().message());
}

TEST(ParametricDynamics, RefusesWhatDoesNotKeepProbabilities) {
  constexpr MapKind kShares = MapKind::kSoftmax;
  EXPECT_EQ(Refusal({{2, kShares, 0.5}, {1, kShares, 2}}, {1, 1, 0.25}), "");
  EXPECT_THAT(Refusal({{2, kShares, 0.5}, {1, kShares, 2}}, {1, 1, 0.5}), HasSubstr("sums to 1.5"));
  EXPECT_THAT(Refusal({{2, kShares, 1}}, {1, 0.5}), HasSubstr("sums between 0.5 and 1"));
  EXPECT_THAT(Refusal({{2, kShares, 1}, {1, kShares, 1}}, {1, 0, 1}), HasSubstr("sums between 0 and 1"));
  // One in sum, but the second share is negative.
  EXPECT_THAT(Refusal({{1, kShares, 1.5}, {1, kShares, -0.5}}, {1, 1}), HasSubstr("column 1 belongs to no"));
  EXPECT_THAT(Refusal({{1, MapKind::kIdentity, 1}}, {1}), HasSubstr("column 0 belongs to no"));
}

}  // namespace
}  // namespace bilevel::testing
