// Pairs of estimates against gradients at both points, by enumeration of everything that a small world can do.

#include "core/streaming/paired_gradient.h"

#include <cmath>
#include <functional>
#include <limits>

#include "gtest/gtest.h"
#include "tests/core/streaming/draw_return.h"
#include "tests/support/tally.h"
#include "tests/support/watched_follower.h"

namespace bilevel::testing {
namespace {

using Kind = Horizon::Kind;
constexpr double kNoCap = std::numeric_limits<double>::infinity();
constexpr TrajectoryEstimator kEstimators[] = {TrajectoryEstimator::kReturn, TrajectoryEstimator::kRewardToGo,
                                               TrajectoryEstimator::kCritic};

// Two states and two actions, then two more states, then one, after which all is over: no more than three steps.
ProblemNumbers DrawLayered(uint64_t seed) {
  constexpr int kStates = 5, kActions = 2;
  Rng rng(seed);
  ContextNumbers context;
  TabularMdpSpec& mdp = context.mdp;
  mdp.num_states = kStates;
  mdp.num_actions = kActions;
  mdp.termination_probability = Vector::Zero(10);
  mdp.termination_probability.tail(2).setOnes();
  mdp.offsets = {0};
  for (int row = 0; row < 10; ++row) {
    const uint32_t state = static_cast<uint32_t>(row / kActions);
    if (state < 2) {
      const double p = 0.2 + 0.6 * rng.Uniform();
      mdp.columns.insert(mdp.columns.end(), {2, 3});
      mdp.probabilities.insert(mdp.probabilities.end(), {p, 1 - p});
    } else if (state < 4) {
      mdp.columns.push_back(4);
      mdp.probabilities.push_back(1);
    }
    mdp.offsets.push_back(mdp.columns.size());
  }
  mdp.initial_distribution = Vector::Zero(kStates);
  mdp.initial_distribution.head(2) << 0.3, 0.7;
  const auto reward = [&] {
    ParametricRewardSpec spec;
    spec.base = DrawNormal(rng, 10);
    spec.features = DrawNormal(rng, 30).reshaped(10, 3).sparseView();
    return spec;
  };
  context.discount = 0.8;
  context.temperature = 0.5;
  context.reward = reward();
  context.return_weight = 1;
  context.leader_reward = reward();
  ProblemNumbers numbers;
  numbers.num_parameters = 3;
  numbers.sense = Sense::kMaximize;
  numbers.contexts.push_back(std::move(context));
  return numbers;
}

struct Outcome {
  double probability;
  Trajectory trajectory;
};

// All that a follower with this policy may do. Geometric: a coin after each step that does not end the episode.
std::vector<Outcome> Enumerate(const TabularMdp& mdp, const Vector& pi, Kind kind, double discount) {
  std::vector<std::vector<std::pair<int, double>>> next(static_cast<size_t>(mdp.num_rows()));
  mdp.ForEachEntry([&](Eigen::Index row, uint64_t, uint32_t column, double p) {
    next[static_cast<size_t>(row)].emplace_back(static_cast<int>(column), p);
  });
  std::vector<Outcome> outcomes;
  const std::function<void(int, double, const Trajectory&)> walk = [&](int state, double probability,
                                                                       const Trajectory& so_far) {
    for (int a = 0; a < mdp.num_actions(); ++a) {
      const int64_t row = int64_t{state} * mdp.num_actions() + a;
      Trajectory trajectory = so_far;
      trajectory.rows.push_back(row);
      const double p = probability * pi[row];
      if (next[static_cast<size_t>(row)].empty()) {
        trajectory.terminated = true;
        outcomes.push_back({p, trajectory});
      }
      for (const auto& [s2, share] : next[static_cast<size_t>(row)]) {
        if (kind == Kind::kGeometric) {
          outcomes.push_back({p * share * (1 - discount), trajectory});
          outcomes.back().trajectory.final_state = s2;
        }
        walk(s2, p * share * (kind == Kind::kGeometric ? discount : 1), trajectory);
      }
    }
  };
  for (int s = 0; s < mdp.num_states(); ++s) {
    if (mdp.initial_distribution()[s] > 0) walk(s, mdp.initial_distribution()[s], {});
  }
  return outcomes;
}

// Two points and everything between them.
class Pair {
 public:
  Pair(const BilevelProblem& problem, const Vector& x, const Vector& before)
      : at_(problem, x), before_(problem, before) {}

  const WatchedFollower& at() const { return at_; }
  const WatchedFollower& before() const { return before_; }

