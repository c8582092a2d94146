// Samples of a follower that acts in a known world, single and in pairs, against exact hyper-gradients.

#include "core/streaming/sampled_follower.h"

#include <atomic>
#include <cmath>

#include "core/hypergradient/hypergradient.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/streaming/draw_return.h"
#include "tests/support/tally.h"

namespace bilevel::testing {
namespace {

using Answer = SampledFollowerOptions::Answer;
using Critic = SampledFollowerOptions::Critic;
using ::testing::HasSubstr;

// With everything that stands between the return and phi: weights, a sense, a penalty, a softmax group.
BilevelProblem Leader() {
  ProblemNumbers numbers = DrawReturn(1, 0.7);
  numbers.contexts[0].weight = 0.5;
  numbers.contexts[0].return_weight = -3;
  numbers.penalties.squared_l2 = 0.5;
  numbers.sense = Sense::kMinimize;
  return Build(numbers);
}

HypergradientPoint ExactAt(const BilevelProblem& problem, const Vector& x) {
  return *HypergradientEvaluator(problem, {}).Evaluate(x, {});
}

struct Setting {
  Answer answer;
  Critic critic;
};
constexpr Setting kSettings[] = {{Answer::kSolved, Critic::kExact},
                                 {Answer::kSolved, Critic::kEstimatedModel},
                                 {Answer::kSoftQ, Critic::kExact},
                                 {Answer::kSoftQ, Critic::kEstimatedModel},
                                 {Answer::kSoftQ, Critic::kLearned}};

TEST(SampledFollower, SamplesAndPairsHaveTheExactMeanAndHonestErrorBars) {
  const BilevelProblem problem = Leader();
  Rng start(2);
  const Vector before = DrawNormal(start, 5), x = before + DrawNormal(start, 5, 0.05);
  const HypergradientPoint here = ExactAt(problem, x), there = ExactAt(problem, before);
  const double kept = 0.8;
  Tally single(there.gradient), objective(Vector::Constant(1, there.objective));
  Tally innovation(here.gradient - kept * there.gradient);
  for (uint64_t seed = 1; seed <= kManySeeds; ++seed) {
    SampledFollower follower = *SampledFollower::Create(problem, {.cap = 1e9, .seed = seed});
    const GradientSample first = *follower.Sample(before, 0, {.trajectories = 200}, {});
    EXPECT_EQ(first.previous.size(), 0);
    single.Add(first.gradient, first.standard_error);
    objective.Add(Vector::Constant(1, first.objective), Vector::Constant(1, first.objective_standard_error));
    const GradientSample second = *follower.Sample(x, kept, {.trajectories = 200}, {});
    innovation.Add(second.gradient - kept * second.previous, second.innovation_standard_error);
  }
  // Bonferroni over 5 components and 2 tallies, and one: |z| <= 3.5 at 0.5 %.
  single.ExpectHonest(3.5);
  innovation.ExpectHonest(3.5);
  EXPECT_LE(objective.worst_z(), kSanitized ? 7 : 3.5);
}

// Whatever is learned, both ends of a pair are made of the same: momentum would add up the rest.
TEST(SampledFollower, PairsVanishWithTheStepHoweverAnswersAndCriticsAreMade) {
  const BilevelProblem problem = Leader();
  Rng start(3);
  const Vector before = DrawNormal(start, 5), step = DrawNormal(start, 5).normalized();
  for (const Setting& setting : kSettings) {
    const auto difference = [&](double length) {
      SampledFollower follower = *SampledFollower::Create(
          problem, {.answer = setting.answer, .critic = setting.critic, .soft_q = {.q = {.power = 0.5}}, .seed = 4});
      const SampleEffort effort{.trajectories = 50, .sweeps = 20};
      EXPECT_TRUE(follower.Sample(before, 0, effort, {}).ok());
      const GradientSample sample = *follower.Sample(before + length * step, 1, effort, {});
      return (sample.gradient - sample.previous).norm();
    };
    EXPECT_LE(difference(0), 1e-12);
    // Draws may differ: a policy that moved by 1e-5 chooses otherwise about once in 1e5 steps.
    EXPECT_NEAR(difference(1e-4) / difference(1e-5), 10, 1);
  }
}

TEST(SampledFollower, LearnsTheAnswerAndItsGradient) {
  const BilevelProblem problem = Leader();
  Rng start(5);
  const Vector x = DrawNormal(start, 5);
  const HypergradientPoint exact = ExactAt(problem, x);
  SampledFollower follower = *SampledFollower::Create(problem, {.answer = Answer::kSoftQ, .critic = Critic::kLearned});
  const GradientSample sample = *follower.Sample(x, 0, {.trajectories = 20'000, .sweeps = 4000}, {});
  EXPECT_EQ(follower.learned() % 4000, 0);
  // Learning rates are 4000^-0.7 in the end, so that Q is off by about 0.05 of a target's spread, and pi by that over
  // tau.
  EXPECT_LE((follower.pi() - exact.contexts[0].solution.backup.pi).lpNorm<Eigen::Infinity>(), 0.1);
  EXPECT_LE((sample.gradient - exact.gradient).norm(), 0.2 * exact.gradient.norm() + 4 * sample.standard_error.norm());
}

TEST(SampledFollower, LearnsTheAnswerToTheLastPointAnew) {
  const BilevelProblem problem = Leader();
  Rng start(5);
  const Vector before = DrawNormal(start, 5), x = before + DrawNormal(start, 5, 0.15);
  const Vector here = ExactAt(problem, x).gradient, there = ExactAt(problem, before).gradient;
  SampledFollower follower = *SampledFollower::Create(problem, {.answer = Answer::kSoftQ, .cap = 1e9});
  const SampleEffort effort{.trajectories = 50'000, .sweeps = 2000};
  EXPECT_TRUE(follower.Sample(before, 0, effort, {}).ok());
  const GradientSample sample = *follower.Sample(x, 1, effort, {});
  EXPECT_LE((sample.previous - there).norm(), 0.2 * (here - there).norm());
  EXPECT_LE((sample.gradient - here).norm(), 0.2 * (here - there).norm());
}

TEST(SampledFollower, AsksAModelOfWhatItSaw) {
  const BilevelProblem problem = Leader();
  Rng start(6);
  const Vector x = DrawNormal(start, 5);
  const HypergradientPoint exact = ExactAt(problem, x);
  SampledFollower follower = *SampledFollower::Create(problem, {.critic = Critic::kEstimatedModel, .seed = 7});
  const GradientSample sample = *follower.Sample(x, 0, {.trajectories = 20'000}, {});
  EXPECT_LE((sample.gradient - exact.gradient).norm(), 0.05 * exact.gradient.norm() + 4 * sample.standard_error.norm());
  // A batch for the model, and one for the sample.
  EXPECT_GT(follower.acted(), follower.estimate().transitions * 3 / 2);
}

TEST(SampledFollower, SolvesNoMoreThanAsked) {
  const BilevelProblem problem = Leader();
  const Vector x = Vector::Ones(5);
  const Vector exact = ExactAt(problem, x).contexts[0].solution.backup.pi;
  const auto error = [&](double residual) {
    SampledFollower follower = *SampledFollower::Create(problem, {});
    EXPECT_TRUE(follower.Sample(x, 0, {.residual = residual}, {}).ok());
    return (follower.pi() - exact).lpNorm<Eigen::Infinity>();
  };
  EXPECT_GT(error(1), 1e-4);
  EXPECT_LE(error(1e-9), 1e-7);
}

TEST(SampledFollower, SameSeedSameSamples) {
  const BilevelProblem problem = Leader();
  for (const Setting& setting : kSettings) {
    const auto run = [&] {
      SampledFollower follower =
          *SampledFollower::Create(problem, {.answer = setting.answer, .critic = setting.critic, .seed = 8});
      Vector last;
      for (int k = 1; k <= 3; ++k) {
        const GradientSample sample = *follower.Sample(Vector::Constant(5, 0.1 * k), k == 1 ? 0 : 0.5, {}, {});
        last = sample.gradient - (k == 1 ? Vector(Vector::Zero(5)) : sample.previous);
      }
      return last;
    };
    EXPECT_EQ(run(), run());
  }
}

TEST(SampledFollower, StopsWhereItIsInterrupted) {
  const BilevelProblem problem = Leader();
  const std::atomic<bool> cancelled = true;
  for (const Setting& setting : kSettings) {
    SampledFollower follower = *SampledFollower::Create(problem, {.answer = setting.answer, .critic = setting.critic});
    EXPECT_EQ(follower.Sample(Vector::Ones(5), 0, {}, Interrupt(&cancelled, std::nullopt)).status().code(),
              absl::StatusCode::kCancelled);
  }
}

TEST(SampledFollower, RefusesWhatItCannotSample) {
  const BilevelProblem good = Leader();
  const auto message = [](const BilevelProblem& problem, const SampledFollowerOptions& options) {
    return std::string(SampledFollower::Create(problem, options).status().message());
  };
  EXPECT_THAT(message(Build(DrawMatching(1)), {}), HasSubstr("leader_return"));
  BilevelProblem two = good;
  two.contexts.push_back(two.contexts[0]);
  EXPECT_THAT(message(two, {}), HasSubstr("one context"));
  BilevelProblem elsewhere = good;
  std::get<LeaderReturn>(elsewhere.contexts[0].objective[0].measure).initial = Vector::Constant(20, 0.05);
  EXPECT_THAT(message(elsewhere, {}), HasSubstr("starts where"));
  EXPECT_THAT(message(good, {.cap = 0}), HasSubstr("cap"));
  EXPECT_THAT(message(good, {.critic = Critic::kLearned}), HasSubstr("critic"));
  EXPECT_THAT(
      message(good, {.answer = Answer::kSoftQ, .critic = Critic::kLearned, .estimator = TrajectoryEstimator::kCritic}),
      HasSubstr("critic"));
}

}  // namespace
}  // namespace bilevel::testing
