#include "core/streaming/soft_q_learner.h"

#include <cmath>
#include <functional>

#include "Eigen/QR"
#include "core/mdp/lower_level.h"
#include "core/streaming/replay.h"
#include "core/streaming/simulator.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/random_problem.h"

namespace bilevel::testing {
namespace {

using ::testing::HasSubstr;
using Clock = StepSchedule::Clock;

constexpr int kStates = 6, kActions = 3, kFeatures = 2;
constexpr Eigen::Index kSquare = Eigen::Index{kStates} * kStates;
constexpr double kDiscount = 0.7, kTemperature = 0.5;

// A small world with its exact answer.
struct Lesson {
  explicit Lesson(uint64_t seed) : rng(seed), mdp(*TabularMdp::Create(DrawMdp(rng, kStates, kActions, true, true))) {
    reward = DrawNormal(rng, mdp.num_rows());
    features =
        Eigen::MatrixXd(DrawNormal(rng, mdp.num_rows() * kFeatures).reshaped(mdp.num_rows(), kFeatures)).sparseView();
    PolicySystem system(mdp, PolicySystem::Kind::kDirect);
    const Interrupt interrupt;
    solution = *SolveLowerLevel(FollowerOf(mdp, reward, kDiscount, kTemperature), {}, {}, interrupt, system);
    system.SetPolicy(solution.backup.pi);
    gradient = SolveValueGradient({mdp, solution.backup.pi, system, 1e-13, interrupt}, kDiscount, features);
    for (Eigen::Index row = 0; row < mdp.num_rows(); ++row) available.push_back(mdp.available(row) ? 1 : 0);
  }

  std::span<const uint8_t> Available(int state) const {
    return std::span(available).subspan(static_cast<size_t>(state) * kActions, kActions);
  }

  // phi of each state, [S, m].
  using Encoder = std::function<std::vector<Feature>(int)>;
  static std::vector<Feature> OneHot(int state) { return {{static_cast<uint32_t>(state), 1.0}}; }

  SoftQLearner Learner(const SoftQOptions& options) const {
    return {kStates, kActions, kDiscount, kTemperature, reward, features, options};
  }

  void Teach(SoftQLearner& learner, int steps, const Encoder& encode, Rng& draws) const {
    const Simulator simulator(mdp);
    for (int i = 0; i < steps; ++i) {
      const auto row = static_cast<int64_t>(draws.Below(static_cast<uint64_t>(mdp.num_rows())));
      if (!mdp.available(row)) continue;
      const int next = simulator.DrawNext(row, draws);
      const bool ended = next == Simulator::kEnded;
      const auto state = encode(static_cast<int>(row / kActions)), after = encode(ended ? 0 : next);
      learner.Learn({state, static_cast<int>(row % kActions), row, after, Available(ended ? 0 : next), ended});
    }
  }

  double QError(const SoftQLearner& learner, const Encoder& encode) const {
    const Vector exact = ActionValues(mdp, kTemperature, solution.backup);
    double error = 0;
    for (Eigen::Index row = 0; row < mdp.num_rows(); ++row) {
      if (!mdp.available(row)) continue;
      const auto state = static_cast<int>(row / kActions);
      const double q = learner.ActionValues(encode(state), Available(state))[row % kActions];
      error = std::max(error, std::abs(q - exact[row]));
    }
    return error;
  }
  double GradientError(const SoftQLearner& learner, const Encoder& encode) const {
    double error = 0;
    for (Eigen::Index row = 0; row < mdp.num_rows(); ++row) {
      if (!mdp.available(row)) continue;
      const Vector exact = (gradient.advantage.row(row) + gradient.value.row(row / kActions)).transpose();
      const Vector found =
          learner.gradient().Value(encode(static_cast<int>(row / kActions)), static_cast<int>(row % kActions));
      error = std::max(error, (found - exact).cwiseAbs().maxCoeff());
    }
    return error;
  }

