#include <gtest/gtest.h>

#include <cmath>

#include "client/array.h"
#include "client/problems/congestion_tax.h"
#include "client/problems/four_rooms.h"
#include "client/problems/inverse_rl.h"
#include "client/problems/policy_matching.h"
#include "client/problems/random.h"
#include "client/problems/reward_shaping.h"
#include "client/problems/stackelberg_game.h"
#include "client/problems/synthetic.h"
#include "client/problems/two_state.h"
#include "client/problems/worst_case.h"

namespace bilevel::client {
namespace {

// For every available action of every state: sum of transition probabilities + termination probability - 1; else 0.
std::vector<double> RowExcess(const v1::Environment& environment) {
  const v1::SparseMatrix& sparse = environment.transitions().sparse();
  const std::vector<double> offsets = *ToVector(sparse.offsets());
  const std::vector<double> values = *ToVector(sparse.values());
  std::vector<double> excess = *ToVector(environment.termination_probability());
  excess.resize(offsets.size() - 1, 0.0);
  for (std::size_t row = 0; row + 1 < offsets.size(); ++row) {
    for (auto k = static_cast<std::size_t>(offsets[row]); k < static_cast<std::size_t>(offsets[row + 1]); ++k) {
      excess[row] += values[k];
    }
    excess[row] -= 1.0;
  }
  const std::vector<double> available = *ToVector(environment.available_actions());
  for (std::size_t row = 0; row < available.size(); ++row) excess[row] *= available[row];
  return excess;
}

void ExpectRowsSumToOne(const v1::Problem& problem) {
  for (const v1::Context& context : problem.contexts()) {
    const std::vector<double> excess = RowExcess(context.environment());
    EXPECT_EQ(static_cast<int>(excess.size()),
              context.environment().num_states() * context.environment().num_actions());
    for (const double row : excess) EXPECT_NEAR(row, 0.0, 1e-12);
  }
}

// The first outputs of splitmix64 for seed 0, as in the reference implementation.
TEST(Random, StreamIsTheReferenceSplitmix64) {
  Random random(0);
  EXPECT_EQ(random.Bits(), 0xe220a8397b1dcdafU);
  EXPECT_EQ(random.Bits(), 0x6e789e6aa1b965f4U);
  EXPECT_EQ(random.Bits(), 0x06c45d188009454fU);
}

// 1e5 draws: the mean of N(0, 1) is within 5 standard errors, 0.016; the second moment within 5 * sqrt(2 / 1e5) =
// 0.023.
TEST(Random, NormalsHaveMeanZeroAndVarianceOne) {
  const std::vector<double> draws = Random(1).Normals(100'000);
  double mean = 0.0;
  double square = 0.0;
  for (const double draw : draws) {
    mean += draw / 1e5;
    square += draw * draw / 1e5;
  }
  EXPECT_NEAR(mean, 0.0, 0.016);
  EXPECT_NEAR(square, 1.0, 0.023);
}

TEST(Random, DistinctMembersAreDistinctOrderedAndInRange) {
  Random random(2);
  for (int k = 0; k <= 9; ++k) {
    const std::vector<int> members = random.Distinct(k, 9);
    ASSERT_EQ(static_cast<int>(members.size()), k);
    for (int i = 0; i < k; ++i) {
      EXPECT_GE(members[i], i == 0 ? 0 : members[i - 1] + 1);
      EXPECT_LT(members[i], 9);
    }
  }
}

TEST(Problems, TransitionsAreProbabilities) {
  ExpectRowsSumToOne(FourRooms());
  ExpectRowsSumToOne(Synthetic(3).problem);
  ExpectRowsSumToOne(PolicyMatching(3).problem);
  ExpectRowsSumToOne(CongestionTax());
  ExpectRowsSumToOne(RewardShaping());
  ExpectRowsSumToOne(InverseRl());
  ExpectRowsSumToOne(StackelbergGame());
  ExpectRowsSumToOne(WorstCase());
}

TEST(Problems, SameSeedSameProblem) {
  EXPECT_EQ(Synthetic(5).problem.SerializeAsString(), Synthetic(5).problem.SerializeAsString());
  EXPECT_EQ(PolicyMatching(5).start, PolicyMatching(5).start);
  EXPECT_NE(PolicyMatching(5).start, PolicyMatching(6).start);
}

TEST(FourRooms, MapIsTheSpecification) {
  EXPECT_EQ(FourRoomsCells().size(), 104U);
  EXPECT_EQ(FourRoomsState({0, 0}), -1);
  EXPECT_EQ(FourRoomsState({1, 1}), 0);
  EXPECT_EQ(FourRoomsState({11, 11}), 103);
  for (const FourRoomsCell& cell : {kFourRoomsStart, kFourRoomsTarget, kFourRoomsGoals[0], kFourRoomsGoals[1]}) {
    EXPECT_GE(FourRoomsState(cell), 0);
  }
}

TEST(FourRooms, GoalEndsTheEpisodeAndPaysOne) {
  const v1::Problem problem = FourRooms({.temperature = 0.003, .beta = 3.0, .two_goals = false});
  ASSERT_EQ(problem.contexts_size(), 1);
  const v1::Context& context = problem.contexts(0);
  EXPECT_EQ(context.weight(), 1.0);
  EXPECT_EQ(context.label(), "goal (1,9)");
  const int goal = FourRoomsState(kFourRoomsGoals[0]);
  const std::vector<double> termination = *ToVector(context.environment().termination_probability());
  const std::vector<double> reward = *ToVector(context.reward().base());
  const std::vector<double> leader = *ToVector(context.objective(0).leader_return().reward().base());
  for (int a = 0; a < 4; ++a) {
    EXPECT_EQ(termination[goal * 4 + a], 1.0);
    EXPECT_EQ(reward[goal * 4 + a], 1.0);
    EXPECT_NEAR(leader[goal * 4 + a], -0.6, 1e-15);
    EXPECT_EQ(leader[FourRoomsState(kFourRoomsTarget) * 4 + a], 1.0);
  }
}

// Two entries in each row, one for each action of customs in the next port: every x gives probabilities.
TEST(StackelbergGame, EveryEntryIsOneActionOfCustoms) {
  const v1::Dynamics dynamics = StackelbergGame().contexts(0).dynamics();
  const std::vector<double> columns = *ToVector(dynamics.transition_features().sparse().columns());
  ASSERT_EQ(columns.size(), 48U);  // 12 states, 2 actions of the ship, 2 of customs
  for (std::size_t entry = 0; entry < columns.size(); entry += 2) {
    const auto state = static_cast<int>(entry / 4);
    const int next_port = (state / 4 + 1) % 3;
    EXPECT_EQ(columns[entry], 2 * next_port);
    EXPECT_EQ(columns[entry + 1], 2 * next_port + 1);
  }
  const std::vector<double> features = *ToVector(dynamics.transition_features().sparse().values());
  EXPECT_EQ(features, std::vector<double>(48, 1.0));
}

// Each of 1000 trips enters the goal, cell 5, once.
TEST(InverseRl, ExpectedCountsAreThoseOfTripsToTheGoal) {
  const std::vector<double> counts = *ToVector(InverseRl().contexts(0).objective(0).demonstrations().counts());
  ASSERT_EQ(counts.size(), 36U * 4);
  const double arrivals = counts[4 * 4 + 1] + counts[11 * 4 + 0];  // right from cell 4, up from cell 11
  EXPECT_NEAR(arrivals, 1000.0, 1e-9);
  for (int a = 0; a < 4; ++a) EXPECT_EQ(counts[5 * 4 + a], 0.0);
}

TEST(TwoState, OptimumSolvesItsEquation) {
  EXPECT_NEAR(kTwoStateOptimum * std::exp(kTwoStateOptimum), 1.0, 1e-14);
  EXPECT_EQ(TwoState().num_parameters(), 1);
}

}  // namespace
}  // namespace bilevel::client
