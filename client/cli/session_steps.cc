// `bilevel session step` and `bilevel session steps`.

#include <atomic>
#include <iostream>
#include <limits>

#include "absl/strings/str_cat.h"
#include "client/cli/input.h"
#include "client/cli/interrupt.h"
#include "client/cli/outer_step_report.h"
#include "client/cli/referee.h"
#include "client/cli/report.h"
#include "client/cli/session_command.h"

namespace bilevel::client {
namespace {

// Prints step after step.
class Table {
 public:
  // referee: null without a truth to compare with.
  Table(Referee* referee, bool json) : referee_(referee), json_(json) {}

  absl::Status Print(const v1::OuterStep& step) {
    std::optional<Comparison> compared;
    if (referee_ != nullptr) {
      if (!step.has_parameters()) return absl::FailedPreconditionError("steps of more than 1000 entries bring no x");
      const absl::StatusOr<v1::Hypergradient> exact = referee_->Evaluate(step.parameters());
      if (!exact.ok()) return exact.status();
      compared = Referee::Compare(step.direction(), *exact);
    }
    if (json_) {
      std::cout << StepJson(step, compared).Text() << std::endl;
    } else {
      PrintStep(step, compared, row_++, std::cout);
    }
    return absl::OkStatus();
  }

 private:
  Referee* referee_;
  bool json_;
  int row_ = 0;
};

int Follow(StepStream& stream, double until, Table& table, bool json) {
  std::atomic<bool> interrupted = false;
  const OnInterrupt interrupt([&] {
    interrupted = true;
    stream.Cancel();
  });
  double last = 0.0;
  for (const StepStream::Event& event : stream) {
    if (!event.ok()) return interrupted ? static_cast<int>(kExitOk) : Fail(event.status());
    if (event->has_stopped()) {
      if (!json) PrintTermination(event->stopped().termination(), std::cout);
      return ExitCodeOf(event->stopped().termination());
    }
    last = event->step().number();
    if (absl::Status printed = table.Print(event->step()); !printed.ok()) return Fail(printed);
    if (last >= until) return kExitOk;
  }
  return kExitOk;
}

}  // namespace

int RunSessionStep(GlobalOptions globals, std::span<const std::string> arguments) {
  std::optional<double> number;
  FlagSet flags("session step NAME",
                "Takes the next step of the outer loop, from the transitions so far, and prints it.");
  flags.Add("number", &number, "N", "the step that is meant, so that trying again does no harm; default: the next");
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 1, operands)) return *exit;
  v1::StepSessionRequest request;
  request.set_name(SessionName(operands[0]));
  if (number) request.set_number(*number);
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());
  const absl::StatusOr<v1::OuterStep> step = client->StepSession(request);
  if (!step.ok()) return Fail(step.status());
  if (globals.json) {
    std::cout << StepJson(*step, std::nullopt).Pretty();
  } else {
    PrintStep(*step, std::nullopt, 0, std::cout);
  }
  return kExitOk;
}

int RunSessionSteps(GlobalOptions globals, std::span<const std::string> arguments) {
  std::optional<double> after;
  std::string truth;
  bool once = false;
  FlagSet flags(
      "session steps NAME",
      "The steps of the outer loop, a line each: those that are kept, then new ones as they are taken, until\n"
      "it has stopped or Ctrl-C; with --json one object a line. With --against a referee's report: beside each\n"
      "step the exact objective and gradient at its x.");
  flags.Add("after", &after, "N", "only steps after this number");
  flags.Add("against", &truth, "FILE", "the true problem, transitions included");
  flags.Add("once", &once, "do not wait for new ones");
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 1, operands)) return *exit;
  BlockInterrupts();
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());
  std::optional<Referee> referee;
  if (!truth.empty()) {
    absl::StatusOr<v1::Problem> problem = ReadProblem(truth);
    if (!problem.ok()) return UsageError(problem.status());
    referee.emplace(*client, *std::move(problem));
  }
  double until = std::numeric_limits<double>::infinity();
  if (once) {
    const absl::StatusOr<v1::Session> session = GetSession(*client, SessionName(operands[0]));
    if (!session.ok()) return Fail(session.status());
    until = session->outer_loop().steps();
    if (session->has_outer_loop() && until <= after.value_or(0)) return kExitOk;
  }
  v1::WatchStepsRequest request;
  request.set_name(SessionName(operands[0]));
  request.set_after_number(after.value_or(0));
  StepStream stream = client->WatchSteps(request);
  Table table(referee ? &*referee : nullptr, globals.json);
  return Follow(stream, until, table, globals.json);
}

}  // namespace bilevel::client
