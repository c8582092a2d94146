// Gradients from preferences against all pairs of fragments that there are, on MDPs small enough to list them.

#include "core/streaming/preference_gradient.h"

#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "core/mdp/policy_evaluation.h"
#include "core/streaming/trajectory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/dense_algebra.h"
#include "tests/support/reference.h"
#include "tests/support/tally.h"

namespace bilevel::testing {
namespace {

using ::testing::HasSubstr;
constexpr int kStates = 3, kActions = 2;
constexpr double kDiscount = 0.9, kTemperature = 0.6;

struct Path {
  std::vector<int64_t> rows;
  long double dynamics;  // probability of its start and moves
};

struct Shape {
  int steps = 2;
  bool quadratic = false;
  bool shares = false;  // two of the parameters through a softmax
};

constexpr Eigen::Index kRows = Eigen::Index{kStates} * kActions, kParameters = 3;

ProblemNumbers DrawNumbers(uint64_t seed, const Shape& shape) {
  Rng rng(seed);
  ContextNumbers context;
  context.mdp = DrawMdp(rng, kStates, kActions, false, false);
  context.discount = kDiscount;
  context.temperature = kTemperature;
  context.reward.features = DrawNormal(rng, kRows * kParameters).reshaped(kRows, kParameters).sparseView();
  if (shape.quadratic) {
    context.reward.coefficient = DrawNormal(rng, kRows, 0.3);
    context.reward.matrix = DrawNormal(rng, kParameters * kParameters).reshaped(kParameters, kParameters);
  }
  ProblemNumbers numbers;
  numbers.num_parameters = kParameters;
  numbers.sense = Sense::kMinimize;
  if (shape.shares) numbers.groups = {{2, MapKind::kSoftmax, 1.5}, {1, MapKind::kIdentity, 1}};
  numbers.contexts.push_back(std::move(context));
  return numbers;
}

// Its reward at x, the labels', and every fragment from the start.
class World {
 public:
  explicit World(uint64_t seed, const Shape& shape = {})
      : numbers_(DrawNumbers(seed, shape)), problem_(Build(numbers_)) {
    Rng rng(seed, 1);
    truth_ = DrawNormal(rng, kParameters, 0.8);
    true_reward_ = RewardAt(truth_);
    Eigen::MatrixXd next = Eigen::MatrixXd::Zero(kRows, kStates);
    mdp().ForEachEntry([&](Eigen::Index row, uint64_t, uint32_t s, double p) { next(row, s) = p; });
    std::function<void(int, Path)> extend = [&](int s, const Path& path) {
      for (int a = 0; a < kActions; ++a) {
        Path longer = path;
        longer.rows.push_back(int64_t{s} * kActions + a);
        if (longer.rows.size() == static_cast<size_t>(shape.steps)) {
          paths_.push_back(longer);
          continue;
        }
        for (int s2 = 0; s2 < kStates; ++s2) {
          const double p = next(longer.rows.back(), s2);
          if (p > 0) extend(s2, {longer.rows, longer.dynamics * p});
        }
      }
    };
    for (int s = 0; s < kStates; ++s) extend(s, {{}, mdp().initial_distribution()[s]});
  }

  const BilevelProblem& problem() const { return problem_; }
  const TabularMdp& mdp() const { return *problem_.contexts[0].mdp; }
  const Vector& truth() const { return truth_; }
  const std::vector<Path>& paths() const { return paths_; }

  Vector RewardAt(const Vector& x) const { return problem_.contexts[0].reward.Evaluate(x, problem_.map.Apply(x)); }
  LongVector PolicyAt(const Vector& x) const {
    return SolveReference(numbers_.contexts[0].mdp, RewardAt(x).cast<long double>(), kDiscount, kTemperature).pi;
  }
  std::vector<long double> Probabilities(const Vector& x) const {
    const LongVector pi = PolicyAt(x);
    std::vector<long double> probabilities;
    for (const Path& path : paths_) {
      long double p = path.dynamics;
      for (const int64_t row : path.rows) p *= pi[row];
      probabilities.push_back(p);
    }
    return probabilities;
  }
  static long double Preferred(const Vector& reward, const Path& first, const Path& second) {
    long double difference = 0;
    for (const int64_t row : first.rows) difference += reward[row];
    for (const int64_t row : second.rows) difference -= reward[row];
    return 1 / (1 + std::exp(-difference));
  }
  long double TruePreferred(const Path& first, const Path& second) const {
    return Preferred(true_reward_, first, second);
  }

