// Four-Rooms (client/problems/four_rooms.h) at temperature 0.001 and beta 1, before and after optimisation: maps of the
// leader's taxes and of the follower's moves, the objective with its proven error, and the published figures.
//
// The problem has many local optima. The portfolio search runs from x ~ 0.01 N(0, 1); better points are printed as they
// come, then the distinct optima that were met, and the best is drawn.
//
//   example_four_rooms_demo 127.0.0.1:50051

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "client/array.h"
#include "client/bilevel_client.h"
#include "client/problems/four_rooms.h"
#include "client/problems/random.h"

namespace v1 = bilevel::v1;
using namespace bilevel::client;  // NOLINT(google-build-using-namespace): an example program

namespace {

constexpr int kPatience = 4;
constexpr int kSeconds = 60;
constexpr double kStartSigma = 0.01;
constexpr int kActions = 4;
constexpr char kArrows[] = "^>v<";

std::vector<double> Elements(const v1::Array& array) { return ToVector(array).value_or(std::vector<double>{}); }

std::vector<double> Softmax(std::vector<double> x) {
  const double largest = *std::max_element(x.begin(), x.end());
  double total = 0.0;
  for (double& entry : x) total += entry = std::exp(entry - largest);
  for (double& entry : x) entry /= total;
  return x;
}

// S, T, G for the cells that matter; G only for the goals of the map that is drawn.
char Mark(const FourRoomsCell& cell, std::span<const FourRoomsCell> goals) {
  if (cell == kFourRoomsStart) return 'S';
  if (cell == kFourRoomsTarget) return 'T';
  return std::find(goals.begin(), goals.end(), cell) != goals.end() ? 'G' : ' ';
}

// One row of the tax map: percent of the budget.
std::string TaxRow(int row, const std::vector<double>& shares) {
  std::string text;
  for (int col = 0; col < kFourRoomsSize; ++col) {
    const int state = FourRoomsState({row, col});
    if (state < 0) {
      text += "###";
      continue;
    }
    const long percent = std::min(99L, std::lround(100 * shares[state]));
    text += Mark({row, col}, kFourRoomsGoals);
    text += percent == 0 ? " ." : std::string(percent < 10 ? " " : "") + std::to_string(percent);
  }
  return text;
}

// One row of a follower's map: its likeliest move in each cell.
std::string MoveRow(int row, const std::vector<double>& policy, const FourRoomsCell& goal) {
  std::string text;
  for (int col = 0; col < kFourRoomsSize; ++col) {
    const int state = FourRoomsState({row, col});
    if (state < 0) {
      text += "##";
      continue;
    }
    const auto moves = policy.begin() + std::ptrdiff_t{state} * kActions;
    text += Mark({row, col}, {&goal, 1});
    text += FourRoomsCell{row, col} == goal ? '*' : kArrows[std::max_element(moves, moves + kActions) - moves];
  }
  return text;
}

void Draw(const std::string& title, const v1::Hypergradient& point) {
  const std::vector<double> shares = Softmax(Elements(point.parameters()));
  std::printf("%s: objective %.6f, proven error at most %.1g; toward (1,9) %.4f, toward (11,11) %.4f\n\n",
              title.c_str(), point.objective(), point.certificate().objective_error_bound(),
              point.context_objectives(0), point.context_objectives(1));
  std::printf("  %-39s   %-26s   %s\n", "taxes, % of the budget of 0.2", "moves toward (1,9)", "moves toward (11,11)");
  for (int row = 0; row < kFourRoomsSize; ++row) {
    std::printf("  %s", TaxRow(row, shares).c_str());
    for (int c = 0; c < point.contexts_size(); ++c) {
      std::printf("   %s", MoveRow(row, Elements(point.contexts(c).policy()), kFourRoomsGoals[c]).c_str());
    }
    std::printf("\n");
  }
  std::printf("  unspent: %.1f %%\n\n", 100 * shares.back());
}

absl::StatusOr<v1::Hypergradient> Evaluate(const BilevelClient& client, const v1::Problem& problem,
                                           const std::vector<double>& x) {
  v1::EvaluateHypergradientRequest request;
  *request.mutable_problem() = problem;
  *request.mutable_parameters() = MakeArray(x);
  request.set_return_policies(true);
  auto response = client.EvaluateHypergradient(request);
  if (!response.ok()) return response.status();
  return response->points(0);
}

// Prints each better point as it comes.
absl::StatusOr<v1::OptimizeResult> Search(const BilevelClient& client, const v1::Problem& problem) {
  v1::OptimizeRequest request;
  *request.mutable_problem() = problem;
  *request.mutable_parameters() = MakeArray(NormalStart(problem.num_parameters(), kStartSigma, 0));
  request.mutable_portfolio()->set_patience(kPatience);
  request.mutable_time_limit()->set_seconds(kSeconds);
  request.set_return_policies(true);
  double best = -HUGE_VAL;
  for (const auto& event : client.Optimize(request)) {
    if (!event.ok()) return event.status();
    if (event->has_result()) return event->result();
    const v1::OptimizeProgress& progress = event->progress();
    if (!(progress.best_objective() > best + 1e-6)) continue;
    best = progress.best_objective();
    std::printf("%8.2f s %8d evaluations   objective %.6f\n", progress.run_info().elapsed_seconds(),
                progress.evaluations(), best);
    std::fflush(stdout);
  }
  return absl::InternalError("no result");
}

void ListOptima(const v1::OptimizeResult& result) {
  std::printf("\n%.1f s, %d evaluations. %s\n\n", result.run_info().elapsed_seconds(), result.evaluations(),
              result.termination().detail().c_str());
  std::printf("  %-14s %-12s %s\n", "local optimum", "|gradient|", "descents that ended there");
  for (const v1::LocalOptimum& optimum : result.optima()) {
    std::printf("  %-14.6f %-12.1e %d\n", optimum.objective(), optimum.gradient_norm(), optimum.hits());
  }
  std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) {
  const auto client = BilevelClient::Connect(argc > 1 ? argv[1] : "127.0.0.1:50051");
  if (!client.ok()) return std::cerr << client.status() << "\n", 1;
  const v1::Problem problem = FourRooms({.temperature = 0.001, .beta = 1.0, .two_goals = true});

  const auto before = Evaluate(*client, problem, std::vector<double>(problem.num_parameters(), 0.0));
  if (!before.ok()) return std::cerr << before.status() << "\n", 1;
  std::printf("Four-Rooms: the follower walks from S to a goal G; the leader taxes cells so that it passes by T.\n\n");
  Draw("Before (taxes spread evenly)", *before);

  const auto result = Search(*client, problem);
  if (!result.ok()) return std::cerr << result.status() << "\n", 1;
  ListOptima(*result);
  const v1::Hypergradient& best = result->best();
  Draw("After", best);

  std::printf(
      "Objective: %.4f before, %.4f after. Published for this setting: HPGD 0.91, adaptive model design 0.58,\n"
      "zeroth-order 0.59 (Thoma et al. 2024: means over 10 seeds, one goal sampled a step; HPGD was trained with an\n"
      "intended-move probability of 0.67 and scored at 0.56). Ours is the best local optimum that a global search "
      "met;\n"
      "nothing proves that there is no better one. What is proven is the objective's error.\n",
      before->objective(), best.objective());
  return best.objective() > before->objective() ? 0 : 1;
}
