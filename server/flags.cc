#include "server/flags.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/reflection.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/base/field_error.h"
#include "server/calls/run.h"
#include "server/jobs/machine.h"

ABSL_FLAG(std::string, listen, "127.0.0.1:50051", "host:port to listen on; port 0 lets the system choose");
ABSL_FLAG(bool, ephemeral, false, "keep nothing on disk; there is nothing to keep yet, so this changes nothing");
ABSL_FLAG(bool, insecure, false, "allow plaintext on an address that other machines can reach");
ABSL_FLAG(absl::Duration, drain_delay, absl::Seconds(5),
          "how long calls are still served after SIGTERM while health says NOT_SERVING, for load balancers; "
          "a second signal cuts it short");
ABSL_FLAG(int, threads, 0,
          "solver threads for long calls, and as many for short ones; 0: one for each processor that the machine or "
          "the container grants");
ABSL_FLAG(uint64_t, memory_budget, 0,
          "bytes that running and waiting requests may hold together, as estimated; 0: half of the memory of "
          "the machine or the container");
ABSL_FLAG(int, max_states, bilevel::server::Limits().states, "largest number of states");
ABSL_FLAG(int64_t, max_transitions, bilevel::server::Limits().transitions,
          "largest number of stored transition probabilities of one environment");
ABSL_FLAG(int64_t, max_message_bytes, bilevel::server::Limits().message_bytes, "largest message, either way");
ABSL_FLAG(int, queue_length, 64, "requests that may wait in each lane");
ABSL_FLAG(int, max_sessions, bilevel::server::Limits().sessions, "sessions at a time");
ABSL_FLAG(int, max_environments, bilevel::server::Limits().environments, "environments at a time");

namespace bilevel::server {
namespace {

constexpr const char* kNames[] = {
    "listen",     "ephemeral",       "insecure",          "drain_delay",  "threads",      "memory_budget",
    "max_states", "max_transitions", "max_message_bytes", "queue_length", "max_sessions", "max_environments"};

std::string VariableName(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::toupper(c); });
  return "BILEVEL_" + name;
}

absl::Status ReadEnvironment() {
  for (const char* name : kNames) {
    const std::string variable = VariableName(name);
    const char* value = std::getenv(variable.c_str());
    if (value == nullptr) continue;
    std::string error;
    if (!absl::FindCommandLineFlag(name)->ParseFrom(value, &error)) {
      return FieldError(variable, absl::StrCat("is \"", value, "\"; ", error));
    }
  }
  return absl::OkStatus();
}

// --drain-delay=1s is --drain_delay=1s.
std::string WithUnderscores(std::string argument) {
  if (argument.rfind("--", 0) != 0) return argument;
  const auto end = argument.begin() + static_cast<std::ptrdiff_t>(std::min(argument.find('='), argument.size()));
  std::replace(argument.begin() + 2, end, '-', '_');
  return argument;
}

absl::Status ParseArguments(int argc, char** argv) {
  std::vector<std::string> arguments;
  arguments.reserve(static_cast<size_t>(argc));
  for (int i = 0; i < argc; ++i) arguments.push_back(WithUnderscores(argv[i]));
  std::vector<char*> pointers;
  pointers.reserve(arguments.size());
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  const std::vector<char*> rest = absl::ParseCommandLine(static_cast<int>(pointers.size()), pointers.data());
  if (rest.size() > 1) return FieldError(rest[1], "is not understood; flags begin with --");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Flags> ParseFlags(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "Serves bilevel.v1.SolverService, EnvironmentService and SessionService. Each flag can also be set by "
      "BILEVEL_<NAME>.");
  absl::FlagsUsageConfig usage;
  usage.version_string = [] { return absl::StrCat("bilevel_server ", ServerVersion(), "\n"); };
  usage.contains_help_flags =
      usage.contains_helpshort_flags = [](absl::string_view file) { return absl::EndsWith(file, "server/flags.cc"); };
  absl::SetFlagsUsageConfig(usage);
  if (absl::Status status = ReadEnvironment(); !status.ok()) return status;
  if (absl::Status status = ParseArguments(argc, argv); !status.ok()) return status;

  const Machine machine = ReadMachine();
  Flags flags;
  flags.server.listen = absl::GetFlag(FLAGS_listen);
  flags.server.insecure = absl::GetFlag(FLAGS_insecure);
  DispatcherOptions& dispatcher = flags.server.dispatcher;
  dispatcher.threads = absl::GetFlag(FLAGS_threads) == 0 ? machine.threads : absl::GetFlag(FLAGS_threads);
  const uint64_t budget = absl::GetFlag(FLAGS_memory_budget);
  dispatcher.memory_budget = budget == 0 ? 0.5 * machine.memory_bytes : static_cast<double>(budget);
  dispatcher.queue_length = absl::GetFlag(FLAGS_queue_length);
  dispatcher.limits.sessions = absl::GetFlag(FLAGS_max_sessions);
  dispatcher.limits.environments = absl::GetFlag(FLAGS_max_environments);
  dispatcher.limits.states = absl::GetFlag(FLAGS_max_states);
  dispatcher.limits.transitions = absl::GetFlag(FLAGS_max_transitions);
  dispatcher.limits.message_bytes = absl::GetFlag(FLAGS_max_message_bytes);
  const absl::Duration drain_delay = absl::GetFlag(FLAGS_drain_delay);
  if (drain_delay < absl::ZeroDuration() || drain_delay > absl::Hours(24)) {
    return FieldError("drain_delay", absl::StrCat("is ", absl::FormatDuration(drain_delay), "; must be in [0s, 24h]"));
  }
  flags.drain_delay = absl::ToChronoMilliseconds(drain_delay);
  return flags;
}

}  // namespace bilevel::server
