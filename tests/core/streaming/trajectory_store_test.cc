// Trajectories and preferences: what is kept, by what name, and what is refused.

#include "core/streaming/trajectory_store.h"

#include <cmath>
#include "core/streaming/preference_store.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace bilevel::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

void Add(TrajectoryStore& store, size_t writer, uint64_t episode, int64_t row, bool begins,
         StepKind kind = StepKind::kRunning) {
  store.Add(writer, {.episode = episode, .next_state = static_cast<int>(row), .kind = kind, .begins = begins},
            {row, Transition::kNone, Transition::kNone, 1});
}

TEST(TrajectoryStore, FollowsInterleavedEpisodesOfSeveralWriters) {
  TrajectoryStore store(100);
  for (int64_t row = 0; row < 9; ++row) Add(store, row % 3 == 0 ? 1 : 0, row % 3 == 2 ? 5 : 4, row, row < 3);
  Add(store, 0, 4, 9, false, StepKind::kTerminated);
  const RecordedTrajectory* trajectory = store.Find(0, 4);
  ASSERT_NE(trajectory, nullptr);
  ASSERT_EQ(trajectory->steps.size(), 4);
  for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(trajectory->steps[static_cast<size_t>(i)].row, i < 3 ? 3 * i + 1 : 9);
  EXPECT_EQ(trajectory->end, StepKind::kTerminated);
  EXPECT_EQ(store.Find(0, 5)->end, StepKind::kRunning);
  EXPECT_EQ(store.Find(0, 5)->last_state, 8);
  EXPECT_EQ(store.Find(1, 5), nullptr);
  EXPECT_EQ(store.steps(), 10);
}

TEST(TrajectoryStore, ForgetsWholeTrajectoriesOldestFirst) {
  TrajectoryStore store(10);
  for (uint64_t episode = 0; episode < 5; ++episode) {
    for (int64_t i = 0; i < 4; ++i)
      Add(store, 0, episode, i, i == 0, i == 3 ? StepKind::kTruncated : StepKind::kRunning);
    EXPECT_LE(store.steps(), 10);
  }
  EXPECT_EQ(store.held().size(), 2);
  EXPECT_EQ(store.Find(0, 2), nullptr);
  EXPECT_NE(store.Find(0, 3), nullptr);
  // One that is longer than everything goes too, and what is still to come of it.
  for (int64_t i = 0; i < 15; ++i) Add(store, 0, 9, i, i == 0);
  EXPECT_EQ(store.Find(0, 9), nullptr);
  EXPECT_EQ(store.steps(), 0);
  EXPECT_TRUE(store.held().empty());
}

TEST(TrajectoryStore, ANumberUsedAgainNamesTheLaterEpisode) {
  TrajectoryStore store(5);
  Add(store, 0, 1, 10, true, StepKind::kTerminated);
  Add(store, 0, 1, 20, true);
  EXPECT_EQ(store.Find(0, 1)->steps[0].row, 20);
  for (int64_t i = 0; i < 4; ++i) Add(store, 0, 2, i, i == 0);  // the first one is forgotten
  EXPECT_EQ(store.Find(0, 1)->steps[0].row, 20);
}

TEST(TrajectoryStore, KeepsWalksWithTheirTrajectory) {
  TrajectoryStore store(12);
  const auto walk = [&](uint64_t episode, WalkKind kind, int64_t row, bool begins, bool stopped = false) {
    store.Add(0,
              {.episode = episode,
               .kind = stopped ? StepKind::kTruncated : StepKind::kRunning,
               .begins = begins,
               .walk = kind,
               .stopped = stopped},
              {row, Transition::kNone, -1, 1});
  };
  const WalkKind choice = WalkKind::kFromChoice, state = WalkKind::kFromState;
  Add(store, 0, 4, 1, true);
  walk(4, choice, 9, true);  // its trajectory is not over: it is of an earlier one of that number
  EXPECT_EQ(store.steps(), 1);
  Add(store, 0, 4, 2, false, StepKind::kTruncated);
  walk(4, state, 9, false);  // nor did this one begin here
  walk(4, choice, 10, true);
  walk(4, state, 20, true, true);
  Add(store, 0, 5, 3, true, StepKind::kTruncated);
  walk(4, choice, 11, false);
  walk(7, choice, 9, true);
  const RecordedTrajectory& trajectory = *store.Find(0, 4);
  EXPECT_EQ(trajectory.steps.size(), 2);
  ASSERT_EQ(trajectory.walks.size(), 2);
  EXPECT_EQ(trajectory.walks[0].kind, choice);
  EXPECT_EQ(trajectory.walks[0].steps[1].row, 11);
  EXPECT_FALSE(trajectory.walks[0].complete());
  EXPECT_TRUE(trajectory.walks[1].complete());
  EXPECT_EQ(store.held().size(), 2);
  EXPECT_EQ(store.steps(), 6);
  // Their steps count, and go with the trajectory.
  for (int64_t i = 0; i < 7; ++i) Add(store, 0, 6, i, i == 0);
  EXPECT_EQ(store.Find(0, 4), nullptr);
  EXPECT_EQ(store.steps(), 8);
  walk(4, choice, 12, false);
  EXPECT_EQ(store.steps(), 8);
}

