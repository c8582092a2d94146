#include "client/problems/reward_shaping.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "client/array.h"
#include "client/problems/sparse_rows.h"

namespace bilevel::client {
namespace {

constexpr int kCells = kRewardShapingCells;
constexpr int kPrize = kCells - 1;
constexpr int kActions = 2;
constexpr std::size_t kPairs = std::size_t{kCells} * kActions;
constexpr int kLeft = 0;
constexpr int kRight = 1;

void FillGrid(v1::GridLayout& grid) {
  grid.set_rows(1);
  grid.set_cols(kCells);
  std::array<std::uint32_t, kCells> cells{};
  std::iota(cells.begin(), cells.end(), 0U);
  *grid.mutable_cells() = MakeArray(cells, {kCells});
  *grid.mutable_moves() = MakeArray(std::array<double, 4>{0, -1, 0, 1}, {kActions, 2});
}

v1::Environment MakeEnvironment() {
  SparseRows transitions(kCells * kActions, kCells);
  for (int s = 0; s < kPrize; ++s) {
    transitions.Add(s * kActions + kLeft, std::max(s - 1, 0), 1.0);
    transitions.Add(s * kActions + kRight, s + 1, 1.0);
  }
  std::vector<double> termination(kPairs, 0.0);
  std::vector<std::uint8_t> available(kPairs, 1);
  termination[kPrize * kActions + kLeft] = 1.0;
  available[kPrize * kActions + kRight] = 0;
  std::vector<double> start(kCells, 0.0);
  start[0] = 1.0;

  v1::Environment environment;
  environment.set_num_states(kCells);
  environment.set_num_actions(kActions);
  *environment.mutable_transitions() = transitions.ToMatrix();
  *environment.mutable_termination_probability() = MakeArray(termination, {kCells, kActions});
  *environment.mutable_available_actions() = MakeArray(available, {kCells, kActions});
  *environment.mutable_initial_distribution() = MakeArray(start, {kCells});
  FillGrid(*environment.mutable_grid());
  return environment;
}

v1::Array Prize() {
  std::vector<double> reward(kPairs, 0.0);
  reward[kPrize * kActions + kLeft] = 1.0;
  return MakeArray(reward, {kCells, kActions});
}

v1::Matrix EachStepInACell() {
  SparseRows features(kCells * kActions, kPrize);
  for (int s = 0; s < kPrize; ++s) {
    for (int a = 0; a < kActions; ++a) features.Add(s * kActions + a, s, 1.0);
  }
  return features.ToMatrix();
}

}  // namespace

v1::Problem RewardShaping() {
  v1::Problem problem;
  problem.set_num_parameters(kPrize);
  problem.set_sense(v1::SENSE_MAXIMIZE);
  v1::ParameterGroup& bonuses = *problem.add_parameter_groups();
  bonuses.set_size(kPrize);
  bonuses.set_map(v1::ParameterGroup::MAP_TANH);
  bonuses.set_scale(kRewardShapingBonus);

  v1::Context& context = *problem.add_contexts();
  context.set_label("corridor");
  context.set_discount(0.5);
  context.set_temperature(0.1);
  *context.mutable_environment() = MakeEnvironment();
  *context.mutable_reward()->mutable_base() = Prize();
  *context.mutable_reward()->mutable_features() = EachStepInACell();
  v1::LeaderReturn& leader = *context.add_objective()->mutable_leader_return();
  *leader.mutable_reward()->mutable_base() = Prize();
  leader.set_discount(0.99);
  return problem;
}

}  // namespace bilevel::client
