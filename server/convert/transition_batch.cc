#include "server/convert/transition_batch.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "core/base/field_error.h"
#include "core/base/status_macros.h"
#include "core/base/text.h"
#include "server/convert/array.h"
#include "server/convert/in_field.h"
#include "server/limits.h"

namespace bilevel::server {
namespace {

constexpr v1::DType TypeOf(uint64_t) { return v1::DTYPE_U64; }
constexpr v1::DType TypeOf(uint32_t) { return v1::DTYPE_U32; }
constexpr v1::DType TypeOf(uint8_t) { return v1::DTYPE_U8; }
constexpr v1::DType TypeOf(double) { return v1::DTYPE_F64; }

absl::StatusOr<std::vector<uint64_t>> DecodeAny(const v1::Array& array, uint64_t) {
  return DecodeIndexList<uint64_t>(array);
}
absl::StatusOr<std::vector<uint32_t>> DecodeAny(const v1::Array& array, uint32_t) {
  return DecodeIndexList<uint32_t>(array);
}
absl::StatusOr<std::vector<uint8_t>> DecodeAny(const v1::Array& array, uint8_t) {
  if (array.has_raw()) return FieldError("dtype", "must be DTYPE_U8");
  ASSIGN_OR_RETURN(const std::vector<uint32_t> wide, DecodeIndexList<uint32_t>(array));
  std::vector<uint8_t> narrow(wide.size());
  // What does not fit is out of range anyway; it must not wrap into it.
  std::transform(wide.begin(), wide.end(), narrow.begin(),
                 [](uint32_t value) { return static_cast<uint8_t>(std::min<uint32_t>(value, 255)); });
  return narrow;
}
absl::StatusOr<std::vector<double>> DecodeAny(const v1::Array& array, double) {
  return DecodeRealList(array, Finite::kNotRequired);
}

// A column's elements: where the message holds them as they are, there.
template <typename T>
class Column {
 public:
  // Empty: absent.
  absl::Status Read(const char* field, bool present, const v1::Array& array, size_t count, bool required) {
    if (!present) return required ? FieldError(field, "is absent; required") : absl::OkStatus();
    if (array.has_raw() && array.dtype() == TypeOf(T()) && array.raw().size() == count * sizeof(T)) {
      bytes_ = array.raw().data();
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(converted_, InField(field, DecodeAny(array, T())));
    if (converted_.size() != count) {
      return FieldError(field, absl::StrCat("has ", converted_.size(), " entries; must have count = ", count));
    }
    bytes_ = reinterpret_cast<const char*>(converted_.data());
    return absl::OkStatus();
  }

  bool present() const { return bytes_ != nullptr; }
  T operator[](size_t i) const {
    T value;
    std::memcpy(&value, bytes_ + i * sizeof(T), sizeof(T));
    return value;
  }

 private:
  const char* bytes_ = nullptr;
  std::vector<T> converted_;
};

absl::Status NotFinite(const char* field, size_t i, double value) {
  return FieldError(absl::StrCat(field, "[", i, "]"), absl::StrCat("is ", ToText(value), "; must be finite"));
}

absl::Status DecodeSteps(const v1::TransitionBatch& batch, size_t count, std::vector<Transition>& steps) {
  steps.resize(count);
  Column<uint64_t> episodes, versions;
  Column<uint32_t> states, actions, nexts, contexts;
  Column<uint8_t> kinds;
  Column<double> rewards, log_probabilities;
  RETURN_IF_ERROR(episodes.Read("episode_id", batch.has_episode_id(), batch.episode_id(), count, false));
  RETURN_IF_ERROR(states.Read("state", batch.has_state(), batch.state(), count, true));
  RETURN_IF_ERROR(actions.Read("action", batch.has_action(), batch.action(), count, true));
  RETURN_IF_ERROR(nexts.Read("next_state", batch.has_next_state(), batch.next_state(), count, true));
  RETURN_IF_ERROR(kinds.Read("step_kind", batch.has_step_kind(), batch.step_kind(), count, false));
  RETURN_IF_ERROR(contexts.Read("context", batch.has_context(), batch.context(), count, false));
  RETURN_IF_ERROR(rewards.Read("leader_reward", batch.has_leader_reward(), batch.leader_reward(), count, false));
  RETURN_IF_ERROR(log_probabilities.Read("behavior_log_probability", batch.has_behavior_log_probability(),
                                         batch.behavior_log_probability(), count, false));
  RETURN_IF_ERROR(
      versions.Read("parameters_version", batch.has_parameters_version(), batch.parameters_version(), count, false));
  // Most columns are absent in most batches: each that is there has a loop of its own.
  for (size_t i = 0; i < count; ++i) {
    steps[i].state = NarrowIndex(states[i]);
    steps[i].action = NarrowIndex(actions[i]);
    steps[i].next_state = NarrowIndex(nexts[i]);
  }
  for (size_t i = 0; i < count && episodes.present(); ++i) steps[i].episode = episodes[i];
  for (size_t i = 0; i < count && contexts.present(); ++i) steps[i].context = NarrowIndex(contexts[i]);
  for (size_t i = 0; i < count && kinds.present(); ++i) {
    if (kinds[i] > 2) {
      return FieldError(absl::StrCat("step_kind[", i, "]"),
                        absl::StrCat("is ", int{kinds[i]}, "; must be 0 (running), 1 (terminated) or 2 (truncated)"));
    }
    steps[i].kind = static_cast<StepKind>(kinds[i]);
  }
  for (size_t i = 0; i < count && rewards.present(); ++i) {
    steps[i].leader_reward = rewards[i];
    if (!std::isfinite(rewards[i])) return NotFinite("leader_reward", i, rewards[i]);
  }
  for (size_t i = 0; i < count && log_probabilities.present(); ++i) {
    steps[i].behavior_log_probability = log_probabilities[i];
    if (std::isnan(log_probabilities[i])) return NotFinite("behavior_log_probability", i, log_probabilities[i]);
  }
  for (size_t i = 0; i < count && versions.present(); ++i) {
    if (versions[i] == 0) {
      return FieldError(absl::StrCat("parameters_version[", i, "]"), "is 0; the first x has version 1");
    }
    steps[i].parameters_version =
        static_cast<uint32_t>(std::min<uint64_t>(versions[i], std::numeric_limits<uint32_t>::max()));
  }
  return absl::OkStatus();
}

absl::Status CheckFeatures(const char* field, bool present, const v1::Array& array, size_t count, size_t width) {
  if (width == 0) {
    return present ? FieldError(field, "is given; the session has num_features = 0") : absl::OkStatus();
  }
  if (!present) return FieldError(field, "is absent; required, the session having num_features > 0");
  ASSIGN_OR_RETURN(const int64_t held, InField(field, CountElements(array)));
  if (static_cast<size_t>(held) == count * width) return absl::OkStatus();
  return FieldError(field,
                    absl::StrCat("has ", held, " entries; must have count * num_features = ", count, " * ", width));
}

// One half of [k, 2m].
absl::Status DecodeFeatures(const char* field, const v1::Array& array, size_t width, bool next,
                            TransitionBlock& decoded) {
  const size_t count = decoded.steps.size();
  Column<double> column;
  RETURN_IF_ERROR(column.Read(field, true, array, count * width, true));
  for (size_t i = 0; i < count; ++i) {
    if (next && decoded.steps[i].kind == StepKind::kTerminated) continue;
    for (size_t j = 0; j < width; ++j) {
      const double value = column[i * width + j];
      if (!std::isfinite(value)) return NotFinite(field, i, value);
      decoded.features[(2 * i + (next ? 1 : 0)) * width + j] = value;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TransitionBlock> DecodeBatch(const v1::TransitionBatch& batch, size_t num_features) {
  if (batch.count() < 1 || batch.count() > kMaxBatch) {
    return FieldError("count", absl::StrCat("is ", batch.count(), "; must be in [1, ", kMaxBatch, "]"));
  }
  const auto count = static_cast<size_t>(batch.count());
  TransitionBlock decoded;
  RETURN_IF_ERROR(DecodeSteps(batch, count, decoded.steps));
  const size_t m = num_features;
  RETURN_IF_ERROR(CheckFeatures("features", batch.has_features(), batch.features(), count, m));
  RETURN_IF_ERROR(CheckFeatures("next_features", batch.has_next_features(), batch.next_features(), count, m));
  decoded.features.assign(count * 2 * m, 0);
  if (m == 0) return decoded;
  RETURN_IF_ERROR(DecodeFeatures("features", batch.features(), m, false, decoded));
  RETURN_IF_ERROR(DecodeFeatures("next_features", batch.next_features(), m, true, decoded));
  return decoded;
}

absl::Status BatchError(const absl::Status& status) {
  const std::optional<FieldViolation> violation = GetFieldViolation(status);
  if (!violation.has_value()) return status;
  // "[17].state" -> "state[17]".
  const size_t end = violation->field.find("].");
  if (violation->field.empty() || violation->field[0] != '[' || end == std::string::npos) return status;
  return FieldError(absl::StrCat(violation->field.substr(end + 2), violation->field.substr(0, end + 1)),
                    violation->description);
}

}  // namespace bilevel::server
