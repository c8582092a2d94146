#include "client/problems/inverse_rl.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "client/array.h"
#include "client/problems/sparse_rows.h"

namespace bilevel::client {
namespace {

constexpr int kSide = 6;
constexpr std::string_view kTown =  // road, park, marsh, goal
    "..~~.G"
    ".ooo.."
    ".o~~o."
    "..o~o."
    "~.oo.."
    "....~~";
constexpr std::string_view kTerrains = ".o~";
constexpr int kStates = kSide * kSide;
constexpr int kActions = 4;
constexpr std::size_t kPairs = std::size_t{kStates} * kActions;
constexpr std::array<int, kActions> kDown = {-1, 0, 1, 0};
constexpr std::array<int, kActions> kRight = {0, 1, 0, -1};
constexpr int kGoal = static_cast<int>(kTown.find('G'));
constexpr std::size_t kAtGoal = std::size_t{kGoal} * kActions;
constexpr int kStart = kStates - kSide;
constexpr double kDiscount = 0.95;
constexpr double kTemperature = 0.1;
constexpr double kTrips = 1000.0;
// Enough for 0.95^k and for the courier to be on its way still to vanish in double precision.
constexpr int kSweeps = 2000;

using Table = std::vector<double>;  // [state, action]

int NextState(int state, int action) {
  const int row = state / kSide + kDown[action];
  const int col = state % kSide + kRight[action];
  if (row < 0 || row >= kSide || col < 0 || col >= kSide) return state;
  return row * kSide + col;
}

// The soft-optimal policy for the true costs, by value iteration.
Table TruePolicy() {
  std::vector<double> value(kStates, 0.0);
  Table pi(kPairs, 0.0);
  pi[kAtGoal] = 1.0;
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    for (int s = 0; s < kStates; ++s) {
      if (s == kGoal) continue;
      double* const row = &pi[static_cast<std::size_t>(s) * kActions];
      for (int a = 0; a < kActions; ++a) row[a] = kDiscount * value[NextState(s, a)];
      const double best = *std::max_element(row, row + kActions);
      double total = 0.0;
      for (int a = 0; a < kActions; ++a) total += row[a] = std::exp((row[a] - best) / kTemperature);
      for (int a = 0; a < kActions; ++a) row[a] /= total;
      value[s] = best + kTemperature * std::log(total) - kInverseRlCosts[kTerrains.find(kTown[s])];
    }
  }
  return pi;
}

// How often each action is expected to be taken in so many trips.
Table ExpectedCounts() {
  const Table pi = TruePolicy();
  Table counts(kPairs, 0.0);
  std::vector<double> here(kStates, 0.0);
  here[kStart] = kTrips;
  for (int step = 0; step < kSweeps; ++step) {
    std::vector<double> next(kStates, 0.0);
    for (int s = 0; s < kStates; ++s) {
      if (s == kGoal) continue;
      for (int a = 0; a < kActions; ++a) {
        const double taken = here[s] * pi[s * kActions + a];
        counts[s * kActions + a] += taken;
        next[NextState(s, a)] += taken;
      }
    }
    here = next;
  }
  return counts;
}

void FillGrid(v1::GridLayout& grid) {
  grid.set_rows(kSide);
  grid.set_cols(kSide);
  std::vector<std::uint32_t> cells;
  for (std::uint32_t cell = 0; cell < kStates; ++cell) cells.push_back(cell);
  *grid.mutable_cells() = MakeArray(cells, {kStates});
  std::vector<double> moves;
  for (int a = 0; a < kActions; ++a) moves.insert(moves.end(), {double(kDown[a]), double(kRight[a])});
  *grid.mutable_moves() = MakeArray(moves, {kActions, 2});
}

v1::Environment MakeEnvironment() {
  SparseRows transitions(kStates * kActions, kStates);
  std::vector<double> termination(kPairs, 0.0);
  std::vector<std::uint8_t> available(kPairs, 1);
  for (int s = 0; s < kStates; ++s) {
    for (int a = 0; a < kActions; ++a) {
      if (s != kGoal) transitions.Add(s * kActions + a, NextState(s, a), 1.0);
    }
  }
  termination[kAtGoal] = 1.0;
  std::fill_n(&available[kAtGoal + 1], kActions - 1, 0);
  std::vector<double> start(kStates, 0.0);
  start[kStart] = 1.0;

  v1::Environment environment;
  environment.set_num_states(kStates);
  environment.set_num_actions(kActions);
  *environment.mutable_transitions() = transitions.ToMatrix();
  *environment.mutable_termination_probability() = MakeArray(termination, {kStates, kActions});
  *environment.mutable_available_actions() = MakeArray(available, {kStates, kActions});
  *environment.mutable_initial_distribution() = MakeArray(start, {kStates});
  FillGrid(*environment.mutable_grid());
  return environment;
}

// -1 in the column of the cell's terrain.
v1::Matrix Terrains() {
  SparseRows features(kStates * kActions, static_cast<int>(kTerrains.size()));
  for (int s = 0; s < kStates; ++s) {
    if (s == kGoal) continue;
    const int terrain = static_cast<int>(kTerrains.find(kTown[s]));
    for (int a = 0; a < kActions; ++a) features.Add(s * kActions + a, terrain, -1.0);
  }
  return features.ToMatrix();
}

}  // namespace

v1::Problem InverseRl(const InverseRlOptions& options) {
  v1::Problem problem;
  problem.set_num_parameters(static_cast<int>(kTerrains.size()));
  problem.set_sense(v1::SENSE_MINIMIZE);
  v1::Penalty& penalty = *problem.add_penalties();
  penalty.set_kind(v1::Penalty::KIND_SQUARED_L2);
  penalty.set_weight(options.penalty);

  v1::Context& context = *problem.add_contexts();
  context.set_label("courier");
  context.set_discount(kDiscount);
  context.set_temperature(kTemperature);
  *context.mutable_environment() = MakeEnvironment();
  *context.mutable_reward()->mutable_features() = Terrains();
  *context.add_objective()->mutable_demonstrations()->mutable_counts() =
      MakeArray(ExpectedCounts(), {kStates, kActions});
  return problem;
}

}  // namespace bilevel::client
