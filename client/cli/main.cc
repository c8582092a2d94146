// bilevel: the command line of the service.

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/command.h"

namespace {

using bilevel::client::Command;
using bilevel::client::Commands;

std::string About() {
  std::string about = "Bilevel reinforcement learning as a service. Commands:\n\n";
  for (const Command& command : Commands()) {
    absl::StrAppend(&about, absl::StrFormat("  %-14s %s\n", std::string(command.name), std::string(command.summary)));
  }
  return about +
         "\n`bilevel COMMAND --help` explains one. FILE may be - for standard input.\n"
         "Exit codes: 0 ok, 1 the server refused or failed, 2 bad usage, 3 not converged.";
}

}  // namespace

int main(int argc, char** argv) {
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);  // errors are ours to print, one line each
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  bilevel::client::GlobalOptions globals = bilevel::client::GlobalOptions::FromEnvironment();
  bilevel::client::FlagSet flags("[FLAGS] COMMAND ...", About());
  globals.AddTo(flags);
  const absl::StatusOr<std::vector<std::string>> rest = flags.Parse(arguments, /*stop_at_operand=*/true);
  if (flags.help_requested()) {
    std::cout << flags.Help();
    return bilevel::client::kExitOk;
  }
  if (!rest.ok()) return bilevel::client::UsageError(rest.status());
  if (rest->empty()) {
    std::cerr << flags.Help();
    return bilevel::client::kExitUsage;
  }
  for (const Command& command : Commands()) {
    if (command.name == rest->front()) return command.run(globals, std::span(*rest).subspan(1));
  }
  return bilevel::client::UsageError(
      absl::InvalidArgumentError(absl::StrCat("unknown command \"", rest->front(), "\"; see bilevel --help")));
}
