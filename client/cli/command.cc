#include "client/cli/command.h"

#include <array>
#include <cstdlib>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/input.h"
#include "client/cli/json.h"

namespace bilevel::client {

GlobalOptions GlobalOptions::FromEnvironment() {
  GlobalOptions globals;
  if (const char* server = std::getenv("BILEVEL_SERVER"); server != nullptr && *server != '\0') globals.server = server;
  return globals;
}

void GlobalOptions::AddTo(FlagSet& flags) {
  flags.Add("server", &server, "ADDR", "host:port; default: BILEVEL_SERVER, else 127.0.0.1:50051");
  flags.Add("json", &json, "print one JSON object");
  flags.Add("deadline", &deadline, "DURATION", "give up after this long; default 60s, optimize 1h");
  flags.Add("tls", &tls, "connect with TLS");
  flags.Add("tls-roots", &tls_roots, "FILE", "PEM certificates to trust with TLS; default: the system's");
}

std::span<const Command> Commands() {
  static constexpr std::array<Command, 12> commands = {{
      {"example", "print an example problem as JSON", RunExample},
      {"lint", "what is wrong or looks unintended in a problem", RunLint},
      {"solve", "the follower's soft-optimal value and policy", RunSolve},
      {"hypergradient", "objective and certified hyper-gradient", RunHypergradient},
      {"pullback", "gradients for cotangents of policy, Q and V", RunPullback},
      {"check", "hyper-gradient against finite differences", RunCheck},
      {"optimize", "optimise the leader's parameters", RunOptimize},
      {"show", "the follower's moves on a map, also as a picture", RunShow},
      {"env", "environments that stay on the server", RunEnv},
      {"session", "learn from streamed transitions", RunSession},
      {"methods", "what the server can do, and its limits", RunMethods},
      {"health", "whether the server is serving", RunHealth},
  }};
  return commands;
}

int RunGroup(const std::string& group, const std::string& about, const std::string& alike,
             std::span<const Command> commands, GlobalOptions globals, std::span<const std::string> arguments) {
  std::string text = absl::StrCat(about, "\n\n");
  for (const Command& command : commands) {
    absl::StrAppend(&text, absl::StrFormat("  %-14s %s\n", std::string(command.name), std::string(command.summary)));
  }
  FlagSet flags(absl::StrCat(group, " [FLAGS] COMMAND ..."),
                absl::StrCat(text, "\n`bilevel ", group, " COMMAND --help` explains one. ", alike));
  globals.AddTo(flags);
  const absl::StatusOr<std::vector<std::string>> rest = flags.Parse(arguments, /*stop_at_operand=*/true);
  if (flags.help_requested()) {
    std::cout << flags.Help();
    return kExitOk;
  }
  if (!rest.ok()) return UsageError(rest.status());
  if (rest->empty()) {
    std::cerr << flags.Help();
    return kExitUsage;
  }
  for (const Command& command : commands) {
    if (command.name == rest->front()) return command.run(globals, std::span(*rest).subspan(1));
  }
  return UsageError(absl::InvalidArgumentError(
      absl::StrCat("unknown command \"", group, " ", rest->front(), "\"; see bilevel ", group, " --help")));
}

std::optional<int> ParseOrExit(FlagSet& flags, std::span<const std::string> arguments, std::size_t operands,
                               std::vector<std::string>& parsed, std::size_t optional) {
  absl::StatusOr<std::vector<std::string>> rest = flags.Parse(arguments);
  if (flags.help_requested()) {
    std::cout << flags.Help();
    return kExitOk;
  }
  if (!rest.ok()) return UsageError(rest.status());
  if (rest->size() > operands || rest->size() + optional < operands) {
    return UsageError(
        absl::InvalidArgumentError(absl::StrCat("expected ", operands, operands == 1 ? " operand" : " operands",
                                                ", got ", rest->size(), "; usage: bilevel ", flags.usage())));
  }
  parsed = *std::move(rest);
  return std::nullopt;
}

absl::StatusOr<BilevelClient> Connect(const GlobalOptions& globals) {
  ClientOptions options;
  if (globals.deadline) {
    options.deadline = absl::ToChronoMilliseconds(*globals.deadline);
    options.optimize_deadline = options.deadline;
  }
  if (globals.tls) options.tls_roots = "";
  if (!globals.tls_roots.empty()) {
    absl::StatusOr<std::string> roots = ReadInput(globals.tls_roots);
    if (!roots.ok()) return roots.status();
    options.tls_roots = *std::move(roots);
  }
  return BilevelClient::Connect(globals.server, options);
}

int Fail(const absl::Status& status) {
  std::cerr << "bilevel: " << absl::StatusCodeToString(status.code()) << ": " << std::string(status.message()) << "\n";
  return kExitFailed;
}

int UsageError(const absl::Status& status) {
  std::cerr << "bilevel: " << std::string(status.message()) << "\n";
  return kExitUsage;
}

int PrintEstimate(const v1::CostEstimate& estimate, bool json) {
  if (json) {
    std::vector<std::string> advice;
    for (const v1::Advice& item : estimate.advice()) {
      advice.push_back(JsonObject().Add("field", item.field()).Add("description", item.description()).Text());
    }
    std::cout << JsonObject()
                     .Add("estimate", JsonObject().Add("bytes", estimate.bytes()).Add("seconds", estimate.seconds()))
                     .AddValue("advice", JsonList(advice))
                     .Pretty();
  } else {
    for (const v1::Advice& item : estimate.advice()) std::cout << item.field() << " " << item.description() << "\n";
    std::cout << absl::StrFormat("the request is valid; it needs about %.3g MB and %.2g s\n", estimate.bytes() / 1e6,
                                 estimate.seconds());
  }
  return kExitOk;
}

int ExitCodeOf(const v1::Termination& termination) {
  return termination.reason() == v1::Termination::REASON_CONVERGED ? kExitOk : kExitNotConverged;
}

}  // namespace bilevel::client
