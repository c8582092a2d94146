// Walks that an acting follower asks for, played through actor, queue and learner, against the exact hyper-gradient.

#include <algorithm>
#include <cmath>
#include <deque>
#include <tuple>
#include <utility>

#include "core/streaming/actor.h"
#include "core/streaming/recorded_walks.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/streaming/draw_return.h"
#include "tests/support/tally.h"
#include "tests/support/watched_follower.h"

namespace bilevel::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using Kind = EstimatorOptions::Kind;
using Critic = EstimatorOptions::Critic;
using Baseline = EstimatorOptions::Baseline;

// S = 20, A = 4, gamma = 0.7.
WatchedFollower WatchedWorld() {
  Rng rng(82);
  return {Build(DrawReturn(81, 0.7)), DrawNormal(rng, 5)};
}

// The world as counts so large that the estimated model is the world.
ContextCounts CountsOf(const TabularMdp& mdp) {
  constexpr double kMany = 1e12;
  const auto times = [](double probability) { return static_cast<uint64_t>(std::llround(kMany * probability)); };
  ContextCounts counts{{mdp.num_states(), mdp.num_actions(), {}, mdp.initial_distribution()}, {}};
  Vector left = Vector::Ones(mdp.num_rows());
  mdp.ForEachEntry([&](Eigen::Index row, uint64_t, uint32_t column, double probability) {
    counts.entries.push_back({row, static_cast<int>(column), times(probability)});
    left[row] -= probability;
  });
  for (Eigen::Index row = 0; row < mdp.num_rows(); ++row) {
    counts.frame.available_actions.push_back(mdp.available(row) ? 1 : 0);
    if (mdp.available(row) && left[row] > 1e-9) counts.entries.push_back({row, mdp.num_states(), times(left[row])});
  }
  std::sort(counts.entries.begin(), counts.entries.end(), [](const auto& one, const auto& other) {
    return std::tie(one.row, one.column) < std::tie(other.row, other.column);
  });
  return counts;
}

// An environment that can be set to any state, and the session that it plays in.
class Player {
 public:
  Player(const WatchedFollower& world, const Vector& acts, const Exploration& exploration, uint64_t seed)
      : world_(world),
        learner_(
            *SessionLearner::Create(world.problem(), true, world.x(),
                                    {.route = SessionLearnerOptions::Route::kCount, .trajectory_capacity = 1'000'000})),
        rules_(std::make_shared<const TransitionRules>(learner_.Rules(64))),
        queue_(rules_, 1000),
        actor_(rules_, seed, 0),
        exploration_(exploration),
        rng_(seed, 1) {
    policy_.version = 1;
    policy_.parameters_version = 1;
    policy_.contexts.push_back({acts, {}, {}});
  }

  // Episodes of at most so many steps. Walks are run while later episodes are, or are not run.
  void Play(int episodes, int steps, bool walks = true) {
    std::deque<Walk> asked;
    for (int i = 0; i < episodes; ++i) {
      const Observation start{.episode = next_episode_++, .state = world_.simulator().DrawStart(rng_)};
      for (const Walk& walk : Run(start, steps)) asked.push_back(walk);
      while (walks && asked.size() > (i + 1 < episodes ? 5 : 0)) {
        RunWalk(asked.front(), 1'000'000);
        asked.pop_front();
      }
    }
  }

  void RunWalk(const Walk& walk, int most) {
    const Observation start{
        .episode = 1'000'000 + next_episode_++, .state = walk.state, .walk = walk.kind, .walk_of = walk.of_episode};
    EXPECT_TRUE(Run(start, most).empty());
  }

  std::vector<Walk> Run(const Observation& start, int most) {
    const int A = world_.mdp().num_actions();
    int state = start.state;
    ActedStep step = Observe(start);
    for (int t = 1; !step.ended; ++t) {
      const int next = world_.simulator().DrawNext(int64_t{state} * A + step.action, rng_);
      const bool ended = next == Simulator::kEnded;
      state = ended ? 0 : next;
      step = Observe({.sequence = queue_.accepted() + 1,
                      .episode = start.episode,
                      .state = state,
                      .kind = ended       ? StepKind::kTerminated
                              : t == most ? StepKind::kTruncated
                                          : StepKind::kRunning});
    }
    return step.walks;
  }

