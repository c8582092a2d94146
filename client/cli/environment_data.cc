#include "client/cli/environment_data.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

namespace bilevel::client {
namespace {

constexpr std::uint64_t kMostStates = std::numeric_limits<int>::max();

template <typename T>
void SortRow(std::span<std::uint32_t> columns, std::span<T> values, std::vector<std::pair<std::uint32_t, T>>& row) {
  row.clear();
  for (std::size_t k = 0; k < columns.size(); ++k) row.emplace_back(columns[k], values[k]);
  std::stable_sort(row.begin(), row.end(), [](const auto& x, const auto& y) { return x.first < y.first; });
  for (std::size_t k = 0; k < columns.size(); ++k) std::tie(columns[k], values[k]) = row[k];
}

template <typename T>
absl::Status SortRowsWith(EnvironmentData& data, std::vector<T>& values) {
  const auto states = static_cast<std::uint32_t>(data.num_states);
  const auto actions = static_cast<std::uint64_t>(data.num_actions);
  std::vector<std::pair<std::uint32_t, T>> scratch;
  for (std::size_t row = 0; row + 1 < data.offsets.size(); ++row) {
    const std::uint64_t begin = data.offsets[row];
    const std::uint64_t size = data.offsets[row + 1] - begin;
    const std::span<std::uint32_t> columns = std::span(data.columns).subspan(begin, size);
    if (!std::is_sorted(columns.begin(), columns.end())) {
      SortRow(columns, std::span(values).subspan(begin, size), scratch);
    }
    if (size > 0 && columns.back() >= states) {
      return absl::InvalidArgumentError(absl::StrCat("row ", row, " (s=", row / actions, ", a=", row % actions,
                                                     ") has column ", columns.back(), "; must be below ", states));
    }
    const auto twice = std::adjacent_find(columns.begin(), columns.end());
    if (twice == columns.end()) continue;
    return absl::InvalidArgumentError(absl::StrCat("row ", row, " (s=", row / actions, ", a=", row % actions,
                                                   ") has column ", *twice, " twice; must have it once"));
  }
  return absl::OkStatus();
}

}  // namespace

EnvironmentArrays EnvironmentData::arrays() const {
  return {.num_states = num_states,
          .num_actions = num_actions,
          .offsets = offsets,
          .columns = columns,
          .probabilities = probabilities,
          .probabilities_f32 = probabilities_f32,
          .termination = termination,
          .initial = initial,
          .available = available};
}

absl::Status SetSizes(std::uint64_t rows, std::uint64_t columns, std::optional<std::int64_t> actions,
                      EnvironmentData& data) {
  const std::string shape = absl::StrCat("[", rows, ", ", columns, "]");
  if (columns < 1 || columns > kMostStates) {
    return absl::InvalidArgumentError(
        absl::StrCat("is ", shape, "; must be [S*A, S] with S in [1, ", kMostStates, "]"));
  }
  if (!actions) {
    return absl::InvalidArgumentError(
        absl::StrCat("is ", shape, ", and how many actions there are is not said: --actions A"));
  }
  if (*actions < 1 || *actions > static_cast<std::int64_t>(kMostStates) ||
      rows != columns * static_cast<std::uint64_t>(*actions)) {
    return absl::InvalidArgumentError(
        absl::StrCat("is ", shape, " with ", *actions, " actions; must be [S*A, S], a row for each state and action"));
  }
  data.num_states = static_cast<int>(columns);
  data.num_actions = static_cast<int>(*actions);
  return absl::OkStatus();
}

absl::Status CheckOffsets(std::span<const std::uint64_t> offsets, std::uint64_t entries) {
  if (offsets.front() != 0) {
    return absl::InvalidArgumentError(absl::StrCat("starts at ", offsets.front(), "; must start at 0"));
  }
  for (std::size_t row = 0; row + 1 < offsets.size(); ++row) {
    if (offsets[row] > offsets[row + 1]) {
      return absl::InvalidArgumentError(absl::StrCat("falls from ", offsets[row], " to ", offsets[row + 1], " at ",
                                                     row + 1, "; must never decrease"));
    }
  }
  if (offsets.back() != entries) {
    return absl::InvalidArgumentError(
        absl::StrCat("ends at ", offsets.back(), "; must end at the number of entries, ", entries));
  }
  return absl::OkStatus();
}

absl::Status SortRows(EnvironmentData& data) {
  return data.probabilities_f32.empty() ? SortRowsWith(data, data.probabilities)
                                        : SortRowsWith(data, data.probabilities_f32);
}

absl::Status ToSinglePrecision(EnvironmentData& data) {
  if (data.probabilities.empty()) return absl::OkStatus();
  if (absl::Status status = Reserve(data.probabilities_f32, data.probabilities.size()); !status.ok()) return status;
  data.probabilities_f32.assign(data.probabilities.begin(), data.probabilities.end());
  data.probabilities = {};
  return absl::OkStatus();
}

}  // namespace bilevel::client
