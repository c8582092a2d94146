// A soft-optimal policy as a differentiable layer: the objective stays here, and the server never sees it.
//
// A layer takes rewards r [S, A] and returns the follower's policy; backwards it takes df/dpi and returns df/dr. Here f
// is the cross-entropy of demonstrations, -sum n(s,a) log pi(a|s), and a few steps of gradient descent on r learn a
// reward that explains them. A finite difference checks the gradient on the way.
//
//   example_differentiable_layer 127.0.0.1:50051

#include <cmath>
#include <iostream>
#include <vector>

#include "client/array.h"
#include "client/bilevel_client.h"
#include "client/problems/two_state.h"

namespace v1 = bilevel::v1;
using bilevel::client::BilevelClient;
using bilevel::client::MakeArray;
using Numbers = std::vector<double>;

const Numbers kDemonstrated = {0.2, 0.8, 0.3, 0.7};  // n(s,a), [S, A]

double CrossEntropy(const Numbers& policy) {
  double f = 0.0;
  for (std::size_t i = 0; i < policy.size(); ++i) f -= kDemonstrated[i] * std::log(policy[i]);
  return f;
}

// The layer. With df/dpi it also returns df/dr.
struct Layer {
  Numbers policy;
  Numbers reward_gradient;
};
absl::StatusOr<Layer> Apply(const BilevelClient& client, const Numbers& reward, const Numbers& policy_cotangent = {}) {
  v1::PullbackRequest request;
  v1::Context& context = *request.mutable_problem()->add_contexts();
  *context.mutable_environment() = bilevel::client::TwoState().contexts(0).environment();
  context.set_discount(0.5);
  context.set_temperature(0.5);
  *context.mutable_reward()->mutable_base() = MakeArray(reward);
  if (!policy_cotangent.empty()) *request.add_cotangents()->mutable_policy() = MakeArray(policy_cotangent);
  auto response = client.Pullback(request);
  if (!response.ok()) return response.status();
  auto policy = bilevel::client::ToVector(response->contexts(0).policy());
  if (!policy.ok() || policy_cotangent.empty()) return Layer{policy.value_or(Numbers{}), {}};
  auto gradient = bilevel::client::ToVector(response->gradients(0).reward());
  if (!gradient.ok()) return gradient.status();
  return Layer{*policy, *gradient};
}

int main(int argc, char** argv) {
  auto client = BilevelClient::Connect(argc > 1 ? argv[1] : "127.0.0.1:50051");
  if (!client.ok()) return std::cerr << client.status() << "\n", 1;

  Numbers reward(4, 0.0);
  double worst_difference = 0.0;
  Numbers policy;
  for (int step = 0; step < 40; ++step) {
    auto forward = Apply(*client, reward);
    if (!forward.ok()) return std::cerr << forward.status() << "\n", 1;
    policy = forward->policy;
    Numbers cotangent(4);
    for (int i = 0; i < 4; ++i) cotangent[i] = -kDemonstrated[i] / policy[i];  // df/dpi
    auto backward = Apply(*client, reward, cotangent);
    if (!backward.ok()) return std::cerr << backward.status() << "\n", 1;

    const double h = 1e-4;
    const int i = step % 4;
    Numbers up = reward;
    Numbers down = reward;
    up[i] += h;
    down[i] -= h;
    auto above = Apply(*client, up);
    auto below = Apply(*client, down);
    if (!above.ok() || !below.ok()) return std::cerr << above.status() << below.status() << "\n", 1;
    const double difference = (CrossEntropy(above->policy) - CrossEntropy(below->policy)) / (2 * h);
    worst_difference = std::max(worst_difference, std::abs(difference - backward->reward_gradient[i]));
    for (int j = 0; j < 4; ++j) reward[j] -= 0.2 * backward->reward_gradient[j];
  }
  std::cout << "learned policy " << policy[0] << " " << policy[1] << " | " << policy[2] << " " << policy[3]
            << ", demonstrated 0.2 0.8 | 0.3 0.7\nlargest difference to finite differences " << worst_difference
            << "\n";
  return std::abs(policy[1] - 0.8) < 0.02 && std::abs(policy[3] - 0.7) < 0.02 && worst_difference < 1e-6 ? 0 : 1;
}
