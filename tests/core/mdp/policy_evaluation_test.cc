// What a fixed policy brings: identities, bounds for another policy, and differences.

#include "core/mdp/policy_evaluation.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/random_problem.h"
#include "tests/support/solved_at.h"

namespace bilevel::testing {
namespace {

constexpr int kStates = 4, kActions = 3, kRows = kStates * kActions;

// Some actions are rare.
Vector DrawPolicy(Rng& rng) {
  Eigen::MatrixXd pi = DrawNormal(rng, kRows, 2).array().exp().matrix().reshaped(kActions, kStates);
  for (int s = 0; s < kStates; ++s) pi.col(s) /= pi.col(s).sum();
  return pi.reshaped();
}

Vector DrawRho(Rng& rng) { return DrawNormal(rng, kStates).cwiseAbs(); }

struct Fixed {
  TabularMdp mdp;
  Vector pi;
  PolicySystem system;
  Interrupt never;
  PolicyInput input;

  Fixed(TabularMdp of, Vector policy)
      : mdp(std::move(of)),
        pi(std::move(policy)),
        system(mdp, PolicySystem::Kind::kDirect),
        input{mdp, pi, system, 1e-15, never} {
    system.SetPolicy(pi);
  }
  Fixed(const Fixed&) = delete;
};

TabularMdp Draw(Rng& rng) { return *TabularMdp::Create(DrawMdp(rng, kStates, kActions, false, true)); }

TEST(PolicyEvaluation, ValueAndOccupancyAreTwoWaysToTheReturn) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    Fixed fixed(Draw(rng), DrawPolicy(rng));
    const Vector c = DrawNormal(rng, kRows), rho = DrawRho(rng);
    const double gamma = 0.95 * rng.Uniform();
    const PolicyValue value = EvaluatePolicy(fixed.input, gamma, c, nullptr);
    const Occupancy occupancy = EvaluateOccupancy(fixed.input, gamma, rho, nullptr);
    EXPECT_NEAR(rho.dot(value.value), occupancy.visits.dot(c), 1e-11);
    EXPECT_LT((SumOverActions(fixed.mdp, occupancy.visits) - occupancy.states).norm(), 1e-11);
    EXPECT_LT(SumOverActions(fixed.mdp, fixed.pi.cwiseProduct(value.advantage)).norm(), 1e-11);
    const Vector q = value.advantage + RepeatForActions(fixed.mdp, value.value);
    EXPECT_LT((q - c - gamma * fixed.mdp.ExpectNext(value.value)).norm(), 1e-12);
    EXPECT_LT(value.residual.norm() + occupancy.residual.norm(), 1e-12);
  }
}

// Another policy and another cost, whose distances are known. Nothing hides a missing term where there is no cost, no
// discount, the same policy, or where only one state's cost moves and another leads there by a rare action.
TEST(PolicyEvaluation, BoundsCoverAnotherPolicyAndCost) {
  for (uint64_t seed = 1; seed <= 600; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const TabularMdp mdp = Draw(rng);
    const Vector pi = DrawPolicy(rng);
    Fixed fixed(mdp, pi), other(mdp, seed % 5 == 0 ? pi : DrawPolicy(rng));
    const double gamma = seed % 3 == 0 ? 0 : 0.9 * rng.Uniform();
    const Vector c = (seed % 2) * DrawNormal(rng, kRows), rho = DrawRho(rng);
    Vector change = DrawNormal(rng, kRows);
    if (seed % 4 == 0) change.tail(kRows - kActions).setZero();
    FollowerError error;
    error.pi_radius = (other.pi - fixed.pi).cwiseAbs();
    error.kappa = std::max(0.0, (other.pi.array() / fixed.pi.array()).maxCoeff() - 1);
    Majorant majorant(fixed.mdp, fixed.system, gamma, error.kappa, fixed.never);

    const PolicyValue value = EvaluatePolicy(fixed.input, gamma, c, nullptr),
                      exact = EvaluatePolicy(other.input, gamma, c + change, nullptr);
    const PolicyValueRadius radius = BoundPolicyValue(fixed.input, gamma, c, change.cwiseAbs(), value, error, majorant);
    EXPECT_TRUE(Below((exact.value - value.value).cwiseAbs(), radius.value));
    EXPECT_TRUE(Below((exact.advantage - value.advantage).cwiseAbs(), radius.advantage));

    const Occupancy occupancy = EvaluateOccupancy(fixed.input, gamma, rho, nullptr),
                    visited = EvaluateOccupancy(other.input, gamma, rho, nullptr);
    const OccupancyRadius reach = BoundOccupancy(fixed.input, gamma, rho, occupancy, error, majorant);
    EXPECT_TRUE(Below((visited.states - occupancy.states).cwiseAbs(), reach.states));
    EXPECT_TRUE(Below((visited.visits - occupancy.visits).cwiseAbs(), reach.visits));
  }
}

TEST(PolicyEvaluation, TangentsAreCentralDifferences) {
  constexpr double kStep = 1e-5;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    Fixed fixed(Draw(rng), DrawPolicy(rng));
    const double gamma = 0.9 * rng.Uniform(), discount = rng.Normal();
    const Vector c = DrawNormal(rng, kRows), c_tangent = DrawNormal(rng, kRows);
    const Vector rho = DrawRho(rng), rho_tangent = DrawNormal(rng, kStates);
    const Vector pi_tangent = DrawPolicy(rng) - fixed.pi;
    const auto entries = static_cast<Eigen::Index>(fixed.mdp.num_entries());
    const Vector P = Eigen::Map<const Vector>(fixed.mdp.Probabilities().data(), entries);
    const Vector P_tangent = DrawNormal(rng, entries);
    struct Answers {
      PolicyValue value;
      Occupancy occupancy;
    };
    const auto at = [&](double h) {
      const Vector moved = P + h * P_tangent;
      TabularMdp mdp = fixed.mdp;
      mdp.Move(std::vector<double>(moved.begin(), moved.end()), mdp.initial_distribution(), 0);
      Fixed there(std::move(mdp), fixed.pi + h * pi_tangent);
      return Answers{EvaluatePolicy(there.input, gamma + h * discount, c + h * c_tangent, nullptr),
                     EvaluateOccupancy(there.input, gamma + h * discount, rho + h * rho_tangent, nullptr)};
    };
    const Answers here = at(0), after = at(kStep), before = at(-kStep);
    const PolicyDirection direction{pi_tangent, {P_tangent.data(), fixed.mdp.num_entries()}, discount};
    const PolicyValueTangent value = DifferentiatePolicyValue(fixed.input, gamma, here.value, direction, c_tangent);
    const OccupancyTangent occupancy =
        DifferentiateOccupancy(fixed.input, gamma, here.occupancy, direction, rho_tangent);
    const auto expect_equal = [](const Vector& tangent, const Vector& more, const Vector& less) {
      EXPECT_LT((tangent - (more - less) / (2 * kStep)).norm(), 1e-6 * (1 + tangent.norm()));
    };
    expect_equal(value.value, after.value.value, before.value.value);
    expect_equal(value.advantage, after.value.advantage, before.value.advantage);
    expect_equal(occupancy.states, after.occupancy.states, before.occupancy.states);
    expect_equal(occupancy.visits, after.occupancy.visits, before.occupancy.visits);
  }
}

}  // namespace
}  // namespace bilevel::testing
