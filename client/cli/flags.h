// Command-line flags of one command, bound to variables.
//
//   FlagSet flags("solve FILE", "The follower's answer in each context.");
//   flags.Add("at", &at, "FILE", "x, as a JSON list");
//   absl::StatusOr<std::vector<std::string>> operands = flags.Parse(arguments);
//
// Accepted: --name=value, --name value, -name; for switches --name, --name=false, --noname. `-` and `_` in names are
// alike. `--` ends the flags; a lone `-` is an operand. Values are checked when parsed: INVALID_ARGUMENT names the
// flag.

#ifndef BILEVEL_CLIENT_CLI_FLAGS_H_
#define BILEVEL_CLIENT_CLI_FLAGS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace bilevel::client {

class FlagSet {
 public:
  // usage: the command and its operands. about: one or more sentences for --help.
  FlagSet(std::string usage, std::string about);

  // The variable keeps its value, the default, unless the flag is given. `value` names the argument in the help text.
  void Add(const std::string& name, bool* target, const std::string& help);
  void Add(const std::string& name, std::string* target, const std::string& value, const std::string& help);
  void Add(const std::string& name, double* target, const std::string& value, const std::string& help);
  void Add(const std::string& name, std::optional<double>* target, const std::string& value, const std::string& help);
  void Add(const std::string& name, std::optional<int>* target, const std::string& value, const std::string& help);
  void Add(const std::string& name, std::uint32_t* target, const std::string& value, const std::string& help);
  void Add(const std::string& name, std::optional<absl::Duration>* target, const std::string& value,
           const std::string& help);

  // Returns the operands. With stop_at_operand everything from the first operand on is returned as it stands.
  absl::StatusOr<std::vector<std::string>> Parse(std::span<const std::string> arguments, bool stop_at_operand = false);

  // --help or -h was among them.
  bool help_requested() const { return help_requested_; }

  const std::string& usage() const { return usage_; }

  // Usage, what it does, and a line for each flag.
  std::string Help() const;

 private:
  struct Flag {
    std::string name;   // with dashes
    std::string value;  // empty for a switch
    std::string help;
    std::string kind;                             // what the value must be
    std::function<bool(const std::string&)> set;  // false: not such a value
  };

  void AddFlag(const std::string& name, const std::string& value, const std::string& help, const std::string& kind,
               std::function<bool(const std::string&)> set);
  const Flag* Find(const std::string& name) const;
  // Takes arguments[at], and arguments[at + 1] where that is its value; moves `at` to the last one taken.
  absl::Status ParseFlag(std::span<const std::string> arguments, std::size_t& at);

  std::string usage_;
  std::string about_;
  std::vector<Flag> flags_;
  bool help_requested_ = false;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_FLAGS_H_
