#include "client/cli/transition_columns.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace bilevel::client {
namespace {

using Kind = TransitionColumn::Kind;

constexpr char kNames[] =
    "episode, state, action, next_state, kind, context, leader_reward, behavior_log_probability, parameters_version, "
    "features_0, ..., next_features_0, ...";
constexpr char kKinds[] = "0 or running, 1 or terminated, 2 or truncated";
constexpr double kTwo53 = 9007199254740992.0;

absl::Status Unfit(const TransitionColumn& column, const std::string& value, const std::string& rule) {
  return absl::InvalidArgumentError(absl::StrCat("column ", column.name, " is ", value, "; must be ", rule));
}

// "features_12" with prefix "features_".
std::optional<std::size_t> FeatureIndex(const std::string& name, const std::string& prefix) {
  std::uint32_t index = 0;
  if (!name.starts_with(prefix) || !absl::SimpleAtoi(name.substr(prefix.size()), &index)) return std::nullopt;
  return index;
}

std::optional<TransitionColumn> ParseColumn(const std::string& name) {
  static constexpr struct {
    const char* name;
    Kind kind;
  } kColumns[] = {{"episode", Kind::kEpisode},
                  {"episode_id", Kind::kEpisode},
                  {"state", Kind::kState},
                  {"action", Kind::kAction},
                  {"next_state", Kind::kNextState},
                  {"kind", Kind::kStepKind},
                  {"step_kind", Kind::kStepKind},
                  {"context", Kind::kContext},
                  {"leader_reward", Kind::kLeaderReward},
                  {"behavior_log_probability", Kind::kBehaviorLogProbability},
                  {"parameters_version", Kind::kParametersVersion}};
  for (const auto& column : kColumns) {
    if (name == column.name) return TransitionColumn{.kind = column.kind, .index = 0, .name = name};
  }
  if (const auto index = FeatureIndex(name, "features_")) return TransitionColumn{Kind::kFeature, *index, name};
  if (const auto index = FeatureIndex(name, "next_features_"))
    return TransitionColumn{Kind::kNextFeature, *index, name};
  return std::nullopt;
}

std::size_t Count(std::span<const TransitionColumn> columns, Kind kind) {
  return static_cast<std::size_t>(
      std::count_if(columns.begin(), columns.end(), [kind](const TransitionColumn& c) { return c.kind == kind; }));
}

void SetFeature(std::vector<double>& features, std::size_t index, double number) {
  features.resize(std::max(features.size(), index + 1));
  features[index] = number;
}

}  // namespace

bool TransitionColumn::real() const {
  return kind == Kind::kLeaderReward || kind == Kind::kBehaviorLogProbability || kind == Kind::kFeature ||
         kind == Kind::kNextFeature;
}

absl::StatusOr<std::vector<TransitionColumn>> ParseColumns(std::span<const std::string> names) {
  std::vector<TransitionColumn> columns;
  for (const std::string& name : names) {
    const std::optional<TransitionColumn> column = ParseColumn(name);
    if (!column) {
      return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" is no column; there are ", kNames));
    }
    const bool twice = std::any_of(columns.begin(), columns.end(), [&](const TransitionColumn& other) {
      return other.kind == column->kind && other.index == column->index;
    });
    if (twice) return absl::InvalidArgumentError(absl::StrCat("column ", name, " is given twice"));
    columns.push_back(*column);
  }
  for (const auto& [kind, name] : {std::pair(Kind::kState, "state"), std::pair(Kind::kAction, "action"),
                                   std::pair(Kind::kNextState, "next_state")}) {
    if (Count(columns, kind) == 0) return absl::InvalidArgumentError(absl::StrCat("column ", name, " is missing"));
  }
  const std::size_t width = Count(columns, Kind::kFeature);
  if (width != Count(columns, Kind::kNextFeature)) {
    return absl::InvalidArgumentError("there are not as many columns features_i as next_features_i");
  }
  for (const TransitionColumn& column : columns) {
    if ((column.kind == Kind::kFeature || column.kind == Kind::kNextFeature) && column.index >= width) {
      return absl::InvalidArgumentError(
          absl::StrCat("column ", column.name, " is given, but one before it is missing"));
    }
  }
  return columns;
}

absl::Status SetColumn(const TransitionColumn& column, std::uint64_t number, Transition& transition) {
  if (column.real()) return SetColumn(column, static_cast<double>(number), transition);
  if (column.kind == Kind::kEpisode) {
    transition.episode = number;
    return absl::OkStatus();
  }
  if (column.kind == Kind::kParametersVersion) {
    transition.parameters_version = number;
    return absl::OkStatus();
  }
  if (column.kind == Kind::kStepKind) {
    if (number > 2) return Unfit(column, absl::StrCat(number), kKinds);
    transition.kind = static_cast<StepKind>(number);
    return absl::OkStatus();
  }
  constexpr std::uint32_t kMost = std::numeric_limits<std::uint32_t>::max();
  if (number > kMost) return Unfit(column, absl::StrCat(number), absl::StrCat("at most ", kMost));
  const auto index = static_cast<std::uint32_t>(number);
  if (column.kind == Kind::kState) transition.state = index;
  if (column.kind == Kind::kAction) transition.action = index;
  if (column.kind == Kind::kNextState) transition.next_state = index;
  if (column.kind == Kind::kContext) transition.context = index;
  return absl::OkStatus();
}

absl::Status SetColumn(const TransitionColumn& column, double number, Transition& transition) {
  if (!column.real()) {
    if (number < 0 || number >= kTwo53 || number != std::floor(number)) {
      return Unfit(column, absl::StrCat(number), "a whole number >= 0");
    }
    return SetColumn(column, static_cast<std::uint64_t>(number), transition);
  }
  if (!std::isfinite(number)) return Unfit(column, absl::StrCat(number), "finite");
  if (column.kind == Kind::kLeaderReward) transition.leader_reward = number;
  if (column.kind == Kind::kBehaviorLogProbability) transition.behavior_log_probability = number;
  if (column.kind == Kind::kFeature) SetFeature(transition.features, column.index, number);
  if (column.kind == Kind::kNextFeature) SetFeature(transition.next_features, column.index, number);
  return absl::OkStatus();
}

absl::Status SetColumn(const TransitionColumn& column, const std::string& text, Transition& transition) {
  const bool optional = column.kind == Kind::kLeaderReward || column.kind == Kind::kBehaviorLogProbability ||
                        column.kind == Kind::kParametersVersion;
  if (text.empty() && optional) return absl::OkStatus();
  const std::string quoted = absl::StrCat("\"", text, "\"");
  if (column.real()) {
    double number = 0.0;
    if (!absl::SimpleAtod(text, &number)) return Unfit(column, quoted, "a number");
    return SetColumn(column, number, transition);
  }
  if (column.kind == Kind::kStepKind) {
    const std::string word = absl::AsciiStrToLower(text);
    for (const auto& [name, kind] :
         {std::pair("running", StepKind::kRunning), std::pair("terminated", StepKind::kTerminated),
          std::pair("truncated", StepKind::kTruncated)}) {
      if (word != name) continue;
      transition.kind = kind;
      return absl::OkStatus();
    }
  }
  std::uint64_t number = 0;
  if (!absl::SimpleAtoi(text, &number)) {
    return Unfit(column, quoted, column.kind == Kind::kStepKind ? kKinds : "a whole number >= 0");
  }
  return SetColumn(column, number, transition);
}

}  // namespace bilevel::client
