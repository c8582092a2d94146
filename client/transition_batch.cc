#include "client/transition_batch.h"

#include <algorithm>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "client/array.h"
#include "client/status.h"

namespace bilevel::client {
namespace {

// One number of each transition.
template <typename T, typename Get>
std::vector<T> Column(std::span<const Transition> transitions, Get get) {
  std::vector<T> column;
  column.reserve(transitions.size());
  for (const Transition& transition : transitions) column.push_back(static_cast<T>(get(transition)));
  return column;
}

template <typename T>
bool AnyNonZero(const std::vector<T>& column) {
  return std::any_of(column.begin(), column.end(), [](T entry) { return entry != T{0}; });
}

template <typename T>
v1::Array ToArray(const std::vector<T>& column) {
  return MakeArray(std::span<const T>(column));
}

// [k, m]; zeros where a row is missing.
v1::Array Rows(std::span<const Transition> transitions, std::vector<double> Transition::*row, std::size_t width) {
  std::vector<double> entries;
  entries.reserve(transitions.size() * width);
  for (const Transition& transition : transitions) {
    const std::vector<double>& features = transition.*row;
    entries.insert(entries.end(), features.begin(), features.end());
    if (features.empty()) entries.insert(entries.end(), width, 0.0);
  }
  return MakeArray(entries, {static_cast<int>(transitions.size()), static_cast<int>(width)});
}

}  // namespace

v1::TransitionBatch EncodeBatch(std::uint64_t first, std::span<const Transition> transitions) {
  v1::TransitionBatch batch;
  batch.set_first_sequence(first);
  batch.set_count(static_cast<int>(transitions.size()));
  if (transitions.empty()) return batch;
  const auto episodes = Column<std::uint64_t>(transitions, [](const Transition& t) { return t.episode; });
  if (AnyNonZero(episodes)) *batch.mutable_episode_id() = ToArray(episodes);
  *batch.mutable_state() = ToArray(Column<std::uint32_t>(transitions, [](const Transition& t) { return t.state; }));
  *batch.mutable_action() = ToArray(Column<std::uint32_t>(transitions, [](const Transition& t) { return t.action; }));
  *batch.mutable_next_state() =
      ToArray(Column<std::uint32_t>(transitions, [](const Transition& t) { return t.next_state; }));
  const auto kinds = Column<std::uint8_t>(transitions, [](const Transition& t) { return t.kind; });
  if (AnyNonZero(kinds)) *batch.mutable_step_kind() = ToArray(kinds);
  const auto contexts = Column<std::uint32_t>(transitions, [](const Transition& t) { return t.context; });
  if (AnyNonZero(contexts)) *batch.mutable_context() = ToArray(contexts);
  const Transition& head = transitions.front();
  if (head.leader_reward) {
    *batch.mutable_leader_reward() =
        ToArray(Column<double>(transitions, [](const Transition& t) { return t.leader_reward.value_or(0.0); }));
  }
  if (head.behavior_log_probability) {
    *batch.mutable_behavior_log_probability() = ToArray(
        Column<double>(transitions, [](const Transition& t) { return t.behavior_log_probability.value_or(0.0); }));
  }
  if (head.parameters_version) {
    *batch.mutable_parameters_version() = ToArray(
        Column<std::uint64_t>(transitions, [](const Transition& t) { return t.parameters_version.value_or(0); }));
  }
  if (const std::size_t width = head.features.size(); width > 0) {
    *batch.mutable_features() = Rows(transitions, &Transition::features, width);
    *batch.mutable_next_features() = Rows(transitions, &Transition::next_features, width);
  }
  return batch;
}

BatchPlace PlaceOf(const v1::Rejected& rejected) {
  std::string field;
  for (const auto& detail : rejected.status().details()) {
    v1::rpc::BadRequest bad;
    if (!absl::EndsWith(detail.type_url(), "google.rpc.BadRequest") || !bad.ParseFromString(detail.value())) continue;
    if (bad.field_violations_size() > 0) field = bad.field_violations(0).field();
  }
  field = std::string(absl::StripPrefix(field, "batch."));
  const std::size_t open = field.find('[');
  const std::size_t close = field.find(']');
  BatchPlace place{.column = field.substr(0, open), .index = std::nullopt};
  std::uint64_t index = 0;
  if (open != std::string::npos && close != std::string::npos && close > open &&
      absl::SimpleAtoi(field.substr(open + 1, close - open - 1), &index)) {
    place.index = index;
  }
  return place;
}

}  // namespace bilevel::client
