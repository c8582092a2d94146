#include "core/streaming/estimated_model.h"

#include <cmath>
#include <map>
#include <tuple>

#include "core/streaming/random_draws.h"
#include "core/streaming/simulator.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/random_problem.h"

namespace bilevel::testing {
namespace {

using ::testing::ElementsAre;

// P as a dense matrix, with the probability to end as last column.
Eigen::MatrixXd DenseWithEnd(const TabularMdp& mdp) {
  Eigen::MatrixXd p = Eigen::MatrixXd::Zero(mdp.num_rows(), mdp.num_states() + 1);
  mdp.ForEachEntry([&](Eigen::Index row, uint64_t, uint32_t column, double value) { p(row, column) = value; });
  for (Eigen::Index row = 0; row < mdp.num_rows(); ++row) {
    if (mdp.available(row)) p(row, mdp.num_states()) = 1 - p.row(row).sum();
  }
  return p;
}

ModelFrame FrameOf(const TabularMdpSpec& mdp) { return {mdp.num_states, mdp.num_actions, mdp.available_actions, {}}; }

// Counts of `steps` transitions, states and actions uniform.
TransitionCounts Explore(const TabularMdp& mdp, int steps, Rng& rng) {
  const Simulator simulator(mdp);
  TransitionCounts counts(mdp.num_states(), mdp.num_rows(), 1 << 20);
  for (int i = 0; i < steps; ++i) {
    const auto row = static_cast<int64_t>(rng.Below(static_cast<uint64_t>(mdp.num_rows())));
    if (!mdp.available(row)) continue;
    const int next = simulator.DrawNext(row, rng);
    EXPECT_TRUE(next == Simulator::kEnded ? counts.AddTermination(row) : counts.AddStep(row, next));
  }
  return counts;
}

TEST(TransitionCounts, AreThoseOfAMapInAnyOrder) {
  constexpr int kManyStates = 50;  // more successors than a row's own blocks hold
  Rng rng(1);
  std::map<std::tuple<int64_t, int>, uint64_t> expected;
  std::vector<std::tuple<int64_t, int>> seen;
  for (int i = 0; i < 50000; ++i) {
    const auto kind = rng.Below(10);
    const auto row = static_cast<int64_t>(kind == 0 ? 60 : rng.Below(60));
    const auto column = static_cast<int>(kind == 1 && row < 60 ? kManyStates : rng.Below(kManyStates));
    ++expected[{row, column}];
    seen.emplace_back(row, column);
  }
  const auto count = [&](auto begin, auto end) {
    TransitionCounts counts(kManyStates, 60, 4000);
    for (auto it = begin; it != end; ++it) {
      const auto& [row, column] = *it;
      EXPECT_TRUE(row == 60               ? counts.AddStart(column)
                  : column == kManyStates ? counts.AddTermination(row)
                                          : counts.AddStep(row, column));
    }
    return counts;
  };
  for (const TransitionCounts& counts : {count(seen.begin(), seen.end()), count(seen.rbegin(), seen.rend())}) {
    const auto entries = counts.Sorted();
    ASSERT_EQ(entries.size(), expected.size());
    auto it = expected.begin();
    for (const TransitionCounts::Entry& entry : entries) {
      EXPECT_EQ(std::tuple(entry.row, entry.column), it->first);
      EXPECT_EQ(entry.count, it->second);
      ++it;
    }
    EXPECT_EQ(counts.total() + counts.starts(), 50000);
    EXPECT_LE(counts.bytes(), TransitionCounts::MaxBytes(counts.distinct(), 60));
  }
}

TEST(TransitionCounts, DropNewKindsWhenFullAndGoOnCountingTheOthers) {
  TransitionCounts counts(1000, 1000, 100);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(counts.AddStep(i, i));
  EXPECT_FALSE(counts.AddStep(5, 6));
  EXPECT_FALSE(counts.AddStart(0));
  EXPECT_TRUE(counts.AddStep(7, 7));
  EXPECT_EQ(counts.dropped(), 2);
  EXPECT_EQ(counts.total(), 101);
  EXPECT_EQ(counts.Sorted()[7].count, 2);
  EXPECT_LE(counts.bytes(), TransitionCounts::MaxBytes(100, 1000));
}

TEST(EstimatedModel, IsTheFrequenciesAndThePriorWhereNothingWasSeen) {
  // Two states, two actions; (0, 1) and (1, 1) unseen, (1, 1) unavailable.
  TransitionCounts counts(2, 4, 100);
  for (int i = 0; i < 3; ++i) counts.AddStep(0, 1);
  counts.AddStep(0, 0);
  counts.AddTermination(2);
  counts.AddStep(2, 0);
  counts.AddStart(1);
  for (int i = 0; i < 3; ++i) counts.AddStart(0);
  const ModelFrame frame{2, 2, {1, 1, 1, 0}, {}};
  const auto row = [&](ModelPrior::Kind kind, double strength, int r) {
    const auto model = EstimateModel(frame, counts.Sorted(), {kind, strength});
    EXPECT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(model->unseen_rows, 1);
    const Vector p = DenseWithEnd(model->mdp).row(r);
    return std::vector<double>(p.begin(), p.end());
  };
  using Kind = ModelPrior::Kind;
  for (const Kind kind : {Kind::kStay, Kind::kEnd, Kind::kNeighbours}) {
    EXPECT_THAT(row(kind, 0, 0), ElementsAre(0.25, 0.75, 0));
    EXPECT_THAT(row(kind, 0, 2), ElementsAre(0.5, 0, 0.5));
  }
  EXPECT_THAT(row(Kind::kStay, 0, 1), ElementsAre(1, 0, 0));
  EXPECT_THAT(row(Kind::kEnd, 0, 1), ElementsAre(0, 0, 1));
  EXPECT_THAT(row(Kind::kNeighbours, 0, 1), ElementsAre(0.5, 0.5, 0));
  EXPECT_THAT(row(Kind::kStay, 4, 0), ElementsAre(5. / 8, 3. / 8, 0));
  EXPECT_THAT(row(Kind::kEnd, 4, 0), ElementsAre(1. / 8, 3. / 8, 0.5));
  EXPECT_THAT(row(Kind::kNeighbours, 4, 0), ElementsAre(3. / 8, 5. / 8, 0));
  EXPECT_THAT(row(Kind::kStay, 4, 1), ElementsAre(1, 0, 0));
  const auto model = EstimateModel(frame, counts.Sorted(), {});
  EXPECT_EQ(model->mdp.initial_distribution(), (Vector{{0.75, 0.25}}));
}

TEST(EstimatedModel, TendsToTheTruthLikeOneOverRootN) {
  Rng rng(2);
  const TabularMdpSpec spec = DrawMdp(rng, 8, 3, true, true);
  const TabularMdp mdp = *TabularMdp::Create(spec);
  std::vector<double> errors;
  for (const int steps : {10'000, 1'000'000}) {
    const TransitionCounts counts = Explore(mdp, steps, rng);
    const auto model = EstimateModel(FrameOf(spec), counts.Sorted(), {});
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(model->unseen_rows, 0);
    errors.push_back((DenseWithEnd(model->mdp) - DenseWithEnd(mdp)).norm());
  }
  EXPECT_NEAR(errors[0] / errors[1], 10, 4);
}

// Of Dirichlet(n): mean n_i / n, variance m (1 - m) / (n + 1).
TEST(EstimatedModel, RedrawsHaveTheMomentsOfTheirDirichlet) {
  Rng rng(3);
  TransitionCounts counts(3, 3, 100);
  for (int i = 0; i < 20; ++i) counts.AddStep(0, i < 12 ? 0 : 1);
  for (int i = 0; i < 10; ++i) counts.AddTermination(0);
  constexpr int kDraws = 20000;
  Eigen::ArrayXd mean = Eigen::ArrayXd::Zero(4), square = mean;
  for (int i = 0; i < kDraws; ++i) {
    const auto model = RedrawModel({3, 1, {}, {}}, counts.Sorted(), {}, rng);
    ASSERT_TRUE(model.ok()) << model.status();
    const Eigen::ArrayXd row = DenseWithEnd(model->mdp).row(0).transpose();
    mean += row / kDraws;
    square += row.square() / kDraws;
  }
  const Eigen::ArrayXd expected{{0.4, 8. / 30, 0, 1. / 3}};
  for (Eigen::Index i = 0; i < 4; ++i) {
    const double variance = expected[i] * (1 - expected[i]) / 31;
    EXPECT_NEAR(mean[i], expected[i], 5 * std::sqrt(variance / kDraws) + 1e-15);
    EXPECT_NEAR(square[i] - mean[i] * mean[i], variance, 0.06 * variance + 1e-15);
  }
}

TEST(RandomDraws, GammaHasItsMoments) {
  Rng rng(4);
  for (const double shape : {0.3, 1.0, 4.5, 1000.0}) {
    constexpr int kDraws = 100000;
    double mean = 0, square = 0;
    for (int i = 0; i < kDraws; ++i) {
      const double draw = DrawGamma(rng, shape);
      ASSERT_GT(draw, 0);
      mean += draw / kDraws;
      square += draw * draw / kDraws;
    }
    EXPECT_NEAR(mean, shape, 5 * std::sqrt(shape / kDraws));
    EXPECT_NEAR(square - mean * mean, shape, 0.06 * shape);
  }
}

TEST(Simulator, DrawsByTheDistributionsItWasGiven) {
  Rng rng(5);
  const TabularMdpSpec spec = DrawMdp(rng, 6, 3, true, true);
  const TabularMdp mdp = *TabularMdp::Create(spec);
  const Simulator simulator(mdp);
  const Eigen::MatrixXd p = DenseWithEnd(mdp);
  constexpr int kDraws = 40000;
  const auto compare = [&](const Vector& probabilities, const auto& draw) {
    Vector seen = Vector::Zero(probabilities.size());
    for (int i = 0; i < kDraws; ++i) ++seen[draw()];
    for (Eigen::Index i = 0; i < seen.size(); ++i) {
      const double q = probabilities[i];
      EXPECT_NEAR(seen[i] / kDraws, q, 5 * std::sqrt(q * (1 - q) / kDraws) + 1e-12);
    }
  };
  compare(mdp.initial_distribution(), [&] { return simulator.DrawStart(rng); });
  for (Eigen::Index row = 0; row < mdp.num_rows(); ++row) {
    if (!mdp.available(row)) continue;
    compare(p.row(row), [&] {
      const int next = simulator.DrawNext(row, rng);
      return next == Simulator::kEnded ? 6 : next;
    });
  }
  const Vector pi{{0.2, 0, 0.8}};
  compare(pi, [&] { return simulator.DrawAction(pi.replicate(6, 1), 3, rng); });
}

}  // namespace
}  // namespace bilevel::testing
