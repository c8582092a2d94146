#include "client/problems/two_state.h"

#include <array>

#include "client/array.h"

namespace bilevel::client {
namespace {

using Table = std::array<double, 4>;  // [state, action]

}  // namespace

v1::Problem TwoState() {
  v1::Problem problem;
  problem.set_num_parameters(1);
  problem.set_sense(v1::SENSE_MAXIMIZE);
  v1::Context& context = *problem.add_contexts();
  context.set_label("two states");
  context.set_discount(0.5);
  context.set_temperature(0.5);

  v1::Environment& environment = *context.mutable_environment();
  environment.set_num_states(2);
  environment.set_num_actions(2);
  // [state, action, next state]
  constexpr std::array<double, 8> transitions = {1, 0, 0, 1, 1, 0, 0, 1};
  *environment.mutable_transitions()->mutable_dense() = MakeArray(transitions, {2, 2, 2});
  *environment.mutable_initial_distribution() = MakeArray(std::array<double, 2>{1, 0}, {2});

  *context.mutable_reward()->mutable_features()->mutable_dense() = MakeArray(Table{0, 0, 1, 1}, {2, 2, 1});

  v1::Reward& leader = *context.add_objective()->mutable_leader_return()->mutable_reward();
  *leader.mutable_base() = MakeArray(Table{0, 0, 1, 1}, {2, 2});
  *leader.mutable_features()->mutable_dense() = MakeArray(Table{0, 0, -1, -1}, {2, 2, 1});
  return problem;
}

}  // namespace bilevel::client