  PairedGradient Estimate(const std::vector<Trajectory>& trajectories, const PairedOptions& options,
                          bool control = false, bool weighted = true) const {
    const auto model = [&](const WatchedFollower& of) {
      return control ? of.ModelWithControl() : of.Model(of.leader_value());
    };
    const TrajectoryModel here = model(at_), there = model(before_);
    return EstimatePair({here, LogPi(at_)}, {there, LogPi(weighted ? before_ : at_)}, trajectories, options);
  }

  PairedGradient EstimateWithBias(const std::vector<Trajectory>& trajectories, const PairedOptions& options) const {
    const TrajectoryModel here = at_.ModelWithBias(), there = before_.ModelWithBias();
    return EstimatePair({here, LogPi(at_)}, {there, LogPi(before_)}, trajectories, options);
  }

  // The means of `what` over batches of two independent trajectories of the follower at x.
  Vector Mean(const PairedOptions& options, bool control, bool weighted,
              const std::function<Vector(const PairedGradient&)>& what) const {
    const auto outcomes = Enumerate(at_.mdp(), at_.pi(), options.horizon, at_.leader_discount());
    Vector mean = Vector::Zero(at_.x().size());
    double total = 0;
    for (const Outcome& first : outcomes) {
      for (const Outcome& second : outcomes) {
        const double p = first.probability * second.probability;
        total += p;
        mean += p * what(Estimate({first.trajectory, second.trajectory}, options, control, weighted));
      }
    }
    EXPECT_NEAR(total, 1, 1e-12);
    return mean;
  }

 private:
  static const Vector& LogPi(const WatchedFollower& of) { return of.point().contexts[0].solution.backup.log_pi; }

