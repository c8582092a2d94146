#include "core/problem/terms/occupancy_cost.h"

#include "gtest/gtest.h"
#include "tests/support/known_problems.h"

namespace bilevel::testing {
namespace {

// The second action is rare and costs nothing; exactly it is as likely as the first and costs 1. Then f = 1/2 and
// yc = (-1/4, 1/4), of which the computed answer knows nothing: only the product of both errors covers them.
TEST(OccupancyCost, BoundsCoverARareActionWhoseCostIsNotKnown) {
  const TabularMdp mdp = *TabularMdp::Create(Bandit(2));
  SoftBackup backup;
  backup.pi = Vector{{1 - 1e-6, 1e-6}};
  PolicySystem system(mdp, PolicySystem::Kind::kDirect);
  system.SetPolicy(backup.pi);
  const Vector nowhere, value = Vector::Zero(1);
  const Interrupt never;
  const TermInput input{mdp, 0, value, backup, nowhere, nowhere, system, 1e-15, never};
  const OccupancyHorizon horizon{0, mdp.initial_distribution(), true, true};
  TermValue term;
  term.cost = Vector::Zero(2);
  term.occupancy = EvaluateOccupancy(input.policy(), horizon.gamma, horizon.rho, nullptr);
  FinishOccupancyTerm(input, horizon, nullptr, term);

  FollowerError error;
  error.pi_radius = (Vector::Constant(2, 0.5) - backup.pi).cwiseAbs();
  error.kappa = 0.5e6;
  Majorant majorant(mdp, system, horizon.gamma, error.kappa, never);
  const OccupancyRadius occupancy =
      BoundOccupancy(input.policy(), horizon.gamma, horizon.rho, term.occupancy, error, majorant);
  const TermRadius radius = BoundOccupancyTerm(input, horizon, term, error, occupancy, Vector::Unit(2, 1), majorant);
  EXPECT_GE(radius.value, 0.5 - 1e-12);
  EXPECT_GE(radius.centered_y.minCoeff(), 0.25 - 1e-12);
  EXPECT_LE(radius.centered_y.maxCoeff(), 2);
}

}  // namespace
}  // namespace bilevel::testing