  // What the session knows, but that its model is exact.
  SessionData Data() const {
    SessionData data = learner_.Data(true);
    data.contexts[0] = CountsOf(world_.mdp());
    return data;
  }

  absl::StatusOr<GradientEstimate> Estimate(const EstimatorOptions& options) const {
    return EstimateGradient(world_.problem(), Data(), world_.x(), options, {});
  }

  const SessionLearner& learner() const { return learner_; }

 private:
  ActedStep Observe(const Observation& observation) {
    EXPECT_FALSE(*actor_.IsKnown(observation, queue_.accepted()));
    std::optional<TransitionBlock> completed = *actor_.Complete(observation);
    if (completed.has_value()) {
      EXPECT_TRUE(queue_.Offer(observation.sequence, *std::move(completed), 1).ok());
      const BlockSlice slice = queue_.Pop(1);
      learner_.Learn(0, slice.block->steps[slice.begin]);
    }
    actor_.Take(observation, true);
    const std::optional<ActedStep> drawn = actor_.Drawn(observation);
    return drawn.has_value() ? *drawn : actor_.Draw(observation, &policy_, exploration_);
  }

  const WatchedFollower& world_;
  SessionLearner learner_;
  std::shared_ptr<const TransitionRules> rules_;
  WriterQueue queue_;
  Actor actor_;
  Exploration exploration_;
  Rng rng_;
  PolicySnapshot policy_;
  uint64_t next_episode_ = 0;
};

struct Arm {
  const char* name;
  Kind kind;
  Baseline baseline = Baseline::kDefault;
  double explored = 0;  // share of uniform actions in episodes
  double older = 0;     // share of uniform actions in the policy that acted, walks included
};

// Episodes are cut at 6 steps, so that weights stay bounded, and what that misses is told as bias.
TEST(Walks, EstimatesHaveTheExactMeanAndHonestErrorBars) {
  constexpr int kSeeds = kSanitized ? 6 : 60, kEpisodes = 500;
  const WatchedFollower world = WatchedWorld();
  Vector uniform(world.pi().size());
  for (Eigen::Index row = 0; row < uniform.size(); ++row) uniform[row] = world.mdp().available(row) ? 1 : 0;
  uniform = uniform.cwiseQuotient(RepeatForActions(world.mdp(), SumOverActions(world.mdp(), uniform)));
  for (const Arm& arm : {Arm{"return", Kind::kReturn}, Arm{"reward to go", Kind::kRewardToGo},
                         Arm{"critic", Kind::kCritic}, Arm{"control", Kind::kRewardToGo, Baseline::kModel},
                         Arm{"explored", Kind::kRewardToGo, Baseline::kDefault, 0.3},
                         Arm{"older", Kind::kCritic, Baseline::kDefault, 0, 0.3}}) {
    SCOPED_TRACE(arm.name);
    const Vector acts = (1 - arm.older) * world.pi() + arm.older * uniform;
    Tally tally(world.point().gradient);
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
      Player player(world, acts, {Exploration::Kind::kUniform, arm.explored}, seed);
      player.Play(kEpisodes, 6);
      const auto found =
          player.Estimate({.kind = arm.kind, .critic = Critic::kContinuations, .baseline = arm.baseline});
      ASSERT_TRUE(found.ok()) << found.status();
      EXPECT_EQ(found->trajectories, kEpisodes);
      EXPECT_EQ(found->left_out, 0);
      EXPECT_EQ(found->transitions, player.learner().merged());
      EXPECT_THAT(found->assumptions, Contains(HasSubstr("walks go on from a state")));
      const auto others = Contains(HasSubstr("walks of other policies"));
      if (arm.older > 0) {
        EXPECT_THAT(found->assumptions, others);
      } else {
        EXPECT_THAT(found->assumptions, Not(others));
      }
      tally.Add(found->gradient - found->bias, found->standard_error);
    }
    // Bonferroni over 5 entries, 6 arms, Student's law of 59 degrees of freedom: 0.3 %.
    EXPECT_LE(tally.worst_z(), kSanitized ? 12 : 4.2);
    EXPECT_GE(tally.coverage(), kSanitized ? 0.5 : 0.88);
  }
}

