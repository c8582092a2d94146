// Optimises the two-state problem and watches it: the maximum of (1 - x) / (1 + exp(-x)) is at x = -0.567143, and its
// value is 0.567143 (client/problems/two_state.h).
//
//   example_optimize 127.0.0.1:50051

#include <chrono>
#include <cmath>
#include <iostream>
#include <vector>

#include "client/array.h"
#include "client/bilevel_client.h"
#include "client/problems/two_state.h"

namespace v1 = bilevel::v1;
using bilevel::client::BilevelClient;

int main(int argc, char** argv) {
  auto client = BilevelClient::Connect(argc > 1 ? argv[1] : "127.0.0.1:50051");
  if (!client.ok()) return std::cerr << client.status() << "\n", 1;

  v1::OptimizeRequest request;
  *request.mutable_problem() = bilevel::client::TwoState();
  *request.mutable_parameters() = bilevel::client::MakeArray(std::vector<double>{2.0});
  request.mutable_projected_gradient();  // the method, with its default options
  request.set_gradient_tolerance(1e-9);
  request.set_progress_every(1);

  v1::OptimizeResult result;
  for (const auto& event : client->Optimize(request, {.deadline = std::chrono::seconds(30)})) {
    if (!event.ok()) return std::cerr << event.status() << "\n", 1;
    if (event->has_progress()) {
      if (event->progress().evaluations() == 0) continue;  // a sign of life while the first evaluation lasts
      std::cout << "iteration " << event->progress().iteration() << ", objective " << event->progress().objective()
                << "\n";
    } else {
      result = event->result();
    }
  }

  auto x = bilevel::client::ToVector(result.best().parameters());
  if (!x.ok() || x->empty()) return std::cerr << "no parameters came back\n", 1;
  std::cout << v1::Termination::Reason_Name(result.termination().reason()) << ": " << result.termination().detail()
            << "\nx " << x->front() << ", by hand -0.567143; objective " << result.best().objective()
            << ", by hand 0.567143\n";
  const double optimum = bilevel::client::kTwoStateOptimum;
  const bool right = std::abs(x->front() + optimum) < 1e-7 && std::abs(result.best().objective() - optimum) < 1e-9;
  return right ? 0 : 1;
}
