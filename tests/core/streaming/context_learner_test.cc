// What momentum asks of a learner: answers at two points, learned from the same transitions.

#include "core/streaming/context_learner.h"

#include "gtest/gtest.h"
#include "tests/core/streaming/draw_return.h"
#include "tests/support/drifting_stream.h"

namespace bilevel::testing {
namespace {

class PairOfLearners : public ::testing::Test {
 protected:
  PairOfLearners()
      : problem_(Build(DrawReturn(3, 0.8))), context_(problem_.contexts[0]), stream_(*context_.mdp, AnyPolicy(), 1) {
    options_.route = SessionLearnerOptions::Route::kSoftQ;
    options_.learn_gradient = true;
    options_.replay_draws = 2;
    options_.descent = SessionDescentOptions{
        .descent = {.momentum = true},
        .estimator = {.kind = EstimatorOptions::Kind::kReturn, .critic = EstimatorOptions::Critic::kLearned}};
  }

  Vector AnyPolicy() const {
    Vector pi = Vector::Zero(context_.mdp->num_rows());
    for (Eigen::Index row = 0; row < pi.size(); ++row) pi[row] = context_.mdp->available(row) ? 1 : 0;
    return pi.cwiseQuotient(RepeatForActions(*context_.mdp, SumOverActions(*context_.mdp, pi)));
  }
  Vector RewardAt(double x) const {
    const Vector at = Vector::Constant(problem_.num_parameters, x);
    return context_.reward.Evaluate(at, problem_.map.Apply(at));
  }

  BilevelProblem problem_;
  const Context& context_;
  SessionLearnerOptions options_;
  DriftingStream stream_;
};

TEST_F(PairOfLearners, ThePointBeforeGoesOnLearningAsIfXHadStayed) {
  const Vector here = RewardAt(0.2), there = RewardAt(0.7);
  ContextLearner moves({context_, here}, true, options_), stays({context_, here}, true, options_);
  Rng moves_draws(9), stays_draws(9);
  const auto feed = [&](int count) {
    for (int i = 0; i < count; ++i) {
      const Transition step = stream_.Next();
      moves.Learn(step, {}, true, moves_draws);
      stays.Learn(step, {}, true, stays_draws);
    }
  };
  feed(500);
  EXPECT_EQ(moves.PreviousLogPolicy().size(), 0);
  EXPECT_EQ(moves.PreviousScore(*context_.mdp).size(), 0);
  moves.Move({context_, there});
  feed(500);
  EXPECT_EQ(moves.PreviousLogPolicy(), *stays.ModelFreeLogPolicy());
  EXPECT_EQ(moves.PreviousScore(*context_.mdp), *stays.LearnedScore(*context_.mdp));
  EXPECT_NE(*moves.ModelFreeLogPolicy(), moves.PreviousLogPolicy());
  // Of the last two alone.
  moves.Move({context_, here});
  EXPECT_EQ(moves.PreviousLogPolicy(), *moves.ModelFreeLogPolicy());
}

TEST_F(PairOfLearners, AreKeptForMomentumWithLearnedCriticsAlone) {
  const double bytes = ContextLearner::MaxBytes(context_, options_);
  options_.descent->descent.momentum = false;
  EXPECT_LT(ContextLearner::MaxBytes(context_, options_), bytes);
  const Vector reward = RewardAt(0);
  ContextLearner learner({context_, reward}, true, options_);
  learner.Move({context_, reward});
  EXPECT_EQ(learner.PreviousLogPolicy().size(), 0);
}

}  // namespace
}  // namespace bilevel::testing
