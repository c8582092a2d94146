#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/command.h"
#include "client/cli/json.h"
#include "client/cli/problem_json.h"
#include "client/problems/congestion_tax.h"
#include "client/problems/four_rooms.h"
#include "client/problems/inverse_rl.h"
#include "client/problems/policy_matching.h"
#include "client/problems/reward_shaping.h"
#include "client/problems/stackelberg_game.h"
#include "client/problems/synthetic.h"
#include "client/problems/two_state.h"
#include "client/problems/worst_case.h"

namespace bilevel::client {
namespace {

struct ExampleFlags {
  FourRoomsOptions four_rooms;
  std::string goals = "two";
  std::string print = "problem";
  std::optional<double> sigma;
  std::uint32_t seed = 0;
};

SeededProblem FromZero(v1::Problem problem) {
  std::vector<double> start(static_cast<std::size_t>(problem.num_parameters()), 0.0);
  return {std::move(problem), std::move(start)};
}

SeededProblem SeededFourRooms(const ExampleFlags& flags) {
  constexpr double kSigma = 0.01;
  v1::Problem problem = FourRooms(flags.four_rooms);
  std::vector<double> start = NormalStart(problem.num_parameters(), kSigma, flags.seed);
  return {std::move(problem), std::move(start)};
}

struct Example {
  const char* name;
  const char* use;
  SeededProblem (*make)(const ExampleFlags& flags);
};

// What each answer says: client/problems/README.md.
constexpr Example kExamples[] = {
    {"two-state", "by hand: one parameter, every answer a formula",
     [](const ExampleFlags&) { return FromZero(TwoState()); }},
    {"four-rooms", "incentive design: a budget of taxes on the cells of a map (Thoma et al. 2024)", SeededFourRooms},
    {"congestion-tax", "tax: tolls by the hour; the best are the marginal harm",
     [](const ExampleFlags&) { return FromZero(CongestionTax()); }},
    {"reward-shaping", "reward shaping: bonuses for a short-sighted follower",
     [](const ExampleFlags&) { return FromZero(RewardShaping()); }},
    {"inverse-rl", "inverse RL: what a courier minds, from where it went",
     [](const ExampleFlags&) { return FromZero(InverseRl()); }},
    {"policy-matching", "policy matching: rewards that bring the policy near a target",
     [](const ExampleFlags& flags) { return PolicyMatching(flags.seed); }},
    {"stackelberg-game", "Stackelberg game: customs announce how often they inspect",
     [](const ExampleFlags&) { return FromZero(StackelbergGame()); }},
    {"worst-case", "worst case over contexts: one budget, three places",
     [](const ExampleFlags&) { return FromZero(WorstCase()); }},
    {"synthetic", "benchmark: the synthetic problem of Yang, Gao, Yuan (2025)",
     [](const ExampleFlags& flags) { return Synthetic(flags.seed); }},
};

std::string About() {
  std::string about = "Prints a problem as JSON, or a starting point for it. NAME is one of";
  for (const Example& example : kExamples) absl::StrAppendFormat(&about, "\n  %-16s  %s", example.name, example.use);
  return about;
}

absl::StatusOr<SeededProblem> MakeExample(const std::string& name, const ExampleFlags& flags) {
  std::vector<std::string> names;
  for (const Example& example : kExamples) {
    if (name == example.name) return example.make(flags);
    names.push_back(example.name);
  }
  const std::string last = names.back();
  names.pop_back();
  return absl::InvalidArgumentError(
      absl::StrCat("unknown example \"", name, "\"; must be ", absl::StrJoin(names, ", "), " or ", last));
}

absl::Status CheckChoice(const char* flag, const std::string& value, const char* first, const char* second) {
  if (value == first || value == second) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--", flag, " is \"", value, "\"; must be ", first, " or ", second));
}

}  // namespace

int RunExample(GlobalOptions globals, std::span<const std::string> arguments) {
  ExampleFlags example_flags;
  FlagSet flags("example NAME", About());
  flags.Add("temperature", &example_flags.four_rooms.temperature, "NUMBER",
            "four-rooms: entropy weight; default 0.001");
  flags.Add("beta", &example_flags.four_rooms.beta, "NUMBER", "four-rooms: the leader's cost of taxes; default 1");
  flags.Add("goals", &example_flags.goals, "one|two", "four-rooms: followers; default two");
  flags.Add("seed", &example_flags.seed, "N", "of what is drawn; default 0");
  flags.Add("print", &example_flags.print, "problem|start", "what to print; start: x as a JSON list, for --at");
  flags.Add("sigma", &example_flags.sigma, "NUMBER",
            "with --print start: x ~ sigma * N(0, 1) instead of the example's");
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 1, operands)) return *exit;
  for (const absl::Status& status : {CheckChoice("goals", example_flags.goals, "one", "two"),
                                     CheckChoice("print", example_flags.print, "problem", "start")}) {
    if (!status.ok()) return UsageError(status);
  }
  example_flags.four_rooms.two_goals = example_flags.goals == "two";

  absl::StatusOr<SeededProblem> example = MakeExample(operands[0], example_flags);
  if (!example.ok()) return UsageError(example.status());
  if (example_flags.print == "problem") {
    const absl::StatusOr<std::string> json = ProblemJson(std::move(example->problem));
    if (!json.ok()) return Fail(json.status());
    std::cout << *json;
    return kExitOk;
  }
  if (example_flags.sigma) {
    example->start = NormalStart(example->problem.num_parameters(), *example_flags.sigma, example_flags.seed);
  }
  std::cout << IndentJson(JsonList(example->start)) << "\n";
  return kExitOk;
}

}  // namespace bilevel::client
