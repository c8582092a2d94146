// Environments of problems.

#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/array.h"
#include "client/cli/environment_data.h"

namespace bilevel::client {
namespace {

absl::Status Wrong(const std::string& field, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(field, " ", what));
}

absl::StatusOr<std::vector<double>> Numbers(const std::string& field, const v1::Array& array,
                                            std::optional<std::uint64_t> count) {
  absl::StatusOr<std::vector<double>> numbers = ToVector(array);
  if (!numbers.ok()) return Wrong(field, std::string(numbers.status().message()));
  if (count && numbers->size() != *count) {
    return Wrong(field, absl::StrCat("has ", numbers->size(), " elements; must have ", *count));
  }
  return numbers;
}

// Whole numbers in [0, most].
template <typename T>
absl::Status Whole(const std::string& field, const v1::Array& array, std::optional<std::uint64_t> count, double most,
                   std::vector<T>& whole) {
  const absl::StatusOr<std::vector<double>> numbers = Numbers(field, array, count);
  if (!numbers.ok()) return numbers.status();
  for (std::size_t i = 0; i < numbers->size(); ++i) {
    const double number = (*numbers)[i];
    if (!(number >= 0 && number <= most) || number != std::floor(number)) {
      return Wrong(absl::StrCat(field, "[", i, "]"),
                   absl::StrCat("is ", number, "; must be a whole number in [0, ", most, "]"));
    }
    whole.push_back(static_cast<T>(number));
  }
  return absl::OkStatus();
}

// Of one precision or the other.
absl::Status Probabilities(const std::string& field, const v1::Array& array, std::optional<std::uint64_t> count,
                           EnvironmentData& data) {
  absl::StatusOr<std::vector<double>> numbers = Numbers(field, array, count);
  if (!numbers.ok()) return numbers.status();
  if (array.dtype() == v1::DTYPE_F32) {
    data.probabilities_f32.assign(numbers->begin(), numbers->end());
  } else {
    data.probabilities = *std::move(numbers);
  }
  return absl::OkStatus();
}

absl::Status Sparse(const v1::SparseMatrix& sparse, std::uint64_t rows, EnvironmentData& data) {
  constexpr double kMost = 9e15;
  if (absl::Status status = Probabilities("transitions.sparse.values", sparse.values(), std::nullopt, data);
      !status.ok()) {
    return status;
  }
  const std::uint64_t entries = std::max(data.probabilities.size(), data.probabilities_f32.size());
  absl::Status status = Whole("transitions.sparse.offsets", sparse.offsets(), rows + 1, kMost, data.offsets);
  if (!status.ok()) return status;
  status = CheckOffsets(data.offsets, entries);
  if (!status.ok()) return Wrong("transitions.sparse.offsets", std::string(status.message()));
  status = Whole("transitions.sparse.columns", sparse.columns(), entries, data.num_states - 1, data.columns);
  if (!status.ok()) return status;
  // The order of stored transitions means something in a problem: it is not mended here.
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::uint64_t k = data.offsets[row] + 1; k < data.offsets[row + 1]; ++k) {
      if (data.columns[k - 1] < data.columns[k]) continue;
      return Wrong("transitions.sparse.columns", absl::StrCat("row ", row, " has column ", data.columns[k], " after ",
                                                              data.columns[k - 1], "; must be strictly increasing"));
    }
  }
  return absl::OkStatus();
}

absl::Status Dense(const v1::Array& dense, std::uint64_t rows, EnvironmentData& data) {
  const auto states = static_cast<std::uint64_t>(data.num_states);
  std::uint64_t entries = 0;
  if (__builtin_mul_overflow(rows, states, &entries)) return Wrong("transitions.dense", "has too few elements");
  if (absl::Status status = Probabilities("transitions.dense", dense, entries, data); !status.ok()) return status;
  for (std::uint64_t row = 0; row <= rows; ++row) data.offsets.push_back(row * states);
  for (std::uint64_t k = 0; k < entries; ++k) data.columns.push_back(static_cast<std::uint32_t>(k % states));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<EnvironmentData> ToEnvironmentData(const v1::Environment& environment) {
  EnvironmentData data;
  data.num_states = environment.num_states();
  data.num_actions = environment.num_actions();
  if (data.num_states < 1) return Wrong("num_states", absl::StrCat("is ", data.num_states, "; must be >= 1"));
  if (data.num_actions < 1) return Wrong("num_actions", absl::StrCat("is ", data.num_actions, "; must be >= 1"));
  const auto states = static_cast<std::uint64_t>(data.num_states);
  const std::uint64_t rows = states * static_cast<std::uint64_t>(data.num_actions);
  absl::Status status;
  switch (environment.transitions().storage_case()) {
    case v1::Matrix::kSparse:
      status = Sparse(environment.transitions().sparse(), rows, data);
      break;
    case v1::Matrix::kDense:
      status = Dense(environment.transitions().dense(), rows, data);
      break;
    default:
      status = Wrong("transitions", "are absent; an environment that is uploaded has them");
  }
  const auto reals = [&status](const char* field, bool given, const v1::Array& array, std::uint64_t count,
                               std::vector<double>& to) {
    if (!status.ok() || !given) return;
    absl::StatusOr<std::vector<double>> numbers = Numbers(field, array, count);
    if (numbers.ok()) to = *std::move(numbers);
    status = numbers.status();
  };
  reals("termination_probability", environment.has_termination_probability(), environment.termination_probability(),
        rows, data.termination);
  reals("initial_distribution", environment.has_initial_distribution(), environment.initial_distribution(), states,
        data.initial);
  if (status.ok() && environment.has_available_actions()) {
    status = Whole("available_actions", environment.available_actions(), rows, 1, data.available);
  }
  if (!status.ok()) return status;
  return data;
}

}  // namespace bilevel::client
