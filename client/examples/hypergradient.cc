// The smallest whole program: write a problem, ask for its hyper-gradient, compare with the answer by hand.
//
// Two states, two actions; action a leads to state a. The leader pays the follower x on each step in state 1 and earns
// 1 there. With discount = temperature = 1/2 and a start in state 0 the objective is (1 - x) / (1 + exp(-x)), so at x =
// 0 it is 1/2 and its derivative -1/4.
//
//   example_hypergradient 127.0.0.1:50051

#include <cmath>
#include <iostream>
#include <string>
#include <vector>

#include "client/array.h"
#include "client/bilevel_client.h"

namespace v1 = bilevel::v1;
using bilevel::client::BilevelClient;
using bilevel::client::MakeArray;
using Numbers = std::vector<double>;

v1::Problem MakeProblem() {
  v1::Problem problem;
  problem.set_num_parameters(1);
  problem.set_sense(v1::SENSE_MAXIMIZE);
  v1::Context& context = *problem.add_contexts();
  context.set_discount(0.5);
  context.set_temperature(0.5);

  v1::Environment& environment = *context.mutable_environment();
  environment.set_num_states(2);
  environment.set_num_actions(2);
  *environment.mutable_transitions()->mutable_dense() = MakeArray(Numbers{1, 0, 0, 1, 1, 0, 0, 1});  // [S, A, S]
  *environment.mutable_initial_distribution() = MakeArray(Numbers{1, 0});

  // The follower's reward: x in state 1, whatever the action. [S, A, n]
  *context.mutable_reward()->mutable_features()->mutable_dense() = MakeArray(Numbers{0, 0, 1, 1});
  // The leader's: 1 - x in state 1.
  v1::Reward& leader = *context.add_objective()->mutable_leader_return()->mutable_reward();
  *leader.mutable_base() = MakeArray(Numbers{0, 0, 1, 1});
  *leader.mutable_features()->mutable_dense() = MakeArray(Numbers{0, 0, -1, -1});
  return problem;
}

int main(int argc, char** argv) {
  auto client = BilevelClient::Connect(argc > 1 ? argv[1] : "127.0.0.1:50051");
  if (!client.ok()) return std::cerr << client.status() << "\n", 1;

  v1::EvaluateHypergradientRequest request;
  *request.mutable_problem() = MakeProblem();
  *request.mutable_parameters() = MakeArray(Numbers{0.0});
  auto response = client->EvaluateHypergradient(request);
  if (!response.ok()) return std::cerr << response.status() << "\n", 1;

  const v1::Hypergradient& point = response->points(0);
  auto gradient = bilevel::client::ToVector(point.gradient());
  if (!gradient.ok()) return std::cerr << gradient.status() << "\n", 1;
  std::cout << "objective " << point.objective() << ", by hand 0.5\n"
            << "gradient  " << gradient->front() << ", by hand -0.25, proven error at most "
            << point.certificate().error_bound() << "\n";
  const bool right = std::abs(point.objective() - 0.5) < 1e-9 && std::abs(gradient->front() + 0.25) < 1e-9;
  return right ? 0 : 1;
}