  Rng rng;
  TabularMdp mdp;
  Vector reward;
  SparseRows features;
  LowerLevelSolution solution;
  ValueGradient gradient;
  std::vector<uint8_t> available;
};

TEST(SoftQLearner, TendsToTheSoftOptimalAnswerAndItsGradient) {
  for (uint64_t seed = 1; seed <= 2; ++seed) {
    const Lesson lesson(seed);
    SoftQLearner learner = lesson.Learner({});
    Rng draws(seed, 1);
    lesson.Teach(learner, 20'000, Lesson::OneHot, draws);
    const double q = lesson.QError(learner, Lesson::OneHot);
    lesson.Teach(learner, 500'000, Lesson::OneHot, draws);
    // After 25 times as much, alpha is 25^0.7 = 9.5 times smaller and its noise 3 times.
    EXPECT_LT(lesson.QError(learner, Lesson::OneHot), 0.7 * q);
    EXPECT_LT(lesson.QError(learner, Lesson::OneHot), 0.05);
    EXPECT_LT(lesson.GradientError(learner, Lesson::OneHot), 0.08);
    for (int s = 0; s < kStates; ++s) {
      const Vector pi = learner.Policy(Lesson::OneHot(s), lesson.Available(s));
      EXPECT_LT((pi - lesson.solution.backup.pi.segment(Eigen::Index{s} * kActions, kActions)).cwiseAbs().maxCoeff(),
                0.02);
    }
  }
}

// alpha = 1 in a world without chance is value iteration, one entry at a time.
TEST(SoftQLearner, IsExactInADeterministicWorldWithStepOne) {
  TabularMdpSpec spec;
  spec.num_states = 3;
  spec.num_actions = 2;
  spec.offsets = {0, 1, 2, 3, 4, 5, 6};
  spec.columns = {0, 1, 1, 2, 2, 0};
  spec.probabilities.assign(6, 1.0);
  const TabularMdp mdp = *TabularMdp::Create(spec);
  const Vector reward{{1, 0, -1, 2, 0.5, 0}};
  PolicySystem system(mdp, PolicySystem::Kind::kDirect);
  const Interrupt interrupt;
  const auto solution = *SolveLowerLevel(FollowerOf(mdp, reward, kDiscount, kTemperature), {}, {}, interrupt, system);
  const StepSchedule one{.first = 1, .power = 0};
  SoftQLearner learner(3, 2, kDiscount, kTemperature, reward, SparseRows(6, 1), {one, one});
  for (int sweep = 0; sweep < 150; ++sweep) {
    for (int row = 0; row < 6; ++row) {
      const auto state = Lesson::OneHot(row / 2), next = Lesson::OneHot(static_cast<int>(spec.columns[row]));
      learner.Learn({state, row % 2, row, next, {}, false});
    }
  }
  const Vector exact = ActionValues(mdp, kTemperature, solution.backup);
  for (int row = 0; row < 6; ++row) {
    EXPECT_NEAR(learner.ActionValues(Lesson::OneHot(row / 2), {})[row % 2], exact[row], 1e-12);
  }
}

TEST(SoftQLearner, TakesAnyFeaturesThatSpanTheStates) {
  const Lesson lesson(4);
  Rng rng(5);
  // An orthogonal matrix: rows have length one.
  const Eigen::MatrixXd draws = DrawNormal(rng, kSquare).reshaped(kStates, kStates);
  const Eigen::MatrixXd rotation = Eigen::HouseholderQR<Eigen::MatrixXd>(draws).householderQ();
  const auto encode = [&](int state) {
    std::vector<Feature> features;
    for (int i = 0; i < kStates; ++i) features.push_back({static_cast<uint32_t>(i), rotation(state, i)});
    return features;
  };
  const StepSchedule slow{.first = 0.5, .power = 0.8, .scale = 200, .clock = Clock::kUpdates};
  SoftQLearner learner = lesson.Learner({slow, slow});
  Rng teach(6);
  lesson.Teach(learner, 200'000, encode, teach);
  EXPECT_LT(lesson.QError(learner, encode), 0.1);
  EXPECT_LT(lesson.GradientError(learner, encode), 0.15);
}

// Features sent as dense vectors with a single one are the table, to the last bit.
TEST(SoftQLearner, OneHotFeaturesAreTheTable) {
  const Lesson lesson(7);
  const auto dense = [](int state) {
    std::vector<Feature> features;
    for (int i = 0; i < kStates; ++i) features.push_back({static_cast<uint32_t>(i), i == state ? 1.0 : 0.0});
    return features;
  };
  for (const Clock clock : {Clock::kVisits, Clock::kUpdates}) {
    const StepSchedule schedule{.clock = clock};
    SoftQLearner table = lesson.Learner({schedule, schedule}), linear = lesson.Learner({schedule, schedule});
    Rng one(8), two(8);
    lesson.Teach(table, 20'000, Lesson::OneHot, one);
    lesson.Teach(linear, 20'000, dense, two);
    EXPECT_EQ(table.q().weights(), linear.q().weights());
    EXPECT_EQ(table.gradient().weights(), linear.gradient().weights());
  }
}

TEST(StepSchedule, RefusesNumbersOutOfRangeByName) {
  EXPECT_TRUE(StepSchedule().Validate().ok());
  EXPECT_THAT((StepSchedule{.first = 0}).Validate().message(), HasSubstr("first: is 0"));
  EXPECT_THAT((StepSchedule{.power = 1.5}).Validate().message(), HasSubstr("power: is 1.5"));
  EXPECT_THAT((StepSchedule{.scale = -1}).Validate().message(), HasSubstr("scale: is -1"));
  EXPECT_DOUBLE_EQ((StepSchedule{.first = 0.5, .power = 1, .scale = 10}).At(30), 0.125);
}

TEST(Replay, HoldsTheLastItemsAndDrawsAmongThem) {
  Replay<int> replay(10);
  for (int i = 0; i < 25; ++i) replay.Add(i);
  EXPECT_EQ(replay.size(), 10);
  EXPECT_EQ(replay.added(), 25);
  Rng rng(1);
  std::vector<int> seen(25, 0);
  for (int i = 0; i < 10000; ++i) ++seen[static_cast<size_t>(replay.Draw(rng))];
  for (int i = 0; i < 25; ++i) EXPECT_NEAR(seen[static_cast<size_t>(i)], i < 15 ? 0 : 1000, i < 15 ? 0 : 160);
}

// Where probabilities are less than the smallest double.
TEST(SoftQLearner, LogPolicyOutlastsThePolicy) {
  const Lesson lesson(9);
  SoftQLearner learner(kStates, kActions, kDiscount, 1e-4, lesson.reward, lesson.features, {});
  Rng draws(1);
  lesson.Teach(learner, 2000, Lesson::OneHot, draws);
  for (int s = 0; s < kStates; ++s) {
    const auto state = Lesson::OneHot(s);
    const Vector q = learner.ActionValues(state, lesson.Available(s));
    const Vector log_pi = learner.LogPolicy(state, lesson.Available(s));
    for (int a = 0; a < kActions; ++a) {
      EXPECT_EQ(std::isinf(log_pi[a]), lesson.Available(s)[static_cast<size_t>(a)] == 0);
      if (!std::isinf(q[a])) {
        EXPECT_NEAR(log_pi[a], (q[a] - q.maxCoeff()) / 1e-4, 1.1);
      }
    }
    EXPECT_LE((log_pi.array().exp().matrix() - learner.Policy(state, lesson.Available(s))).norm(), 1e-12);
  }
}

}  // namespace
}  // namespace bilevel::testing
