#include <google/protobuf/util/json_util.h>

#include <functional>
#include <iostream>
#include <map>

#include "absl/strings/str_cat.h"
#include "client/array.h"
#include "client/cli/command.h"
#include "client/cli/json.h"
#include "client/problems/four_rooms.h"
#include "client/problems/policy_matching.h"
#include "client/problems/synthetic.h"
#include "client/problems/two_state.h"

namespace bilevel::client {
namespace {

constexpr const char* kAbout =
    "Prints a problem as JSON, or a starting point for it. NAME is one of\n"
    "  two-state        one parameter; every answer by hand (client/problems/two_state.h)\n"
    "  four-rooms       taxes on the cells of a map (Thoma et al. 2024)\n"
    "  synthetic        the synthetic problem of Yang, Gao, Yuan (2025)\n"
    "  policy-matching  rewards that bring the policy near a target";

struct ExampleFlags {
  FourRoomsOptions four_rooms;
  std::string goals = "two";
  std::string print = "problem";
  std::optional<double> sigma;
  std::uint32_t seed = 0;
};

// Start of the examples that have none of their own.
constexpr double kFourRoomsSigma = 0.01;

absl::StatusOr<SeededProblem> MakeExample(const std::string& name, const ExampleFlags& flags) {
  if (name == "synthetic") return Synthetic(flags.seed);
  if (name == "policy-matching") return PolicyMatching(flags.seed);
  if (name == "two-state") return SeededProblem{TwoState(), {0.0}};
  if (name == "four-rooms") {
    SeededProblem example{FourRooms(flags.four_rooms), {}};
    example.start = NormalStart(example.problem.num_parameters(), kFourRoomsSigma, flags.seed);
    return example;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown example \"", name, "\"; must be two-state, four-rooms, synthetic or policy-matching"));
}

int PrintProblem(v1::Problem problem) {
  MakeReadable(problem);
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  if (const auto status = google::protobuf::util::MessageToJsonString(problem, &json, options); !status.ok()) {
    return Fail(absl::InternalError("the problem cannot be written as JSON"));
  }
  std::cout << IndentJson(json) << "\n";
  return kExitOk;
}

absl::Status CheckChoice(const char* flag, const std::string& value, const char* first, const char* second) {
  if (value == first || value == second) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--", flag, " is \"", value, "\"; must be ", first, " or ", second));
}

}  // namespace

int RunExample(GlobalOptions globals, std::span<const std::string> arguments) {
  ExampleFlags example_flags;
  FlagSet flags("example NAME", kAbout);
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
  if (example_flags.print == "problem") return PrintProblem(std::move(example->problem));
  if (example_flags.sigma) {
    example->start = NormalStart(example->problem.num_parameters(), *example_flags.sigma, example_flags.seed);
  }
  std::cout << IndentJson(JsonList(example->start)) << "\n";
  return kExitOk;
}

}  // namespace bilevel::client
