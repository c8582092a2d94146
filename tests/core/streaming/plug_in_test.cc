#include "core/streaming/plug_in.h"

#include <cmath>

#include "core/streaming/simulator.h"
#include "gtest/gtest.h"
#include "tests/support/random_problem.h"

namespace bilevel::testing {
namespace {

RandomProblemOptions Known() {
  return {.min_states = 6,
          .max_states = 10,
          .max_contexts = 2,
          .min_discount = 0.5,
          .max_discount = 0.9,
          .min_temperature = 0.2,
          .dynamics = false};
}

ModelFrame FrameOf(const TabularMdp& mdp) {
  ModelFrame frame{mdp.num_states(), mdp.num_actions(), {}, mdp.initial_distribution()};
  for (Eigen::Index row = 0; row < mdp.num_rows(); ++row) frame.available_actions.push_back(mdp.available(row) ? 1 : 0);
  return frame;
}

// Every available row `each` times.
std::vector<ContextCounts> Watch(const BilevelProblem& problem, int each, Rng& rng) {
  std::vector<ContextCounts> result;
  for (const Context& context : problem.contexts) {
    const TabularMdp& mdp = *context.mdp;
    const Simulator simulator(mdp);
    TransitionCounts counts(mdp.num_states(), mdp.num_rows(), 100'000);
    for (Eigen::Index row = 0; row < mdp.num_rows(); ++row) {
      for (int i = 0; i < each && mdp.available(row); ++i) {
        const int next = simulator.DrawNext(row, rng);
        EXPECT_TRUE(next == Simulator::kEnded ? counts.AddTermination(row) : counts.AddStep(row, next));
      }
    }
    result.push_back({FrameOf(mdp), counts.Sorted()});
  }
  return result;
}

TEST(PlugIn, IntervalsCoverTheExactGradient) {
  int covered = 0, total = 0, objectives = 0;
  constexpr int kProblems = 6, kSeeds = 40;
  for (uint64_t seed = 1; seed <= kProblems; ++seed) {
    Rng rng(seed);
    const BilevelProblem problem = Build(DrawProblem(rng, Known()));
    const Vector x = DrawNormal(rng, problem.num_parameters, 0.5);
    const HypergradientPoint exact = *HypergradientEvaluator(problem, {}).Evaluate(x, {});
    for (int i = 0; i < kSeeds; ++i) {
      const auto found =
          EstimatePlugIn(problem, Watch(problem, 2000, rng), x, {.redraws = 60, .seed = static_cast<uint64_t>(i)}, {});
      ASSERT_TRUE(found.ok()) << found.status();
      EXPECT_EQ(found->redraws, 60);
      EXPECT_EQ(found->unseen_rows, 0);
      for (Eigen::Index j = 0; j < x.size(); ++j) {
        const double error = std::abs(found->point.gradient[j] - exact.gradient[j]);
        if (found->standard_error[j] < 1e-12) continue;  // what does not depend on the world
        ++total;
        covered += error <= 2.0 * found->standard_error[j] ? 1 : 0;  // t of 59 degrees of freedom
      }
      objectives += std::abs(found->point.objective - exact.objective) <= 2.0 * found->objective_standard_error ? 1 : 0;
    }
  }
  EXPECT_GT(total, 300);
  EXPECT_GE(covered, 0.92 * total);
  EXPECT_LE(covered, 0.98 * total);
  EXPECT_GE(objectives, 0.90 * kProblems * kSeeds);
  RecordProperty("coverage", std::to_string(static_cast<double>(covered) / total));
}

TEST(PlugIn, TheBiasEstimatePointsAtTheTruth) {
  Rng rng(9);
  const BilevelProblem problem = Build(DrawProblem(rng, Known()));
  const Vector x = DrawNormal(rng, problem.num_parameters, 0.5);
  const Vector exact = HypergradientEvaluator(problem, {}).Evaluate(x, {})->gradient;
  Vector raw = Vector::Zero(x.size()), corrected = raw;
  constexpr int kSeeds = 400;
  for (int i = 0; i < kSeeds; ++i) {
    const auto found =
        EstimatePlugIn(problem, Watch(problem, 30, rng), x, {.redraws = 40, .seed = static_cast<uint64_t>(i)}, {});
    ASSERT_TRUE(found.ok()) << found.status();
    raw += (found->point.gradient - exact) / kSeeds;
    corrected += (found->point.gradient - found->bias - exact) / kSeeds;
  }
  EXPECT_LT(corrected.norm(), 0.6 * raw.norm());
}

TEST(PlugIn, SameSeedSameAnswerAndWithoutRedrawsNoErrorBars) {
  Rng rng(10);
  const BilevelProblem problem = Build(DrawProblem(rng, Known()));
  const Vector x = DrawNormal(rng, problem.num_parameters);
  const auto counts = Watch(problem, 50, rng);
  const auto once = *EstimatePlugIn(problem, counts, x, {.redraws = 8, .seed = 3}, {});
  const auto again = *EstimatePlugIn(problem, counts, x, {.redraws = 8, .seed = 3}, {});
  const auto other = *EstimatePlugIn(problem, counts, x, {.redraws = 8, .seed = 4}, {});
  EXPECT_EQ(once.standard_error, again.standard_error);
  EXPECT_NE(once.standard_error, other.standard_error);
  EXPECT_EQ(once.point.gradient, other.point.gradient);
  const auto none = *EstimatePlugIn(problem, counts, x, {.redraws = 0}, {});
  EXPECT_EQ(none.standard_error.size(), 0);
  EXPECT_EQ(none.point.gradient, once.point.gradient);
}

}  // namespace
}  // namespace bilevel::testing