  // sum over all pairs made at x of value(p_at, p*), p_at as the reward at `at` says.
  long double Sum(const Vector& x, const Vector& at,
                  const std::function<long double(long double, long double)>& value) const {
    const std::vector<long double> probabilities = Probabilities(x);
    const Vector reward = RewardAt(at);
    long double sum = 0;
    for (size_t i = 0; i < paths_.size(); ++i) {
      for (size_t j = 0; j < paths_.size(); ++j) {
        sum += probabilities[i] * probabilities[j] *
               value(Preferred(reward, paths_[i], paths_[j]), TruePreferred(paths_[i], paths_[j]));
      }
    }
    return sum;
  }

  RowMatrix ScoreAt(const Vector& x) const {
    const Vector pi = PolicyAt(x).cast<double>();
    PolicySystem system(mdp(), PolicySystem::Kind::kDirect);
    system.SetPolicy(pi);
    return SolveValueGradient({mdp(), pi, system, 1e-14, {}}, kDiscount, problem_.contexts[0].reward.GradientFeatures())
        .advantage;
  }
  PreferenceModel ModelAt(const Vector& x, const RowMatrix& score, bool baseline) const {
    return {problem_.map, x, problem_.contexts[0].reward, kTemperature, &score, baseline};
  }
  PreferenceGradient Estimate(const Vector& x, const std::vector<WeighedPreference>& pairs, PreferenceArm arm,
                              bool baseline) const {
    const RowMatrix score = ScoreAt(x);
    const auto found = EstimateFromPreferences(ModelAt(x, score, baseline), pairs, arm, {});
    EXPECT_TRUE(found.ok()) << found.status();
    return *found;
  }

  // All pairs with both labels, weighing as likely as the follower of x and the true labels make them.
  PreferenceGradient Enumerate(const Vector& x, PreferenceArm arm) const {
    const std::vector<long double> probabilities = Probabilities(x);
    std::vector<Preference> pairs;
    std::vector<double> log_weights;
    for (size_t i = 0; i < paths_.size(); ++i) {
      for (size_t j = 0; j < paths_.size(); ++j) {
        const long double both = std::log(probabilities[i]) + std::log(probabilities[j]);
        const long double p = TruePreferred(paths_[i], paths_[j]);
        for (const bool first : {true, false}) {
          pairs.push_back({{.rows = paths_[i].rows}, {.rows = paths_[j].rows}, first ? 1. : 0.});
          log_weights.push_back(static_cast<double>(both + std::log(first ? p : 1 - p)));
        }
      }
    }
    std::vector<WeighedPreference> weighed;
    for (size_t i = 0; i < pairs.size(); ++i) weighed.push_back({&pairs[i], log_weights[i]});
    return Estimate(x, weighed, arm, false);
  }

