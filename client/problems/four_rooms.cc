#include "client/problems/four_rooms.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "client/array.h"
#include "client/problems/sparse_rows.h"

namespace bilevel::client {
namespace {

constexpr std::array<std::string_view, kFourRoomsSize> kMap = {
    "xxxxxxxxxxxxx",  //
    "x     x     x",  //
    "x     x     x",  //
    "x           x",  //
    "x     x     x",  //
    "x     x     x",  //
    "xx xxxx     x",  //
    "x     xxx xxx",  //
    "x     x     x",  //
    "x     x     x",  //
    "x           x",  //
    "x     x     x",  //
    "xxxxxxxxxxxxx",
};
constexpr std::array<FourRoomsCell, 4> kMoves = {{{-1, 0}, {0, 1}, {1, 0}, {0, -1}}};
constexpr int kActions = kMoves.size();
constexpr double kIntended = 0.56;
constexpr double kSlip = (1.0 - kIntended) / (kActions - 1);
constexpr double kDiscount = 0.99;

int NumStates() { return static_cast<int>(FourRoomsCells().size()); }

int NextState(int state, const FourRoomsCell& move) {
  const FourRoomsCell cell = FourRoomsCells()[state];
  const int next = FourRoomsState({cell.row + move.row, cell.col + move.col});
  return next < 0 ? state : next;
}

void FillGrid(v1::GridLayout& grid) {
  grid.set_rows(kFourRoomsSize);
  grid.set_cols(kFourRoomsSize);
  std::vector<std::uint32_t> cells;
  for (const FourRoomsCell& cell : FourRoomsCells()) {
    cells.push_back(static_cast<std::uint32_t>(cell.row * kFourRoomsSize + cell.col));
  }
  *grid.mutable_cells() = MakeArray(cells, {NumStates()});
  std::vector<double> moves;
  for (const FourRoomsCell& move : kMoves) {
    moves.push_back(move.row);
    moves.push_back(move.col);
  }
  *grid.mutable_moves() = MakeArray(moves, {kActions, 2});
}

v1::Environment MakeEnvironment(int goal) {
  SparseRows transitions(NumStates() * kActions, NumStates());
  std::vector<double> termination(static_cast<std::size_t>(NumStates()) * kActions, 0.0);
  for (int s = 0; s < NumStates(); ++s) {
    for (int a = 0; a < kActions; ++a) {
      const int row = s * kActions + a;
      if (s == goal) {
        termination[row] = 1.0;
        continue;
      }
      for (int move = 0; move < kActions; ++move) {
        transitions.Add(row, NextState(s, kMoves[move]), move == a ? kIntended : kSlip);
      }
    }
  }
  std::vector<double> start(NumStates(), 0.0);
  start[FourRoomsState(kFourRoomsStart)] = 1.0;

  v1::Environment environment;
  environment.set_num_states(NumStates());
  environment.set_num_actions(kActions);
  *environment.mutable_transitions() = transitions.ToMatrix();
  *environment.mutable_termination_probability() = MakeArray(termination, {NumStates(), kActions});
  *environment.mutable_initial_distribution() = MakeArray(start, {NumStates()});
  FillGrid(*environment.mutable_grid());
  return environment;
}

// 1 at the goal, minus the tax elsewhere.
v1::Reward FollowerReward(int goal) {
  std::vector<double> base(static_cast<std::size_t>(NumStates()) * kActions, 0.0);
  SparseRows features(NumStates() * kActions, NumStates() + 1);
  for (int s = 0; s < NumStates(); ++s) {
    for (int row = s * kActions; row < (s + 1) * kActions; ++row) {
      if (s == goal) {
        base[row] = 1.0;
      } else {
        features.Add(row, s, -kFourRoomsBudget);
      }
    }
  }
  v1::Reward reward;
  *reward.mutable_base() = MakeArray(base, {NumStates(), kActions});
  *reward.mutable_features() = features.ToMatrix();
  return reward;
}

// 1 in the target, minus beta times the spent budget at the goal.
v1::Reward LeaderReward(int goal, double beta) {
  const int unspent = NumStates();
  const int target = FourRoomsState(kFourRoomsTarget);
  std::vector<double> base(static_cast<std::size_t>(NumStates()) * kActions, 0.0);
  SparseRows features(NumStates() * kActions, NumStates() + 1);
  for (int a = 0; a < kActions; ++a) {
    base[target * kActions + a] = 1.0;
    base[goal * kActions + a] = -beta * kFourRoomsBudget;
    features.Add(goal * kActions + a, unspent, beta * kFourRoomsBudget);
  }
  v1::Reward reward;
  *reward.mutable_base() = MakeArray(base, {NumStates(), kActions});
  *reward.mutable_features() = features.ToMatrix();
  return reward;
}

}  // namespace

const std::vector<FourRoomsCell>& FourRoomsCells() {
  static const auto& cells = *new std::vector<FourRoomsCell>([] {
    std::vector<FourRoomsCell> free;
    for (int row = 0; row < kFourRoomsSize; ++row) {
      for (int col = 0; col < kFourRoomsSize; ++col) {
        if (kMap[row][col] == ' ') free.push_back({row, col});
      }
    }
    return free;
  }());
  return cells;
}

int FourRoomsState(FourRoomsCell cell) {
  const std::vector<FourRoomsCell>& cells = FourRoomsCells();
  const auto found = std::find(cells.begin(), cells.end(), cell);
  return found == cells.end() ? -1 : static_cast<int>(found - cells.begin());
}

v1::Problem FourRooms(const FourRoomsOptions& options) {
  v1::Problem problem;
  problem.set_num_parameters(NumStates() + 1);
  problem.set_sense(v1::SENSE_MAXIMIZE);
  v1::ParameterGroup& shares = *problem.add_parameter_groups();
  shares.set_size(NumStates() + 1);
  shares.set_map(v1::ParameterGroup::MAP_SOFTMAX);
  shares.set_scale(1.0);
  const std::span<const FourRoomsCell> goals(kFourRoomsGoals, options.two_goals ? 2 : 1);
  for (const FourRoomsCell& cell : goals) {
    const int goal = FourRoomsState(cell);
    v1::Context& context = *problem.add_contexts();
    context.set_label(absl::StrCat("goal (", cell.row, ",", cell.col, ")"));
    context.set_weight(1.0 / static_cast<double>(goals.size()));
    context.set_discount(kDiscount);
    context.set_temperature(options.temperature);
    *context.mutable_environment() = MakeEnvironment(goal);
    *context.mutable_reward() = FollowerReward(goal);
    *context.add_objective()->mutable_leader_return()->mutable_reward() = LeaderReward(goal, options.beta);
  }
  return problem;
}

}  // namespace bilevel::client
