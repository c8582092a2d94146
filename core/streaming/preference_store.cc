#include "core/streaming/preference_store.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/status/statusor.h"
#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"

namespace bilevel {
namespace {

Fragment FromRecord(int32_t context, std::span<const RecordedStep> steps) {
  Fragment fragment{.context = context};
  std::vector<double>& log_probabilities = fragment.behavior_log_probabilities;
  uint32_t& version = fragment.parameters_version;
  for (const RecordedStep& step : steps) {
    fragment.rows.push_back(step.row);
    log_probabilities.push_back(step.behavior_log_probability);
    if (!std::isnan(step.behavior_log_probability)) continue;
    version = version == 0 || version == step.parameters_version ? step.parameters_version : Fragment::kSeveralVersions;
  }
  const bool all_own = std::all_of(log_probabilities.begin(), log_probabilities.end(),
                                   [](double log_probability) { return std::isnan(log_probability); });
  if (all_own) log_probabilities = {};
  return fragment;
}

absl::StatusOr<Fragment> CutOut(const FragmentSource::Range& range, const TrajectoryStore& trajectories) {
  const RecordedTrajectory* trajectory = trajectories.Find(range.writer, range.episode);
  if (trajectory == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat("range: episode ", range.episode,
                                                      " is not held: it has not begun, or lies beyond ",
                                                      "trajectory_capacity = ", trajectories.capacity()));
  }
  const auto held = static_cast<int64_t>(trajectory->steps.size());
  if (range.first_step < 0) {
    return FieldError("range.first_step", absl::StrCat("is ", range.first_step, "; must be >= 0"));
  }
  if (range.count < 1) return FieldError("range.count", absl::StrCat("is ", range.count, "; must be >= 1"));
  if (range.first_step > held - range.count) {
    return absl::FailedPreconditionError(
        absl::StrCat("range: steps ", range.first_step, " to ",
                     static_cast<uint64_t>(range.first_step) + static_cast<uint64_t>(range.count) - 1, " of episode ",
                     range.episode, ", of which ", held, " are known"));
  }
  return FromRecord(
      trajectory->context,
      std::span(trajectory->steps).subspan(static_cast<size_t>(range.first_step), static_cast<size_t>(range.count)));
}

absl::StatusOr<Fragment> FromSteps(const FragmentSource& source, const TransitionRules& rules) {
  const auto contexts = static_cast<int32_t>(rules.contexts.size());
  if (source.context < 0 || source.context >= contexts) {
    return FieldError("steps.context", absl::StrCat("is ", source.context, "; must be in [0, ", contexts - 1, "]"));
  }
  if (source.states.empty()) return FieldError("steps.state", "is empty; must have at least one step");
  if (source.actions.size() != source.states.size()) {
    return FieldError("steps.action", absl::StrCat("has ", source.actions.size(), " entries; must have as many as ",
                                                   "state: ", source.states.size()));
  }
  const TransitionRules::World& world = rules.contexts[static_cast<size_t>(source.context)];
  Fragment fragment{.context = source.context};
  for (size_t i = 0; i < source.states.size(); ++i) {
    const int32_t state = source.states[i], action = source.actions[i];
    if (state < 0 || state >= world.num_states) {
      return FieldError(absl::StrCat("steps.state[", i, "]"),
                        absl::StrCat("is ", state, "; must be in [0, ", world.num_states - 1, "]"));
    }
    const int64_t row = int64_t{state} * world.num_actions + action;
    const bool available = action >= 0 && action < world.num_actions &&
                           (world.available_actions.empty() || world.available_actions[static_cast<size_t>(row)] != 0);
    if (!available) {
      return FieldError(absl::StrCat("steps.action[", i, "]"),
                        absl::StrCat("is ", action, "; must be an action available in state ", state));
    }
    fragment.rows.push_back(row);
  }
  return fragment;
}

absl::StatusOr<Fragment> Resolve(const FragmentSource& source, const TrajectoryStore& trajectories,
                                 const TransitionRules& rules) {
  return source.range.has_value() ? CutOut(*source.range, trajectories) : FromSteps(source, rules);
}

absl::Status WithSide(const std::string& path, const absl::Status& status) {
  if (GetFieldViolation(status).has_value()) return WithField(path, status);
  return {status.code(), absl::StrCat(path, ".", std::string(status.message()))};
}

}  // namespace

absl::Status PreferenceStore::Offer(uint64_t first, std::span<const PreferenceSource> preferences,
                                    const TrajectoryStore& trajectories, const TransitionRules& rules,
                                    std::span<const uint32_t> eras) {
  if (first == 0) return FieldError("first_sequence", "is 0; the first preference has number 1");
  if (first > accepted() + 1) {
    return absl::FailedPreconditionError(
        absl::StrCat("first_sequence is ", first, " after ", accepted(), ": a gap; send ", accepted() + 1, " first"));
  }
  std::vector<Preference> fresh;
  size_t steps = steps_;
  for (size_t i = accepted() + 1 - first; i < preferences.size(); ++i) {
    const PreferenceSource& source = preferences[i];
    const std::string path = absl::StrCat("preferences[", i, "]");
    if (!(source.first_preferred >= 0) || !(source.first_preferred <= 1)) {
      return FieldError(path + ".first_preferred",
                        absl::StrCat("is ", ToText(source.first_preferred), "; must be in [0, 1]"));
    }
    absl::StatusOr<Fragment> one = Resolve(source.first, trajectories, rules);
    if (!one.ok()) return WithSide(path + ".first", one.status());
    absl::StatusOr<Fragment> other = Resolve(source.second, trajectories, rules);
    if (!other.ok()) return WithSide(path + ".second", other.status());
    if (one->context != other->context) {
      return FieldError(path, absl::StrCat("compares fragments of contexts ", one->context, " and ", other->context,
                                           "; both must be of one"));
    }
    steps += one->rows.size() + other->rows.size();
    if (steps > capacity_) {
      return absl::ResourceExhaustedError(
          absl::StrCat(path, ": fragments would have ", steps, " steps; preference_capacity is ", capacity_));
    }
    const uint32_t era = eras.empty() ? 0 : eras[static_cast<size_t>(one->context)];
    fresh.push_back({*std::move(one), *std::move(other), source.first_preferred, era});
  }
  steps_ = steps;
  std::move(fresh.begin(), fresh.end(), std::back_inserter(held_));
  return absl::OkStatus();
}

}  // namespace bilevel
