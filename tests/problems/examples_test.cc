// The examples of each use, optimised: what each header claims of its answer, found again by other means.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <vector>

#include "Eigen/Cholesky"
#include "client/array.h"
#include "client/problems/congestion_tax.h"
#include "client/problems/inverse_rl.h"
#include "client/problems/reward_shaping.h"
#include "client/problems/stackelberg_game.h"
#include "client/problems/two_state.h"
#include "client/problems/worst_case.h"
#include "core/base/rng.h"
#include "core/hypergradient/finite_difference.h"
#include "core/hypergradient/hessian.h"
#include "core/problem/advice.h"
#include "core/solvers/optimize.h"
#include "gtest/gtest.h"
#include "tests/problems/decoded.h"

namespace bilevel::testing {
namespace {

OuterResult OptimizeFrom(const BilevelProblem& problem, const Vector& x, double tolerance = 1e-8) {
  ProgressReporter reporter;
  return Optimize(problem, x, ProjectedGradientOptions{}, {.gradient_tolerance = tolerance, .max_iterations = 20'000},
                  Interrupt(), reporter)
      .value();
}

OuterResult OptimizeFromZero(const BilevelProblem& problem, double tolerance = 1e-8) {
  return OptimizeFrom(problem, Vector::Zero(problem.num_parameters), tolerance);
}

HypergradientPoint At(const BilevelProblem& problem, const Vector& x) {
  return HypergradientEvaluator(problem, {}).Evaluate(x, Interrupt()).value();
}

double ObjectiveAt(const BilevelProblem& problem, const Vector& x) {
  return HypergradientEvaluator(problem, {}).EvaluateObjective(x, Interrupt())->value;
}

struct Example {
  const char* name;
  v1::Problem problem;
};

std::vector<Example> EveryExample() {
  return {{"congestion-tax", client::CongestionTax()},
          {"reward-shaping", client::RewardShaping()},
          {"inverse-rl", client::InverseRl()},
          {"stackelberg-game", client::StackelbergGame()},
          {"worst-case", client::WorstCase()}};
}

// phi'' = p (1 - p) ((1 - x)(1 - 2 p) - 2), which is -p at the maximum, where (1 - x)(1 - p) = 1.
TEST(TwoState, StationarityReportsTheCurvatureByHand) {
  const BilevelProblem problem = Decoded(client::TwoState());
  ProgressReporter reporter;
  const OuterResult result =
      Optimize(problem, Vector::Zero(1), TruncatedNewtonOptions{},
               {.gradient_tolerance = 1e-9, .describe_stationarity = true}, Interrupt(), reporter)
          .value();
  const double x = -client::kTwoStateOptimum, p = 1 / (1 + std::exp(-x));
  EXPECT_NEAR(result.best.x[0], x, 1e-8);
  EXPECT_EQ(result.stationarity->kind, Stationarity::Kind::kOptimum);
  EXPECT_NEAR(result.stationarity->smallest, p, 1e-8);
  EXPECT_EQ(result.stationarity->direction, Vector::Ones(1));
}

// Step 1e-5: the Stackelberg game is stiff, and longer differences show its third derivative.
TEST(Examples, HypergradientEqualsCentralDifferences) {
  for (const Example& example : EveryExample()) {
    SCOPED_TRACE(example.name);
    const BilevelProblem problem = Decoded(example.problem);
    Rng rng(1);
    for (int draw = 0; draw < 4; ++draw) {
      Vector x = Vector::Zero(problem.num_parameters);
      if (draw > 0) {
        for (double& entry : x) entry = 0.3 * rng.Normal();
      }
      const auto check = CheckGradient(problem, problem.feasible_set.Project(x), {}, {.step = 1e-5}, Interrupt());
      ASSERT_TRUE(check.ok()) << check.status();
      EXPECT_LT(check->relative_error_l2, 1e-6) << "draw " << draw;
    }
  }
}

TEST(Examples, NothingInThemLooksUnintended) {
  for (const Example& example : EveryExample()) {
    const BilevelProblem problem = Decoded(example.problem);
    for (const Advice& advice : Advise(problem, Vector::Zero(problem.num_parameters))) {
      ADD_FAILURE() << example.name << ": " << advice.field << " " << advice.description;
    }
  }
}

// ---- Tax.

constexpr int kQuarters = client::kCongestionTaxQuarters;

// The commuters of congestion_tax.h by hand, backwards in time and then forwards: who takes the centre when.
Vector TrafficByHand(const Vector& tolls) {
  constexpr double kDiscount = 0.99, kTemperature = 0.3;
  Vector traffic = Vector::Zero(kQuarters);
  for (const auto& [begins, share] : {std::pair{2, 0.6}, std::pair{4, 0.4}}) {
    std::array<double, kQuarters> centre{}, wait{};
    double value = 0;
    for (int t = kQuarters - 1; t >= 0; --t) {
      const double schedule = t > begins ? t - begins : 0.5 * (begins - t);
      const double by_centre = std::exp((-0.5 - schedule - tolls[t]) / kTemperature);
      const double by_ring = std::exp((-1.5 - schedule) / kTemperature);
      const double later = t + 1 < kQuarters ? std::exp(kDiscount * value / kTemperature) : 0;
      const double all = by_centre + by_ring + later;
      value = kTemperature * std::log(all);
      centre[t] = by_centre / all;
      wait[t] = later / all;
    }
    double home = share;
    for (int t = 0; t < kQuarters; ++t) {
      traffic[t] += home * centre[t];
      home *= kDiscount * wait[t];
    }
  }
  return traffic;
}

TEST(CongestionTax, BestTollsAreTheMarginalHarm) {
  const BilevelProblem problem = Decoded(client::CongestionTax());
  const OuterResult result = OptimizeFromZero(problem);
  ASSERT_EQ(result.termination.reason, StopReason::kConverged) << result.termination.detail;
  const Vector& tolls = result.best.x;
  // The gradient, at most 1e-8, is dm/dx times the difference; the smallest singular value of dm/dx is 0.065.
  EXPECT_LT((tolls - client::kCongestionTaxHarm * TrafficByHand(tolls)).lpNorm<Eigen::Infinity>(), 1e-6);

  // The same without any optimisation: iterate the fixed point.
  Vector fixed = Vector::Zero(kQuarters);
  for (int k = 0; k < 500; ++k) fixed += 0.2 * (client::kCongestionTaxHarm * TrafficByHand(fixed) - fixed);
  EXPECT_LT((tolls - fixed).lpNorm<Eigen::Infinity>(), 1e-6);

  const Vector free = TrafficByHand(Vector::Zero(kQuarters)), taxed = TrafficByHand(tolls);
  const double before = ObjectiveAt(problem, Vector::Zero(kQuarters));
  EXPECT_NEAR(before, -0.875422, 1e-6);
  EXPECT_NEAR(result.best.objective, -0.707819, 1e-6);
  std::printf("welfare %.6f, with tolls %.6f; through the centre %.3f, then %.3f\n  quarter  before  toll    after\n",
              before, result.best.objective, free.sum(), taxed.sum());
  for (int t = 0; t < kQuarters; ++t) std::printf("  %d        %.3f   %.4f  %.3f\n", t, free[t], tolls[t], taxed[t]);
}

TEST(CongestionTax, GradientIsTheResponseTimesWhatTollsExceedTheHarmBy) {
  const BilevelProblem problem = Decoded(client::CongestionTax());
  const Vector tolls{{0.1, 0.9, 0.3, 0.6, 0.2, 0.5}};
  const Vector excess = tolls - client::kCongestionTaxHarm * TrafficByHand(tolls);
  const Vector gradient = At(problem, tolls).gradient;
  for (int t = 0; t < kQuarters; ++t) {
    const Vector step = 1e-5 * Vector::Unit(kQuarters, t);
    const Vector response = (TrafficByHand(tolls + step) - TrafficByHand(tolls - step)) / 2e-5;
    EXPECT_NEAR(gradient[t], excess.dot(response), 1e-8);
  }
}

// ---- Reward shaping.

TEST(RewardShaping, PotentialsDoNothing) {
  v1::Problem wire = client::RewardShaping();
  const BilevelProblem problem = Decoded(wire);
  const Context& context = problem.contexts[0];
  Rng rng(2);
  Vector potential(client::kRewardShapingCells);
  for (double& entry : potential) entry = rng.Normal();
  Vector bonus = context.discount * context.mdp->ExpectNext(potential);
  for (Eigen::Index row = 0; row < bonus.size(); ++row) bonus[row] -= potential[row / context.mdp->num_actions()];

  std::vector<double> base = client::ToVector(wire.contexts(0).reward().base()).value();
  for (size_t row = 0; row < base.size(); ++row) base[row] += bonus[static_cast<Eigen::Index>(row)];
  *wire.mutable_contexts(0)->mutable_reward()->mutable_base() = client::MakeArray(base);
  const BilevelProblem shaped = Decoded(wire);
  for (int draw = 0; draw < 3; ++draw) {
    const Vector x = draw * Vector::LinSpaced(problem.num_parameters, -1, 1);
    const HypergradientPoint plain = At(problem, x), moved = At(shaped, x);
    EXPECT_NEAR(plain.objective, moved.objective, 1e-11);
    EXPECT_LT((plain.gradient - moved.gradient).norm(), 1e-10);
  }
}

TEST(RewardShaping, BestBonusesRiseTowardsThePrizeAndNoGridPointBeatsThem) {
  const BilevelProblem problem = Decoded(client::RewardShaping());
  const OuterResult result = OptimizeFromZero(problem, 1e-6);
  EXPECT_EQ(result.termination.reason, StopReason::kConverged) << result.termination.detail;
  const Vector bonus = problem.map.Apply(result.best.x);
  const int cells = problem.num_parameters;
  for (int s = 0; s + 1 < cells; ++s) EXPECT_LT(bonus[s], bonus[s + 1] + 1e-4);
  EXPECT_NEAR(bonus[0], -client::kRewardShapingBonus, 1e-5);
  EXPECT_NEAR(bonus[cells - 1], client::kRewardShapingBonus, 1e-5);
  EXPECT_NEAR(result.best.objective, 0.877138, 2e-6);
  EXPECT_LT(result.best.objective, std::pow(0.99, cells));  // the shortest way

  // Every way to put -0.1, 0 or 0.1 on each cell: 3^7.
  double best = 0;
  Vector x(cells);
  for (int code = 0; code < 2187; ++code) {
    for (int s = 0, rest = code; s < cells; ++s, rest /= 3) x[s] = 20.0 * (rest % 3 - 1);
    best = std::max(best, ObjectiveAt(problem, x));
  }
  EXPECT_LT(best, result.best.objective);
  EXPECT_NEAR(ObjectiveAt(problem, Vector::Constant(cells, 0)), 0.776922, 1e-6);
  EXPECT_NEAR(ObjectiveAt(problem, Vector::Constant(cells, -20)), 0.791475, 1e-6);
  EXPECT_NEAR(ObjectiveAt(problem, Vector::Constant(cells, 20)), 0.758537, 1e-6);
  std::printf("true return %.6f, best grid point %.6f; bonuses", result.best.objective, best);
  for (const double b : bonus) std::printf(" %.4f", b);
  std::printf("\n");
}

// ---- Inverse RL.

double Entropy(const double* distribution, int size) {
  double entropy = 0;
  for (int a = 0; a < size; ++a) entropy -= distribution[a] > 0 ? distribution[a] * std::log(distribution[a]) : 0;
  return entropy;
}

Vector TrueCosts() { return Eigen::Map<const Vector>(client::kInverseRlCosts.data(), 3); }

TEST(InverseRl, WithoutAPenaltyTheTrueCostsAreStationaryWithTheEntropyOfADecision) {
  const v1::Problem wire = client::InverseRl({.penalty = 0});
  const BilevelProblem problem = Decoded(wire);
  const HypergradientPoint truth = At(problem, TrueCosts());
  EXPECT_LT(truth.gradient.norm(), 1e-10);

  std::vector<double> counts = client::ToVector(wire.contexts(0).objective(0).demonstrations().counts()).value();
  double entropy = 0, all = 0;
  for (size_t s = 0; s < counts.size() / 4; ++s) {
    double* const row = &counts[4 * s];
    const double visits = row[0] + row[1] + row[2] + row[3];
    if (visits == 0) continue;  // the goal
    for (int a = 0; a < 4; ++a) row[a] /= visits;
    entropy += visits * Entropy(row, 4);
    all += visits;
  }
  EXPECT_NEAR(truth.objective, entropy / all, 1e-12);
  EXPECT_NEAR(truth.objective, 0.874850, 1e-6);

  const OuterResult result = OptimizeFromZero(problem, 1e-9);
  EXPECT_LT((result.best.x - TrueCosts()).lpNorm<Eigen::Infinity>(), 1e-6);
  const Vector distance = result.best.contexts[0].solution.backup.pi - truth.contexts[0].solution.backup.pi;
  EXPECT_LT(distance.lpNorm<Eigen::Infinity>(), 1e-6);
  std::printf("without penalty: policy off by %.2g at most\n", distance.lpNorm<Eigen::Infinity>());
}

TEST(InverseRl, ASmallPenaltyMovesTheAnswerByTheNewtonStepItMakes) {
  const BilevelProblem plain = Decoded(client::InverseRl({.penalty = 0}));
  const BilevelProblem problem = Decoded(client::InverseRl());
  const LowerLevelOptions options;
  const auto hessian = Hessian::Create(plain, options, TrueCosts(), {}, Interrupt()).value();
  Eigen::Matrix3d h;
  for (int j = 0; j < 3; ++j) h.col(j) = hessian->Multiply(Vector::Unit(3, j), Interrupt());
  const Eigen::LLT<Eigen::Matrix3d> factor(h);
  ASSERT_EQ(factor.info(), Eigen::Success);  // positive definite: the costs are identified
  const Vector shift = -client::InverseRlOptions().penalty * factor.solve(TrueCosts());

  const OuterResult result = OptimizeFromZero(problem);
  const Vector moved = result.best.x - TrueCosts();
  // The rest is of second order; 3% here.
  EXPECT_LT((moved - shift).norm(), 0.05 * shift.norm());
  const Vector distance =
      result.best.contexts[0].solution.backup.pi - At(problem, TrueCosts()).contexts[0].solution.backup.pi;
  EXPECT_LT(distance.lpNorm<Eigen::Infinity>(), 0.01);
  std::printf("penalty %g: costs %.4f %.4f %.4f, policy off by %.2g at most\n", client::InverseRlOptions().penalty,
              result.best.x[0], result.best.x[1], result.best.x[2], distance.lpNorm<Eigen::Infinity>());
}

// ---- Stackelberg game.

constexpr double kShipDiscount = 0.9;

// How often the ship smuggles at an announced q, and what a port costs the leader in a step; stackelberg_game.h.
double Smuggling(const client::CustomsPort& port, double q, double temperature) {
  return 1 / (1 + std::exp(kShipDiscount * (q * (port.gain + port.fine) - port.gain) / temperature));
}

double PortLoss(const client::CustomsPort& port, double q, double temperature) {
  return kShipDiscount * port.harm * Smuggling(port, q, temperature) * (1 - q) + port.cost * q;
}

// Golden-section search: the loss falls to its minimum and rises again.
double BestInspection(const client::CustomsPort& port, double temperature) {
  const double ratio = (std::sqrt(5.0) - 1) / 2;
  double low = 0, high = 1;
  for (int k = 0; k < 80; ++k) {
    const double a = high - ratio * (high - low), b = low + ratio * (high - low);
    if (PortLoss(port, a, temperature) < PortLoss(port, b, temperature)) {
      high = b;
    } else {
      low = a;
    }
  }
  return (low + high) / 2;
}

TEST(StackelbergGame, EveryPortIsTheInspectionGameOfTheClosedForm) {
  const BilevelProblem problem = Decoded(client::StackelbergGame());
  Rng rng(3);
  for (int draw = 0; draw < 5; ++draw) {
    Vector x(6);
    for (double& entry : x) entry = rng.Normal();
    const Vector q = problem.map.Apply(x);
    double loss = 0;
    for (int s = 0; s < 3; ++s) loss += PortLoss(client::kCustomsPorts[s], q[2 * s + 1], 0.02) / 3;
    EXPECT_NEAR(ObjectiveAt(problem, x), -loss / (1 - kShipDiscount), 1e-10);
  }
}

TEST(StackelbergGame, BestAnnouncementIsTheClosedFormsAndTendsToTheThreshold) {
  constexpr double kStackelberg = -5.0 / 3;
  constexpr double kWithoutCommitment = -4;  // and for inspecting always
  double gap = 1;
  for (const double temperature : {0.1, 0.05, 0.02, 0.01}) {
    const BilevelProblem problem = Decoded(client::StackelbergGame({.temperature = temperature}));
    const OuterResult result = OptimizeFromZero(problem, 1e-7);
    EXPECT_EQ(result.termination.reason, StopReason::kConverged) << result.termination.detail;
    const Vector q = problem.map.Apply(result.best.x);
    double loss = 0;
    for (int s = 0; s < 3; ++s) {
      const client::CustomsPort& port = client::kCustomsPorts[s];
      const double best = BestInspection(port, temperature);
      EXPECT_NEAR(q[2 * s + 1], best, 1e-6);
      EXPECT_GT(q[2 * s + 1], port.gain / (port.gain + port.fine));
      loss += PortLoss(port, best, temperature) / 3;
    }
    EXPECT_NEAR(result.best.objective, -loss / (1 - kShipDiscount), 1e-9);
    EXPECT_GT(result.best.objective, kWithoutCommitment);
    EXPECT_LT(kStackelberg - result.best.objective, gap);
    gap = kStackelberg - result.best.objective;
    std::printf("temperature %-5g phi %.6f, inspections %.4f %.4f %.4f\n", temperature, result.best.objective, q[1],
                q[3], q[5]);
  }
  EXPECT_GT(gap, 0);
  EXPECT_LT(gap, 0.15);
}

// ---- Worst case.

// f of worst_case.h for what a patient pays.
double TreatedByHand(double fare) {
  constexpr double kDiscount = 0.8, kTemperature = 0.25;
  const double net = kDiscount - fare;
  double value = 0;
  for (int k = 0; k < 200; ++k) {
    value = kTemperature * std::log(std::exp(net / kTemperature) + std::exp(kDiscount * value / kTemperature));
  }
  const double p = std::exp((net - value) / kTemperature);
  return kDiscount * p / (1 - kDiscount * (1 - p));
}

TEST(WorstCase, BestSplitMakesBothVillagesPayTheSame) {
  const BilevelProblem problem = Decoded(client::WorstCase());
  for (const double start : {-0.5, 0.0, 0.5}) {
    ProgressReporter reporter;
    const auto result =
        Optimize(problem, Vector::Constant(1, start), ProjectedGradientOptions{}, {}, Interrupt(), reporter);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_NEAR(result->best.x[0], -0.25, 1e-9);
    EXPECT_EQ(result->termination.reason, StopReason::kConverged) << result->termination.detail;
    EXPECT_NEAR(result->best.objective, TreatedByHand(1.25), 1e-9);
    EXPECT_NEAR(result->best.multipliers[0], 0.5, 1e-6);
    EXPECT_NEAR(result->best.multipliers[1], 0.5, 1e-6);
    EXPECT_EQ(result->best.multipliers[2], 0);
    EXPECT_NEAR(result->best.context_objectives[2], TreatedByHand(1.0), 1e-12);
  }
}

TEST(WorstCase, SumGivesTheFarVillageUp) {
  const BilevelProblem problem = Decoded(client::WorstCase({.aggregation = v1::AGGREGATION_WEIGHTED_SUM}));
  const OuterResult result = OptimizeFromZero(problem);
  EXPECT_EQ(result.termination.reason, StopReason::kConverged);
  EXPECT_EQ(result.best.x[0], 0.5);
  EXPECT_NEAR(result.best.context_objectives[0], TreatedByHand(0.5), 1e-12);
  EXPECT_NEAR(result.best.context_objectives[1], TreatedByHand(2.0), 1e-12);
  EXPECT_NEAR(result.best.objective, 1.029749, 1e-6);
  EXPECT_NEAR(2 * TreatedByHand(1.25) + TreatedByHand(1.0), 0.974616, 1e-6);
  // The other end is a local optimum, and below it.
  const OuterResult other = OptimizeFrom(problem, Vector::Constant(1, -0.5));
  EXPECT_EQ(other.best.x[0], -0.5);
  EXPECT_LT(other.best.objective, result.best.objective);
}

}  // namespace
}  // namespace bilevel::testing
