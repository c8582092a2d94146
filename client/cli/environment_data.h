// An environment that was read from a file, in the arrays of its canonical layout.

#ifndef BILEVEL_CLIENT_CLI_ENVIRONMENT_DATA_H_
#define BILEVEL_CLIENT_CLI_ENVIRONMENT_DATA_H_

#include <cstdint>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bilevel/v1/problem.pb.h"
#include "client/environment_bytes.h"

namespace bilevel::client {

// As EnvironmentArrays, with storage.
struct EnvironmentData {
  int num_states = 0;
  int num_actions = 0;
  std::vector<std::uint64_t> offsets;
  std::vector<std::uint32_t> columns;
  std::vector<double> probabilities;
  std::vector<float> probabilities_f32;
  std::vector<double> termination;
  std::vector<double> initial;
  std::vector<std::uint8_t> available;

  EnvironmentArrays arrays() const;
};

// Sets S and A for a matrix of rows [S*A] and columns [S]. INVALID_ARGUMENT when no A is known, or it does not fit.
absl::Status SetSizes(std::uint64_t rows, std::uint64_t columns, std::optional<std::int64_t> actions,
                      EnvironmentData& data);

// INVALID_ARGUMENT unless they start at 0, never decrease, and end at the number of entries.
absl::Status CheckOffsets(std::span<const std::uint64_t> offsets, std::uint64_t entries);

// Brings the columns of each row into order, with their probabilities. Offsets must be checked before. INVALID_ARGUMENT
// when a column is no state, or comes twice in a row. Cost: O(entries) where they are in order.
absl::Status SortRows(EnvironmentData& data);

// Room for so many elements. RESOURCE_EXHAUSTED when there is none.
template <typename T>
absl::Status Reserve(std::vector<T>& vector, std::uint64_t count) {
  if (count <= vector.max_size()) {
    try {
      vector.reserve(count);
      return absl::OkStatus();
    } catch (const std::bad_alloc&) {
    }
  }
  return absl::ResourceExhaustedError("is larger than this machine's memory");
}

// Rounds probabilities to binary32, where they are not. RESOURCE_EXHAUSTED when there is no room. Cost: O(entries).
absl::Status ToSinglePrecision(EnvironmentData& data);

// The three kinds of files. Errors name the file, the place in it and the rule. INVALID_ARGUMENT, NOT_FOUND,
// RESOURCE_EXHAUSTED.

// NumPy's .npz: `indptr`, `indices`, `data` and `shape` of a CSR matrix [S*A, S] (scipy.sparse.save_npz), or
// `transitions`, [S, A, S] or [S*A, S], whose zeros are left out; beside them `num_actions`, `termination_probability`
// [S, A], `available_actions` [S, A], `initial_distribution` [S].
absl::StatusOr<EnvironmentData> ReadNpzEnvironment(const std::string& file, std::optional<int> actions);

// Matrix Market, real or integer, general, coordinate or array: [S*A, S]. Zeros of an array are left out.
absl::StatusOr<EnvironmentData> ReadMtxEnvironment(const std::string& file, std::optional<int> actions);

// Out of a problem. Dense transitions keep all entries, zeros too: what the problem says of stored transitions still
// fits. A map (`grid`) is no part of it. Errors are field paths, "transitions.sparse.offsets ...".
absl::StatusOr<EnvironmentData> ToEnvironmentData(const v1::Environment& environment);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_ENVIRONMENT_DATA_H_
