// Four-Rooms, value and certified hyper-gradient of two contexts, x moved by 1e-3 N(0,1) each time, warm start sent,
// nothing cached: in core beside a dense LU of the same size, over loopback beside an empty call. Rounds interleave the
// measurements, so that a machine that changes speed changes all of them; medians are printed.
//
//   four_rooms_benchmark SERVER_ADDRESS

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "Eigen/LU"
#include "client/array.h"
#include "client/bilevel_client.h"
#include "client/problems/four_rooms.h"
#include "core/base/rng.h"
#include "core/hypergradient/hypergradient.h"
#include "tests/problems/decoded.h"

namespace bilevel {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 400;
constexpr double kMove = 1e-3;

double Microseconds(Clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

// Fails loudly: a benchmark of errors is worth nothing.
template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(value);
}

void Move(Rng& rng, Vector& x) {
  for (double& entry : x) entry += kMove * rng.Normal();
}

struct Medians {
  double lu, core, loopback, empty, run;
};

Medians Measure(const v1::Problem& message, client::BilevelClient& client) {
  const BilevelProblem problem = testing::Decoded(message);
  Rng rng(1);
  Vector x = Vector::Zero(problem.num_parameters);
  HypergradientEvaluator first(problem, {});
  const HypergradientPoint start = Must(first.EvaluateCertified(x, Interrupt()));
  WarmStart warm = first.warm_start();
  const Eigen::MatrixXd A = Eigen::MatrixXd::Identity(104, 104) -
                            problem.contexts[0].discount *
                                problem.contexts[0].mdp->DensePolicyTransitions(start.contexts[0].solution.backup.pi);

  v1::EvaluateHypergradientRequest request;
  *request.mutable_problem() = message;
  request.set_return_warm_start(true);
  *request.mutable_warm_start() = Must(client.EvaluateHypergradient(request)).points(0).warm_start();

  std::vector<double> lu, core, loopback, empty, run;
  for (int round = 0; round < kRounds; ++round) {
    Move(rng, x);
    auto begin = Clock::now();
    const Eigen::PartialPivLU<Eigen::MatrixXd> factorization(A);
    lu.push_back(Microseconds(begin));
    if (factorization.matrixLU()(0, 0) == 0) std::puts("");  // keeps the factorisation alive

    begin = Clock::now();
    HypergradientEvaluator evaluator(problem, {}, warm);
    Must(evaluator.EvaluateCertified(x, Interrupt()));
    core.push_back(Microseconds(begin));
    warm = evaluator.warm_start();

    begin = Clock::now();
    *request.mutable_parameters() = client::MakeArray(std::vector<double>(x.begin(), x.end()));
    const auto response = Must(client.EvaluateHypergradient(request));
    loopback.push_back(Microseconds(begin));
    run.push_back(1e6 * response.run_info().elapsed_seconds());
    *request.mutable_warm_start() = response.points(0).warm_start();

    begin = Clock::now();
    Must(client.CheckHealth(""));
    empty.push_back(Microseconds(begin));
  }
  return {Median(lu), Median(core), Median(loopback), Median(empty), Median(run)};
}

int Main(const char* address) {
  mallopt(M_TRIM_THRESHOLD, 32 << 20);  // as bilevel_server does
  mallopt(M_MMAP_THRESHOLD, 4 << 20);
  auto client = client::BilevelClient::Connect(address);
  std::printf("%11s %8s %8s %8s %11s %8s %13s %22s %21s\n", "temperature", "LU us", "core us", "core/LU", "loopback us",
              "empty us", "in server us", "(loopback-8 LU)/empty", "(loopback-core)/empty");
  for (const double temperature : {0.001, 0.003, 0.005}) {
    const Medians m = Measure(client::FourRooms({.temperature = temperature, .beta = 1}), *client);
    std::printf("%11g %8.1f %8.1f %8.2f %11.1f %8.1f %13.1f %22.2f %21.2f\n", temperature, m.lu, m.core, m.core / m.lu,
                m.loopback, m.empty, m.run, (m.loopback - 8 * m.lu) / m.empty, (m.loopback - m.core) / m.empty);
  }
  std::puts("targets: core at most 8 LU; loopback at most 8 LU and 2 empty calls");
  return 0;
}

}  // namespace
}  // namespace bilevel

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: four_rooms_benchmark SERVER_ADDRESS\n");
    return 2;
  }
  return bilevel::Main(argv[1]);
}
