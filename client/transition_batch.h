// Transitions as the columns of a v1::TransitionBatch.

#ifndef BILEVEL_CLIENT_TRANSITION_BATCH_H_
#define BILEVEL_CLIENT_TRANSITION_BATCH_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "bilevel/v1/transition_stream.pb.h"
#include "client/transition.h"

namespace bilevel::client {

// Numbers first, first + 1, ... . All have the same optional columns and feature widths; next_features may be missing
// where terminated. Columns that are 0 throughout are left out where that is their default.
v1::TransitionBatch EncodeBatch(std::uint64_t first, std::span<const Transition> transitions);

// What a rejection is about: "batch.state[17]" is column "state", transition 17.
struct BatchPlace {
  std::string column;
  std::optional<std::uint64_t> index;
};
// From the field path of the rejection; where it has none, both are empty.
BatchPlace PlaceOf(const v1::Rejected& rejected);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_TRANSITION_BATCH_H_
