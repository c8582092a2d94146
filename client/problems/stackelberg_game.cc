#include "client/problems/stackelberg_game.h"

#include <cstddef>
#include <vector>

#include "client/array.h"
#include "client/problems/sparse_rows.h"

namespace bilevel::client {
namespace {

constexpr int kPorts = kCustomsPorts.size();
constexpr int kChoices = 2;  // of either side: honest or contraband, waved through or inspected
constexpr int kStates = kPorts * kChoices * kChoices;
constexpr std::size_t kPairs = std::size_t{kStates} * kChoices;
constexpr int kParameters = kPorts * kChoices;

int State(int port, int aboard, int customs) { return (port * kChoices + aboard) * kChoices + customs; }

// omega_{customs|port}.
int Column(int port, int customs) { return port * kChoices + customs; }

void FillDynamics(v1::Environment& environment, v1::Dynamics& dynamics) {
  SparseRows transitions(kStates * kChoices, kStates);
  SparseRows features(kStates * kChoices * kChoices, kParameters);  // a row for each entry of `transitions`
  int entry = 0;
  for (int s = 0; s < kStates; ++s) {
    const int next_port = (s / (kChoices * kChoices) + 1) % kPorts;
    for (int a = 0; a < kChoices; ++a) {
      for (int customs = 0; customs < kChoices; ++customs) {
        transitions.Add(s * kChoices + a, State(next_port, a, customs), 1.0 / kChoices);
        features.Add(entry++, Column(next_port, customs), 1.0);
      }
    }
  }
  SparseRows initial(kStates, kParameters);
  for (int port = 0; port < kPorts; ++port) {
    for (int customs = 0; customs < kChoices; ++customs) {
      initial.Add(State(port, 0, customs), Column(port, customs), 1.0 / kPorts);
    }
  }
  environment.set_num_states(kStates);
  environment.set_num_actions(kChoices);
  *environment.mutable_transitions() = transitions.ToMatrix();
  *dynamics.mutable_transition_features() = features.ToMatrix();
  *dynamics.mutable_initial_features() = initial.ToMatrix();
}

// What the ship and the leader are paid in each state, whatever is loaded for the next port.
void FillRewards(v1::Reward& ship, v1::Reward& leader) {
  std::vector<double> ships(kPairs, 0.0);
  std::vector<double> leaders(kPairs, 0.0);
  for (int port = 0; port < kPorts; ++port) {
    const auto& [gain, fine, harm, cost] = kCustomsPorts[port];
    for (int a = 0; a < kChoices; ++a) {
      ships[State(port, 1, 0) * kChoices + a] = gain;
      ships[State(port, 1, 1) * kChoices + a] = -fine;
      leaders[State(port, 1, 0) * kChoices + a] = -harm;
      leaders[State(port, 0, 1) * kChoices + a] = -cost;
      leaders[State(port, 1, 1) * kChoices + a] = -cost;
    }
  }
  *ship.mutable_base() = MakeArray(ships, {kStates, kChoices});
  *leader.mutable_base() = MakeArray(leaders, {kStates, kChoices});
}

}  // namespace

v1::Problem StackelbergGame(const StackelbergGameOptions& options) {
  v1::Problem problem;
  problem.set_num_parameters(kParameters);
  problem.set_sense(v1::SENSE_MAXIMIZE);
  for (int port = 0; port < kPorts; ++port) {
    v1::ParameterGroup& customs = *problem.add_parameter_groups();
    customs.set_size(kChoices);
    customs.set_map(v1::ParameterGroup::MAP_SOFTMAX);
  }
  v1::Context& context = *problem.add_contexts();
  context.set_label("ship");
  context.set_discount(0.9);
  context.set_temperature(options.temperature);
  FillDynamics(*context.mutable_environment(), *context.mutable_dynamics());
  FillRewards(*context.mutable_reward(), *context.add_objective()->mutable_leader_return()->mutable_reward());
  return problem;
}

}  // namespace bilevel::client
