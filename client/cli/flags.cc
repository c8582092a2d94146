#include "client/cli/flags.h"

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace bilevel::client {
namespace {

// The name as it is stored: dashes only.
std::string Canonical(const std::string& name) { return absl::StrReplaceAll(name, {{"_", "-"}}); }

template <typename Number>
std::optional<Number> ParseNumber(const std::string& text) {
  if constexpr (std::is_same_v<Number, double>) {
    double number = 0.0;
    if (absl::SimpleAtod(text, &number) && !std::isnan(number)) return number;
  } else {
    Number number = 0;
    if (absl::SimpleAtoi(text, &number)) return number;
  }
  return std::nullopt;
}

template <typename Number, typename Target>
std::function<bool(const std::string&)> SetNumber(Target* target) {
  return [target](const std::string& text) {
    const std::optional<Number> number = ParseNumber<Number>(text);
    if (number) *target = *number;
    return number.has_value();
  };
}

}  // namespace

FlagSet::FlagSet(std::string usage, std::string about) : usage_(std::move(usage)), about_(std::move(about)) {
  Add("help", &help_requested_, "this text");
}

void FlagSet::AddFlag(const std::string& name, const std::string& value, const std::string& help,
                      const std::string& kind, std::function<bool(const std::string&)> set) {
  flags_.push_back({Canonical(name), value, help, kind, std::move(set)});
}

void FlagSet::Add(const std::string& name, bool* target, const std::string& help) {
  AddFlag(name, "", help, "true or false",
          [target](const std::string& text) { return absl::SimpleAtob(text, target); });
}
void FlagSet::Add(const std::string& name, std::string* target, const std::string& value, const std::string& help) {
  AddFlag(name, value, help, "text", [target](const std::string& text) {
    *target = text;
    return true;
  });
}
void FlagSet::Add(const std::string& name, double* target, const std::string& value, const std::string& help) {
  AddFlag(name, value, help, "a number", SetNumber<double>(target));
}
void FlagSet::Add(const std::string& name, std::optional<double>* target, const std::string& value,
                  const std::string& help) {
  AddFlag(name, value, help, "a number", SetNumber<double>(target));
}
void FlagSet::Add(const std::string& name, std::optional<int>* target, const std::string& value,
                  const std::string& help) {
  AddFlag(name, value, help, "a whole number", SetNumber<int>(target));
}
void FlagSet::Add(const std::string& name, std::uint32_t* target, const std::string& value, const std::string& help) {
  AddFlag(name, value, help, "a whole number from 0 to 4294967295", SetNumber<std::uint32_t>(target));
}
void FlagSet::Add(const std::string& name, std::optional<absl::Duration>* target, const std::string& value,
                  const std::string& help) {
  AddFlag(name, value, help, "a duration such as 60s", [target](const std::string& text) {
    absl::Duration duration;
    if (!absl::ParseDuration(text, &duration)) return false;
    *target = duration;
    return true;
  });
}

const FlagSet::Flag* FlagSet::Find(const std::string& name) const {
  const auto found = std::find_if(flags_.begin(), flags_.end(), [&](const Flag& flag) { return flag.name == name; });
  return found == flags_.end() ? nullptr : &*found;
}

absl::Status FlagSet::ParseFlag(std::span<const std::string> arguments, std::size_t& at) {
  const std::string body = arguments[at].substr(arguments[at].starts_with("--") ? 2 : 1);
  const std::size_t equals = body.find('=');
  const std::string name = Canonical(body.substr(0, equals));
  std::optional<std::string> value;
  if (equals != std::string::npos) value = body.substr(equals + 1);

  const Flag* flag = Find(name == "h" ? "help" : name);
  if (flag == nullptr && name.starts_with("no") && !value) {
    flag = Find(name.substr(2));
    if (flag != nullptr && flag->value.empty()) value = "false";
  }
  if (flag == nullptr) return absl::InvalidArgumentError(absl::StrCat("unknown flag --", name));
  if (!value && flag->value.empty()) value = "true";
  if (!value) {
    if (at + 1 == arguments.size()) {
      return absl::InvalidArgumentError(absl::StrCat("--", flag->name, " needs a value: ", flag->value));
    }
    value = arguments[++at];
  }
  if (flag->set(*value)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--", flag->name, " is \"", *value, "\"; must be ", flag->kind));
}

absl::StatusOr<std::vector<std::string>> FlagSet::Parse(std::span<const std::string> arguments, bool stop_at_operand) {
  std::vector<std::string> operands;
  for (std::size_t at = 0; at < arguments.size(); ++at) {
    const std::string& argument = arguments[at];
    if (argument == "--") {
      operands.insert(operands.end(), arguments.begin() + at + 1, arguments.end());
      break;
    }
    if (argument.size() > 1 && argument[0] == '-') {
      if (absl::Status status = ParseFlag(arguments, at); !status.ok()) return status;
      continue;
    }
    if (stop_at_operand) {
      operands.assign(arguments.begin() + at, arguments.end());
      break;
    }
    operands.push_back(argument);
  }
  return operands;
}

std::string FlagSet::Help() const {
  std::string text = absl::StrCat("usage: bilevel ", usage_, "\n\n", about_, "\n\n");
  for (const Flag& flag : flags_) {
    const std::string left = absl::StrCat("--", flag.name, flag.value.empty() ? "" : " ", flag.value);
    absl::StrAppend(&text, absl::StrFormat("  %-32s %s\n", left, flag.help));
  }
  return text;
}

}  // namespace bilevel::client
