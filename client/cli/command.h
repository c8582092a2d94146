// The commands of `bilevel`, and what they share: flags of the connection, exit codes, error lines.

#ifndef BILEVEL_CLIENT_CLI_COMMAND_H_
#define BILEVEL_CLIENT_CLI_COMMAND_H_

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "bilevel/v1/solution.pb.h"
#include "client/bilevel_client.h"
#include "client/cli/flags.h"

namespace bilevel::client {

enum ExitCode : int {
  kExitOk = 0,
  kExitFailed = 1,        // the server refused or failed, or could not be reached
  kExitUsage = 2,         // flags, operands or input files are wrong
  kExitNotConverged = 3,  // an answer came, but not to the tolerance asked for
};

// Flags that may stand before or after the command's name.
struct GlobalOptions {
  std::string server = "127.0.0.1:50051";
  bool json = false;
  std::optional<absl::Duration> deadline;
  bool tls = false;
  std::string tls_roots;

  // BILEVEL_SERVER, where it is set, replaces the default.
  static GlobalOptions FromEnvironment();
  void AddTo(FlagSet& flags);
};

struct Command {
  std::string_view name;
  std::string_view summary;
  int (*run)(GlobalOptions globals, std::span<const std::string> arguments);
};

// All commands, in the order of the help text.
std::span<const Command> Commands();

// `bilevel GROUP COMMAND ...`. about: what the commands are for, and what of them is alike.
int RunGroup(const std::string& group, const std::string& about, const std::string& alike,
             std::span<const Command> commands, GlobalOptions globals, std::span<const std::string> arguments);

int RunExample(GlobalOptions globals, std::span<const std::string> arguments);
int RunSolve(GlobalOptions globals, std::span<const std::string> arguments);
int RunHypergradient(GlobalOptions globals, std::span<const std::string> arguments);
int RunPullback(GlobalOptions globals, std::span<const std::string> arguments);
int RunCheck(GlobalOptions globals, std::span<const std::string> arguments);
int RunOptimize(GlobalOptions globals, std::span<const std::string> arguments);
int RunLint(GlobalOptions globals, std::span<const std::string> arguments);
int RunEnv(GlobalOptions globals, std::span<const std::string> arguments);
int RunSession(GlobalOptions globals, std::span<const std::string> arguments);
int RunShow(GlobalOptions globals, std::span<const std::string> arguments);
int RunMethods(GlobalOptions globals, std::span<const std::string> arguments);
int RunHealth(GlobalOptions globals, std::span<const std::string> arguments);

// Parses; answers --help; checks the number of operands, of which the last `optional` may be missing. When a value
// comes back, the command exits with it.
std::optional<int> ParseOrExit(FlagSet& flags, std::span<const std::string> arguments, std::size_t operands,
                               std::vector<std::string>& parsed, std::size_t optional = 0);

absl::StatusOr<BilevelClient> Connect(const GlobalOptions& globals);

// One line on standard error; returns the exit code.
int Fail(const absl::Status& status);
int UsageError(const absl::Status& status);

// The estimate that answers --validate-only, on standard output.
int PrintEstimate(const v1::CostEstimate& estimate, bool json);

// kExitOk when converged, else kExitNotConverged.
int ExitCodeOf(const v1::Termination& termination);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_COMMAND_H_
