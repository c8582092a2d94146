// Where what lies in the canonical bytes of an environment (bilevel/v1/environment_service.proto).

#ifndef BILEVEL_SERVER_ENVIRONMENTS_CANONICAL_LAYOUT_H_
#define BILEVEL_SERVER_ENVIRONMENTS_CANONICAL_LAYOUT_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "core/mdp/tabular_mdp_builder.h"
#include "server/limits.h"

namespace bilevel::server {

inline constexpr size_t kHeaderBytes = 32;

enum class Section { kOffsets, kTermination, kInitial, kAvailable, kColumns, kProbabilities };

struct CanonicalLayout {
  // A section's bytes are [begin, end); between sections, and before the first, there are zeros.
  struct Place {
    Section section;
    uint64_t begin = 0;
    uint64_t end = 0;
  };

  TabularMdpSizes sizes;
  std::vector<Place> places;
  uint64_t total_bytes = 0;
};

// Of the header's numbers alone. A field error (magic, flags, num_states, num_actions, reserved, num_transitions), or
// RESOURCE_EXHAUSTED (SIZE_LIMIT_EXCEEDED).
absl::StatusOr<CanonicalLayout> ReadHeader(std::span<const char, kHeaderBytes> header, const Limits& limits);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_ENVIRONMENTS_CANONICAL_LAYOUT_H_
