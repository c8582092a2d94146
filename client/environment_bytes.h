// The canonical bytes of an environment, to upload it (bilevel/v1/environment_service.proto has the layout).
//
//   absl::StatusOr<EnvironmentBytes> bytes = EnvironmentBytes::Create({.num_states = 2, .num_actions = 1,
//       .offsets = offsets, .columns = columns, .probabilities = probabilities});
//
// Large arrays are not copied: any piece of the bytes is put together where it is asked for.

#ifndef BILEVEL_CLIENT_ENVIRONMENT_BYTES_H_
#define BILEVEL_CLIENT_ENVIRONMENT_BYTES_H_

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

namespace bilevel::client {

// S states, A actions, E stored transition probabilities; row s*A + a. Meanings and rules are those of v1::Environment.
struct EnvironmentArrays {
  int num_states = 0;
  int num_actions = 0;
  // [S*A + 1]: row r holds entries offsets[r] .. offsets[r + 1].
  std::span<const std::uint64_t> offsets;
  // [E], strictly increasing within a row.
  std::span<const std::uint32_t> columns;
  // [E], one of the two.
  std::span<const double> probabilities;
  std::span<const float> probabilities_f32;
  // [S*A]; empty: all 0.
  std::span<const double> termination;
  // [S]; empty: what Environment says of its absence.
  std::span<const double> initial;
  // [S*A], 0 or 1; empty: all 1.
  std::span<const std::uint8_t> available;
};

class EnvironmentBytes {
 public:
  // The arrays must outlive it, and stay as they are. What says no more than the default is left out: termination that
  // is all 0, actions that are all available. INVALID_ARGUMENT when sizes do not fit together; what the arrays hold is
  // the server's to judge. Cost: O(S*A).
  static absl::StatusOr<EnvironmentBytes> Create(const EnvironmentArrays& arrays);

  // Of the whole, which ends with the probabilities.
  std::uint64_t size() const { return size_; }

  // Fills `piece` with the bytes from `offset` on; offset + piece.size() <= size().
  void Read(std::uint64_t offset, std::span<char> piece) const;

 private:
  static constexpr std::size_t kHeaderBytes = 32;

  // An array, and where it begins in the whole. Between two there are zeros.
  struct Section {
    std::uint64_t begin;
    std::span<const char> bytes;
  };

  EnvironmentBytes() = default;

  void Append(std::span<const std::byte> array);

  std::array<char, kHeaderBytes> header_{};
  std::vector<Section> sections_;  // behind the header, by place
  std::uint64_t size_ = kHeaderBytes;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_ENVIRONMENT_BYTES_H_