TEST(Walks, OfOtherPoliciesCountAsLikelyAsThisOneMakesThem) {
  const double kSome = 0.3;  // log-probabilities that are not asked for
  const auto step = [](int64_t row, double b) { return RecordedStep{row, Transition::kNone, std::log(b), 1}; };
  RecordedTrajectory trajectory{
      .steps = {step(3, kSome), step(0, kSome), step(3, kSome), step(2, kSome), step(2, kSome)},
      .end = StepKind::kTruncated};
  trajectory.walks = {{WalkKind::kFromState, StepKind::kTruncated, true, {step(2, 0.5), step(1, 0.8)}},
                      {WalkKind::kFromChoice, StepKind::kTerminated, false, {step(3, 1), step(0, 0.1)}}};
  const Vector pi{{0.2, 0.6, 0.25, 0.75}}, log_pi = pi.array().log();
  SparseRows features(4, 4);
  features.setIdentity();
  const auto found = ScoreOfWalks(trajectory, features, log_pi);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->score.row, 3);
  EXPECT_EQ(found->transitions, 4);
  EXPECT_TRUE(found->other_policy);
  // From (s, a) = row 3, which 2 of 5 steps have: 1 there and 0.2 / 0.1 in row 0; less 0.25 / 0.5 in row 2 and 0.6 /
  // 0.8 of that in row 1.
  EXPECT_LT((found->score.score - 2.5 * Vector{{2, -0.375, -0.5, 1}}).lpNorm<Eigen::Infinity>(), 1e-12);
  EXPECT_FALSE(HasCutWalks(trajectory));
  trajectory.walks[0].stopped = false;
  EXPECT_TRUE(HasCutWalks(trajectory));
  EXPECT_FALSE(ScoreOfWalks(trajectory, features, log_pi).has_value());
}

TEST(Walks, TrajectoriesWithoutThemAreLeftOut) {
  const WatchedFollower world = WatchedWorld();
  Player player(world, world.pi(), {}, 3);
  const EstimatorOptions options{.kind = Kind::kCritic, .critic = Critic::kContinuations};
  player.Play(20, 6, false);
  EXPECT_THAT(std::string(player.Estimate(options).status().message()),
              AllOf(HasSubstr("0 trajectories that can be used and 20 that cannot"), HasSubstr("without both walks")));
  player.Play(30, 6);
  const auto found = player.Estimate(options);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->trajectories, 30);
  EXPECT_EQ(found->left_out, 20);
  EXPECT_THAT(found->assumptions, Not(Contains(HasSubstr("cut walks short"))));
  // Where episodes begin is not learned from walks, and they are no trajectories.
  EXPECT_EQ(player.learner().trajectories().held().size(), 50);
  uint64_t starts = 0;
  const SessionData data = player.learner().Data(false);
  for (const auto& entry : data.contexts[0].entries) {
    if (entry.row == world.mdp().num_rows()) starts += entry.count;
  }
  EXPECT_EQ(starts, 50);
}

TEST(Walks, ThatTheEnvironmentCutAreOfNoUse) {
  const WatchedFollower world = WatchedWorld();
  Player player(world, world.pi(), {}, 4);
  player.Play(30, 6);
  for (int i = 0; i < 30; ++i) {
    for (const Walk& walk : player.Run({.episode = 500'000 + static_cast<uint64_t>(i)}, 6)) player.RunWalk(walk, 1);
  }
  const auto found = player.Estimate({.kind = Kind::kCritic, .critic = Critic::kContinuations});
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_GT(found->left_out, 10);
  EXPECT_GT(found->trajectories, 30);  // where the coins fell there anyway
  EXPECT_THAT(found->assumptions, Contains(HasSubstr("BIASED: the environment cut walks short")));
}

TEST(Walks, OneStepScoresHaveNone) {
  const EstimatorOptions options{.kind = Kind::kOneStep, .critic = Critic::kContinuations};
  EXPECT_THAT(std::string(options.Validate().message()), HasSubstr("critic: is CRITIC_CONTINUATIONS"));
}

}  // namespace
}  // namespace bilevel::testing