  WatchedFollower at_, before_;
};

Pair NearPair(uint64_t seed) {
  Rng rng(seed, 1);
  const Vector x = DrawNormal(rng, 3, 0.5);
  return Pair(Build(DrawLayered(seed)), x, x + DrawNormal(rng, 3, 0.3));
}

Vector Previous(const PairedGradient& pair) { return pair.previous; }

TEST(PairedGradient, WithWeightsTheMeanIsTheGradientAtThePointBefore) {
  const Pair pair = NearPair(1);
  const Vector& exact = pair.before().point().gradient;
  for (const Kind kind : {Kind::kGeometric, Kind::kSteps}) {
    for (const TrajectoryEstimator estimator : kEstimators) {
      for (const bool control : {false, true}) {
        const PairedOptions options{.estimator = estimator, .horizon = kind, .cap = kNoCap};
        const Vector mean = pair.Mean(options, control, true, Previous);
        EXPECT_LE((mean - exact).norm(), 1e-10 * exact.norm());
      }
    }
  }
}

// All that may happen, each by its probability: nothing is left to chance.
TEST(PairedGradient, WeightsOfTrajectoriesCountAtBothPoints) {
  const Pair pair = NearPair(4);
  for (const Kind kind : {Kind::kGeometric, Kind::kSteps}) {
    std::vector<Trajectory> all;
    for (Outcome& outcome : Enumerate(pair.at().mdp(), pair.at().pi(), kind, pair.at().leader_discount())) {
      outcome.trajectory.log_weight = std::log(outcome.probability) - 700;
      all.push_back(std::move(outcome.trajectory));
    }
    for (const TrajectoryEstimator estimator : {TrajectoryEstimator::kRewardToGo, TrajectoryEstimator::kCritic}) {
      const PairedGradient found = pair.Estimate(all, {.estimator = estimator, .horizon = kind, .cap = kNoCap});
      const Vector &here = pair.at().point().gradient, &before = pair.before().point().gradient;
      EXPECT_LE((found.current.mean() - here).norm(), 1e-10 * here.norm());
      EXPECT_LE((found.previous - before).norm(), 1e-10 * before.norm());
      const PairedGradient capped = pair.Estimate(all, {.estimator = estimator, .horizon = kind, .cap = 1.1});
      EXPECT_LE((capped.previous - capped.cap_bias - before).norm(), 1e-10 * before.norm());
      EXPECT_GT(capped.capped_share, 0);
      EXPECT_LT(capped.capped_share, 1);
    }
  }
}

// What a cut leaves out of both, told by a model that is right: two steps of three at most.
TEST(PairedGradient, TellsWhatACutLeavesOutAtThePointBefore) {
  const Pair pair = NearPair(5);
  std::vector<Trajectory> all;
  for (Outcome& outcome : Enumerate(pair.at().mdp(), pair.at().pi(), Kind::kSteps, pair.at().leader_discount())) {
    outcome.trajectory.log_weight = std::log(outcome.probability);
    std::vector<int64_t>& rows = outcome.trajectory.rows;
    outcome.trajectory.terminated = false;
    outcome.trajectory.final_state = static_cast<int>(rows.back() / pair.at().mdp().num_actions());
    rows.pop_back();
    all.push_back(std::move(outcome.trajectory));
  }
  for (const TrajectoryEstimator estimator : {TrajectoryEstimator::kRewardToGo, TrajectoryEstimator::kCritic}) {
    const PairedGradient found =
        pair.EstimateWithBias(all, {.estimator = estimator, .horizon = Kind::kSteps, .cap = kNoCap});
    const Vector& before = pair.before().point().gradient;
    EXPECT_GT(found.previous_bias.norm(), 1e-3 * before.norm());
    EXPECT_LE((found.previous - found.previous_bias - before).norm(), 1e-10 * before.norm());
  }
}

TEST(PairedGradient, TheEstimateAtThePointItselfIsThatOfTrajectories) {
  const Pair pair = NearPair(1);
  Rng rng(2);
  const auto trajectories = pair.at().Draw(50, {}, rng);
  for (const TrajectoryEstimator estimator : kEstimators) {
    const PairedGradient found = pair.Estimate(trajectories, {.estimator = estimator});
    const TrajectoryModel model = pair.at().Model(pair.at().leader_value());
    const SampledGradient single = EstimateFromTrajectories(model, trajectories, Kind::kGeometric, estimator);
    EXPECT_EQ(found.current.exploitation, single.exploitation);
    EXPECT_EQ(found.current.exploration, single.exploration);
    EXPECT_EQ(found.current.standard_error, single.standard_error);
    EXPECT_EQ(found.current.objective, single.objective);
  }
}

// How far, is recorded; trajectories of the wrong policy are no better for being many.
TEST(PairedGradient, WithoutWeightsTheMeanIsOff) {
  const Pair pair = NearPair(1);
  const Vector& exact = pair.before().point().gradient;
  for (const TrajectoryEstimator estimator : kEstimators) {
    const PairedOptions options{.estimator = estimator, .horizon = Kind::kSteps, .cap = kNoCap};
    const Vector error = pair.Mean(options, false, false, Previous) - exact;
    EXPECT_GE(error.norm(), 0.05 * exact.norm());
    RecordProperty("off by share " + std::to_string(static_cast<int>(estimator)),
                   std::to_string(error.norm() / exact.norm()));
  }
}

TEST(PairedGradient, TellsInTheMeanWhatTheCapCosts) {
  const Pair pair = NearPair(3);
  const Vector& exact = pair.before().point().gradient;
  for (const TrajectoryEstimator estimator : kEstimators) {
    const PairedOptions options{.estimator = estimator, .horizon = Kind::kGeometric, .cap = 1.1};
    const Vector bias = pair.Mean(options, false, true, Previous) - exact;
    const Vector told = pair.Mean(options, false, true, [](const PairedGradient& found) { return found.cap_bias; });
    EXPECT_GE(bias.norm(), 0.01 * exact.norm());
    EXPECT_LE((told - bias).norm(), 1e-10 * exact.norm());
  }
}

TEST(PairedGradient, ErrorBarsOfTheInnovationAreHonest) {
  Rng start(5);
  const Vector x = DrawNormal(start, 5), before = x + DrawNormal(start, 5, 0.02);
  const Pair pair(Build(DrawReturn(6, 0.8)), x, before);
  const double kept = 0.7;
  for (const TrajectoryEstimator estimator : kEstimators) {
    Tally tally(pair.at().point().gradient - kept * pair.before().point().gradient);
    for (uint64_t seed = 1; seed <= kManySeeds; ++seed) {
      Rng rng(seed, 8);
      const PairedGradient found =
          pair.Estimate(pair.at().Draw(200, {}, rng), {.estimator = estimator, .kept_share = kept, .cap = kNoCap});
      tally.Add(found.current.mean() - kept * found.previous, found.innovation_standard_error);
    }
    // Bonferroni over 5 components and 3 estimators: |z| <= 3.6 at 0.5 %.
    tally.ExpectHonest(3.6);
  }
}

// What momentum lives on.
TEST(PairedGradient, TheSpreadOfTheDifferenceVanishesWithTheStep) {
  Rng start(9);
  const Vector x = DrawNormal(start, 5), step = DrawNormal(start, 5).normalized();
  const auto spread = [&](double length) {
    const Pair pair(Build(DrawReturn(10, 0.8)), x, x + length * step);
    Rng rng(11);
    return pair.Estimate(pair.at().Draw(2000, {}, rng), {.cap = kNoCap}).innovation_standard_error.norm();
  };
  EXPECT_NEAR(spread(1e-2) / spread(1e-3), 10, 1);
}

TEST(PairedGradient, TellsOfItsWeights) {
  const Pair pair = NearPair(12);
  Rng rng(13);
  const auto trajectories = pair.at().Draw(1000, {}, rng);
  const PairedGradient free = pair.Estimate(trajectories, {.cap = kNoCap});
  EXPECT_EQ(free.capped_share, 0);
  EXPECT_EQ(free.cap_bias.norm(), 0);
  EXPECT_GT(free.largest_weight, 1);
  EXPECT_LT(free.effective_sample_size, 1000);
  // Between half of it and all of it some are capped, and none of those that it leaves alone.
  const PairedGradient capped = pair.Estimate(trajectories, {.cap = 0.5 * free.largest_weight});
  EXPECT_EQ(capped.largest_weight, free.largest_weight);
  EXPECT_GT(capped.capped_share, 0);
  EXPECT_LT(capped.capped_share, 0.5);
  EXPECT_GT(capped.effective_sample_size, free.effective_sample_size);
  EXPECT_LE((free.previous - (capped.previous - capped.cap_bias)).norm(), 1e-12 * (1 + free.previous.norm()));
  const PairedGradient same = pair.Estimate(trajectories, {}, false, false);
  EXPECT_EQ(same.largest_weight, 1);
  EXPECT_NEAR(same.effective_sample_size, 1000, 1e-9);
}

// What pi_{k-1} does was never seen: W is next to 0, and nothing else would show it.
TEST(PairedGradient, KnowsWhereTrajectoriesTellNothingOfThePointBefore) {
  Rng start(14);
  const Vector x = DrawNormal(start, 3), step = DrawNormal(start, 3).normalized();
  const auto overlaps = [&](double length) {
    const Pair pair(Build(DrawLayered(14)), x, x + length * step);
    Rng rng(15);
    return pair.Estimate(pair.at().Draw(50, {}, rng), {}).overlaps();
  };
  EXPECT_TRUE(overlaps(0.1));
  EXPECT_FALSE(overlaps(100));
}

// Policies so sure of themselves that probabilities and weights are beyond what doubles hold.
TEST(PairedGradient, StaysFiniteWhereProbabilitiesVanish) {
  const Pair pair = NearPair(16);
  Rng rng(17);
  const auto trajectories = pair.at().Draw(50, {}, rng);
  const TrajectoryModel here = pair.at().Model(pair.at().leader_value());
  const Vector sure = 3000 * pair.at().point().contexts[0].solution.backup.log_pi;
  for (const Vector& log_pi : {sure, Vector(-sure), Vector(0 * sure.array() - HUGE_VAL)}) {
    const PairedGradient found = EstimatePair({here, sure}, {here, log_pi}, trajectories, {});
    EXPECT_TRUE(found.previous.allFinite());
    EXPECT_TRUE(found.cap_bias.allFinite());
    EXPECT_TRUE(found.innovation_standard_error.allFinite());
  }
}

// A chain that pays `largest` for ever attains the bound.
TEST(Horizon, IsAsLongAsTheBiasAsksFor) {
  for (const double discount : {0.5, 0.9, 0.99}) {
    for (const double bias : {1e-1, 1e-3, 1e-6}) {
      const double largest = 3;
      const int64_t steps = StepsForBias(largest, discount, bias);
      double missing = 0, power = 1;
      for (int64_t t = 0; t < steps + 20'000; ++t, power *= discount) missing += t >= steps ? largest * power : 0;
      EXPECT_NEAR(missing, CutBias(largest, discount, steps), 1e-12 + 1e-9 * missing);
      EXPECT_LE(CutBias(largest, discount, steps), bias * (1 + 1e-9));
      EXPECT_GT(CutBias(largest, discount, steps - 1), bias * (1 - 1e-9));
      EXPECT_EQ(steps,
                static_cast<int64_t>(std::ceil(std::log(largest / ((1 - discount) * bias)) / std::log(1 / discount))));
    }
  }
  EXPECT_EQ(StepsForBias(1, 0, 1e-9), 1);
  EXPECT_EQ(StepsForBias(1, 0.9, 1e9), 1);
}

}  // namespace
}  // namespace bilevel::testing