class PreferenceStoreTest : public ::testing::Test {
 protected:
  PreferenceStoreTest() : trajectories_(100), rules_{{{5, 3, {}}, {5, 3, {}}}, 8, 0} {
    for (int64_t i = 0; i < 6; ++i) Add(trajectories_, 0, 7, i, i == 0);
  }
  static FragmentSource Range(uint64_t episode, int64_t first, int64_t count) {
    return {.range = FragmentSource::Range{0, episode, first, count}};
  }
  static FragmentSource Steps(std::vector<int32_t> states, std::vector<int32_t> actions, int32_t context = 0) {
    return {.range = {}, .context = context, .states = std::move(states), .actions = std::move(actions)};
  }
  absl::Status Offer(const PreferenceSource& one, uint64_t first = 1) {
    return store_.Offer(first, {&one, 1}, trajectories_, rules_);
  }

  TrajectoryStore trajectories_;
  TransitionRules rules_;
  PreferenceStore store_{20};
};

TEST_F(PreferenceStoreTest, TakesFragmentsByNameAndByValueOnce) {
  ASSERT_TRUE(Offer({Range(7, 1, 3), Steps({4, 0}, {2, 1}), 0.25}).ok());
  ASSERT_TRUE(Offer({Range(7, 1, 3), Steps({4, 0}, {2, 1}), 0.25}).ok());  // again
  ASSERT_EQ(store_.accepted(), 1);
  EXPECT_EQ(store_.held()[0].first.rows, (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(store_.held()[0].second.rows, (std::vector<int64_t>{14, 1}));
  EXPECT_EQ(store_.held()[0].first_preferred, 0.25);
  EXPECT_EQ(store_.steps(), 5);
}

TEST_F(PreferenceStoreTest, RemembersWhoActed) {
  const double own = Transition::kNone;
  const auto step = [&](uint64_t episode, double log_probability, uint32_t version, bool begins) {
    trajectories_.Add(0, {.episode = episode, .begins = begins}, {0, own, log_probability, version});
  };
  step(8, own, 3, true);
  step(8, own, 3, false);
  step(9, -0.5, 3, true);
  step(9, own, 4, false);
  step(9, own, 5, false);
  ASSERT_TRUE(Offer({Range(8, 0, 2), Range(9, 0, 2)}).ok());
  ASSERT_TRUE(Offer({Range(9, 0, 3), Range(9, 0, 1)}, 2).ok());
  ASSERT_TRUE(Offer({Steps({1}, {1}), Steps({1}, {1})}, 3).ok());
  const std::vector<Preference>& held = store_.held();
  EXPECT_TRUE(held[0].first.behavior_log_probabilities.empty());
  EXPECT_EQ(held[0].first.parameters_version, 3);
  ASSERT_EQ(held[0].second.behavior_log_probabilities.size(), 2);
  EXPECT_EQ(held[0].second.behavior_log_probabilities[0], -0.5);
  EXPECT_TRUE(std::isnan(held[0].second.behavior_log_probabilities[1]));
  EXPECT_EQ(held[0].second.parameters_version, 4);
  EXPECT_EQ(held[1].first.parameters_version, Fragment::kSeveralVersions);
  EXPECT_EQ(held[1].second.parameters_version, 0);
  EXPECT_TRUE(held[2].first.behavior_log_probabilities.empty());
  EXPECT_EQ(held[2].first.parameters_version, 0);
}

TEST_F(PreferenceStoreTest, RefusesByPathAndTakesNothing) {
  const auto fine = Steps({1}, {1});
  const auto message = [&](const PreferenceSource& source, uint64_t first = 1) {
    const absl::Status status = Offer(source, first);
    EXPECT_EQ(store_.accepted(), 0);
    return absl::StrCat(std::string(absl::StatusCodeToString(status.code())), " ", std::string(status.message()));
  };
  EXPECT_THAT(message({fine, Range(8, 0, 1)}), AllOf(HasSubstr("FAILED_PRECONDITION"),
                                                     HasSubstr("preferences[0].second.range"), HasSubstr("episode 8")));
  EXPECT_THAT(message({Range(7, 4, 3), fine}), HasSubstr("steps 4 to 6 of episode 7, of which 6 are known"));
  EXPECT_THAT(message({Range(7, 0, 0), fine}), HasSubstr("range.count: is 0"));
  EXPECT_THAT(message({Range(7, -1, 2), fine}), HasSubstr("range.first_step: is -1"));
  EXPECT_THAT(message({Range(7, INT64_MAX, 2), fine}), HasSubstr("of which 6 are known"));
  EXPECT_THAT(message({Steps({}, {}), fine}), HasSubstr("steps.state: is empty"));
  EXPECT_THAT(message({Steps({1, 2}, {1}), fine}), HasSubstr("must have as many as state: 2"));
  EXPECT_THAT(message({Steps({5}, {1}), fine}), HasSubstr("preferences[0].first.steps.state[0]: is 5"));
  EXPECT_THAT(message({Steps({1}, {3}), fine}), HasSubstr("steps.action[0]: is 3"));
  EXPECT_THAT(message({Steps({1}, {1}, 1), fine}), HasSubstr("contexts 1 and 0"));
  EXPECT_THAT(message({Steps({1}, {1}, 2), fine}), HasSubstr("steps.context: is 2"));
  EXPECT_THAT(message({fine, fine, 1.5}), HasSubstr("first_preferred: is 1.5; must be in [0, 1]"));
  EXPECT_THAT(message({fine, fine}, 3), HasSubstr("a gap; send 1 first"));
  EXPECT_THAT(message({fine, fine}, 0), HasSubstr("the first preference has number 1"));
  EXPECT_THAT(message({Steps(std::vector<int32_t>(20, 1), std::vector<int32_t>(20, 1)), fine}),
              AllOf(HasSubstr("RESOURCE_EXHAUSTED"), HasSubstr("preference_capacity is 20")));
}

}  // namespace
}  // namespace bilevel::testing