 private:
  ProblemNumbers numbers_;
  BilevelProblem problem_;
  Vector truth_, true_reward_;
  std::vector<Path> paths_;
};

long double Loss(long double p, long double y) { return -y * std::log(p) - (1 - y) * std::log(1 - p); }

// To the fourth order.
Vector Difference(const std::function<long double(const Vector&)>& f, const Vector& x) {
  constexpr double h = 1e-3;
  Vector gradient(x.size());
  for (Eigen::Index j = 0; j < x.size(); ++j) {
    const Vector e = h * Vector::Unit(x.size(), j);
    gradient[j] = static_cast<double>((8 * (f(x + e) - f(x - e)) - (f(x + 2 * e) - f(x - 2 * e))) / (12 * h));
  }
  return gradient;
}

void ExpectSame(const Vector& found, const Vector& expected) {
  EXPECT_LE((found - expected).lpNorm<Eigen::Infinity>(), 1e-7 * (1 + expected.norm()));
}

class PreferenceGradientByEnumeration : public ::testing::TestWithParam<Shape> {};

TEST_P(PreferenceGradientByEnumeration, EveryArmIsWhatItSays) {
  const World world(11, GetParam());
  Rng rng(12);
  const Vector x = DrawNormal(rng, 3, 0.7);
  const Vector direct = Difference([&](const Vector& y) { return world.Sum(x, y, Loss); }, x);
  const auto fit = world.Enumerate(x, PreferenceArm::kFit);
  ExpectSame(fit.mean(), direct);
  EXPECT_EQ(fit.exploration, Vector::Zero(3));
  EXPECT_NEAR(fit.objective, static_cast<double>(world.Sum(x, x, Loss)), 1e-12);

  const auto published = world.Enumerate(x, PreferenceArm::kPublished);
  const Vector whole = Difference([&](const Vector& y) { return world.Sum(y, y, Loss); }, x);
  ExpectSame(published.mean(), whole);
  ExpectSame(published.exploitation, direct);
  EXPECT_GT((whole - direct).norm(), 0.01);  // so that exploration counts

  const auto excess = world.Enumerate(x, PreferenceArm::kExcessRisk);
  const Vector moved = Difference(
      [&](const Vector& y) {
        return world.Sum(y, x, [](long double p, long double y_) { return Loss(p, y_) - Loss(p, p); });
      },
      x);
  ExpectSame(excess.exploitation, direct);
  ExpectSame(excess.exploration, moved);
  EXPECT_GT(moved.norm(), 1e-3);
}

INSTANTIATE_TEST_SUITE_P(Shapes, PreferenceGradientByEnumeration,
                         ::testing::Values(Shape{.steps = 2}, Shape{.steps = 3}, Shape{.steps = 2, .quadratic = true},
                                           Shape{.steps = 2, .shares = true}));

// Entropy-regularised true return of the follower of x, and without its entropy.
struct Returns {
  double regularised, plain;
};
Returns TrueReturns(const World& world, const Vector& x) {
  const Vector pi = world.PolicyAt(x).cast<double>();
  PolicySystem system(world.mdp(), PolicySystem::Kind::kDirect);
  system.SetPolicy(pi);
  const PolicyInput input{world.mdp(), pi, system, 1e-13, {}};
  const Vector reward = world.RewardAt(world.truth());
  const Vector& rho = world.mdp().initial_distribution();
  const Vector with_entropy = reward.array() - kTemperature * pi.array().log();
  return {rho.dot(EvaluatePolicy(input, kDiscount, with_entropy, nullptr).value),
          rho.dot(EvaluatePolicy(input, kDiscount, reward, nullptr).value)};
}

TEST(PreferenceGradient, AtTheTrueRewardOnlyThePublishedArmMovesOn) {
  for (uint64_t seed = 21; seed <= 26; ++seed) {
    const World world(seed);
    EXPECT_LT(world.Enumerate(world.truth(), PreferenceArm::kFit).mean().norm(), 1e-12);
    EXPECT_LT(world.Enumerate(world.truth(), PreferenceArm::kExcessRisk).mean().norm(), 1e-12);
    EXPECT_GT(world.Enumerate(world.truth(), PreferenceArm::kPublished).mean().norm(), 1e-3) << seed;
  }
}

// Where the published objective is least, near the true reward, it is below that at the true reward, and the follower
// is worse off.
TEST(PreferenceGradient, TheLeastPublishedObjectiveIsNotAtTheTrueReward) {
  int plainly_worse = 0;
  for (uint64_t seed = 21; seed <= 26; ++seed) {
    const World world(seed);
    Vector x = world.truth();
    PreferenceGradient at = world.Enumerate(x, PreferenceArm::kPublished);
    const double at_truth = at.objective;
    double step = 1;
    for (int k = 0; k < 60 && at.mean().norm() > 1e-5; ++k, step *= 2) {
      while (true) {
        const Vector next = x - step * at.mean();
        const auto there = world.Enumerate(next, PreferenceArm::kPublished);
        if (there.objective <= at.objective - 0.1 * step * at.mean().squaredNorm()) {
          x = next;
          at = there;
          break;
        }
        step /= 2;
        ASSERT_GT(step, 1e-12);
      }
    }
    EXPECT_LT(at.objective, at_truth - 1e-4) << seed;
    const Returns least = TrueReturns(world, x), truth = TrueReturns(world, world.truth());
    EXPECT_LT(least.regularised, truth.regularised - 1e-4) << seed;
    plainly_worse += least.plain < truth.plain ? 1 : 0;
    RecordProperty("seed " + std::to_string(seed),
                   std::to_string(truth.regularised) + " -> " + std::to_string(least.regularised) + "; plain " +
                       std::to_string(truth.plain) + " -> " + std::to_string(least.plain));
  }
  RecordProperty("worse without entropy, of 6", plainly_worse);
}

// Descent goes away from the true reward where this has an eigenvalue below 0.
double LeastEigenvalue(const World& world, PreferenceArm arm) {
  constexpr double h = 1e-4;
  Eigen::MatrixXd jacobian(3, 3);
  for (Eigen::Index j = 0; j < 3; ++j) {
    const Vector e = h * Vector::Unit(3, j);
    jacobian.col(j) =
        (world.Enumerate(world.truth() + e, arm).mean() - world.Enumerate(world.truth() - e, arm).mean()) / (2 * h);
  }
  return LeastRealEigenvalue(jacobian);
}

TEST(PreferenceGradient, TheTrueRewardAttractsFittingButNotAlwaysTheExcessRisk) {
  int repelled = 0;
  for (uint64_t seed = 21; seed <= 32; ++seed) {
    const World world(seed);
    const double fit = LeastEigenvalue(world, PreferenceArm::kFit),
                 excess = LeastEigenvalue(world, PreferenceArm::kExcessRisk);
    EXPECT_GT(fit, 0) << seed;
    repelled += excess < -1e-3 ? 1 : 0;
    RecordProperty("seed " + std::to_string(seed), std::to_string(fit) + " and " + std::to_string(excess));
  }
  EXPECT_GE(repelled, 3);
}

// Two pairs drawn one after the other, in all the ways that there are.
TEST(PreferenceGradient, TheMeanOfTheOthersCostsNoBias) {
  const World world(31, {.steps = 1});
  Rng rng(32);
  const Vector x = DrawNormal(rng, 3, 0.7);
  const RowMatrix score = world.ScoreAt(x);
  const std::vector<long double> probabilities = world.Probabilities(x);
  const std::vector<Path>& paths = world.paths();
  std::vector<Preference> pairs;
  std::vector<double> chances;
  for (size_t i = 0; i < paths.size(); ++i) {
    for (size_t j = 0; j < paths.size(); ++j) {
      const long double p = world.TruePreferred(paths[i], paths[j]);
      for (const bool first : {true, false}) {
        pairs.push_back({{.rows = paths[i].rows}, {.rows = paths[j].rows}, first ? 1. : 0.});
        chances.push_back(static_cast<double>(probabilities[i] * probabilities[j] * (first ? p : 1 - p)));
      }
    }
  }
  for (const PreferenceArm arm : {PreferenceArm::kPublished, PreferenceArm::kExcessRisk}) {
    Vector mean = Vector::Zero(3);
    for (size_t i = 0; i < pairs.size(); ++i) {
      for (size_t j = 0; j < pairs.size(); ++j) {
        const std::vector<WeighedPreference> two{{&pairs[i]}, {&pairs[j]}};
        mean += chances[i] * chances[j] * EstimateFromPreferences(world.ModelAt(x, score, true), two, arm, {})->mean();
      }
    }
    EXPECT_LT((mean - world.Enumerate(x, arm).mean()).norm(), 1e-12);
  }
}

// Pairs that a policy makes, labelled by the true reward.
std::vector<Preference> Draw(const World& world, const Vector& pi, int count, int steps, Rng& rng) {
  const Simulator simulator(world.mdp());
  const auto fragment = [&] {
    const int start = simulator.DrawStart(rng);
    return Roll(simulator, pi, kActions, start, {Horizon::Kind::kSteps, steps}, kDiscount, rng).rows;
  };
  std::vector<Preference> pairs;
  for (int i = 0; i < count; ++i) {
    Preference pair{{.rows = fragment()}, {.rows = fragment()}, 0};
    const long double p = world.TruePreferred({pair.first.rows, 1}, {pair.second.rows, 1});
    pair.first_preferred = rng.Uniform() < p ? 1 : 0;
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

TEST(PreferenceGradient, SamplesHaveTheExactMeanAndHonestErrorBars) {
  const World world(41);
  Rng start(42);
  const Vector x = DrawNormal(start, 3, 0.7), pi = world.PolicyAt(x).cast<double>();
  for (const PreferenceArm arm : {PreferenceArm::kFit, PreferenceArm::kPublished, PreferenceArm::kExcessRisk}) {
    SCOPED_TRACE(static_cast<int>(arm));
    const PreferenceGradient exact = world.Enumerate(x, arm);
    Tally tally(exact.mean()), opposite(exact.mean()), bare(exact.mean());
    for (uint64_t seed = 1; seed <= kManySeeds; ++seed) {
      Rng rng(seed, 43);
      const std::vector<Preference> pairs = Draw(world, pi, 400, 2, rng);
      std::vector<WeighedPreference> weighed;
      for (const Preference& pair : pairs) weighed.push_back({&pair});
      const auto found = world.Estimate(x, weighed, arm, true);
      EXPECT_EQ(found.effective_sample_size, 400);
      tally.Add(found.mean(), found.standard_error);
      opposite.Add(found.exploitation - found.exploration, found.standard_error);
      bare.Add(world.Estimate(x, weighed, arm, false).mean(), found.standard_error);
    }
    tally.ExpectHonest(3.6);  // Bonferroni over 3 components and 3 arms: 0.3 %
    if (arm != PreferenceArm::kFit) {
      EXPECT_GT(opposite.worst_z(), kSanitized ? 4 : 12);
    }
    if (arm == PreferenceArm::kPublished) {
      EXPECT_LT(tally.deviation().norm(), 0.8 * bare.deviation().norm());
    }
  }
}

TEST(PreferenceGradient, WeightsCorrectForAnotherPolicy) {
  const World world(51);
  Rng rng(52);
  const Vector x = DrawNormal(rng, 3, 0.7), log_pi = world.PolicyAt(x).cast<double>().array().log();
  const Vector uniform = Vector::Constant(kRows, 1. / kActions);
  const std::vector<Preference> pairs = Draw(world, uniform, 40'000, 2, rng);
  std::vector<WeighedPreference> weighed, bare;
  for (const Preference& pair : pairs) {
    double log_weight = 0;
    for (const Fragment* fragment : {&pair.first, &pair.second}) {
      for (const int64_t row : fragment->rows) log_weight += log_pi[row] - std::log(uniform[row]);
    }
    weighed.push_back({&pair, log_weight});
    bare.push_back({&pair});
  }
  const auto exact = world.Enumerate(x, PreferenceArm::kPublished);
  const auto found = world.Estimate(x, weighed, PreferenceArm::kPublished, true);
  EXPECT_LT(found.effective_sample_size, 30'000);
  for (Eigen::Index j = 0; j < 3; ++j) {
    EXPECT_LE(std::abs(found.mean()[j] - exact.mean()[j]), 4 * found.standard_error[j]);
  }
  const auto wrong = world.Estimate(x, bare, PreferenceArm::kPublished, true);
  EXPECT_GT((wrong.mean() - exact.mean()).cwiseAbs().cwiseQuotient(wrong.standard_error).maxCoeff(), 10);
}

TEST(PreferenceGradient, StaysFiniteWhereLabelsAreCertain) {
  const World world(61);
  const Vector x = 1e5 * world.truth();
  for (const PreferenceArm arm : {PreferenceArm::kFit, PreferenceArm::kPublished, PreferenceArm::kExcessRisk}) {
    const RowMatrix score = world.ScoreAt(world.truth());
    const Vector reward = world.RewardAt(x);
    const Preference right{{.rows = {0}}, {.rows = {3}}, reward[0] > reward[3] ? 1. : 0.},
        wrong{right.first, right.second, 1 - right.first_preferred};
    const std::vector<WeighedPreference> pairs{{&right}, {&wrong}};
    const auto found = EstimateFromPreferences(world.ModelAt(x, score, true), pairs, arm, {});
    ASSERT_TRUE(found.ok());
    EXPECT_TRUE(found->mean().allFinite());
    EXPECT_NEAR(found->objective, std::abs(reward[0] - reward[3]) / 2, 1e-9 * std::abs(reward[0]));
  }
}

TEST(PreferenceGradient, SaysWhenPairsAreTooFew) {
  const World world(71);
  const RowMatrix score = world.ScoreAt(world.truth());
  const PreferenceModel model = world.ModelAt(world.truth(), score, true);
  const Preference pair{{.rows = {0, 1}}, {.rows = {2, 3}}, 1};
  const auto ask = [&](const std::vector<WeighedPreference>& pairs, PreferenceArm arm) {
    return EstimateFromPreferences(model, pairs, arm, {});
  };
  const std::vector<WeighedPreference> one{{&pair}, {&pair, -HUGE_VAL}}, uneven{{&pair}, {&pair, -30}};
  EXPECT_EQ(ask({}, PreferenceArm::kFit).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(ask(one, PreferenceArm::kPublished).status().message()), HasSubstr("1 preference can be"));
  EXPECT_THAT(std::string(ask(uneven, PreferenceArm::kExcessRisk).status().message()),
              HasSubstr("the 2 preferences count for 1"));
  const auto fit = ask(one, PreferenceArm::kFit);
  ASSERT_TRUE(fit.ok());
  EXPECT_EQ(fit->pairs, 1);
  EXPECT_EQ(fit->left_out, 1);
  EXPECT_EQ(fit->steps, 4);
  EXPECT_TRUE(std::isinf(fit->standard_error[0]));
}

}  // namespace
}  // namespace bilevel::testing
