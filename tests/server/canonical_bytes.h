// The canonical bytes of an environment, written as the proto says, one number after the other.

#ifndef BILEVEL_TESTS_SERVER_CANONICAL_BYTES_H_
#define BILEVEL_TESTS_SERVER_CANONICAL_BYTES_H_

#include <cstdint>
#include <string>

#include "core/mdp/tabular_mdp.h"

namespace bilevel::server {

template <typename T>
void AppendNumber(T number, std::string& bytes) {
  bytes.append(reinterpret_cast<const char*>(&number), sizeof number);
}

inline std::string CanonicalBytes(const TabularMdpSpec& spec) {
  std::string bytes = "BILEVEL1";
  const bool termination = spec.termination_probability.size() != 0, initial = spec.initial_distribution.size() != 0;
  const bool available = !spec.available_actions.empty();
  AppendNumber<uint32_t>(
      (termination ? 1 : 0) + (initial ? 2 : 0) + (available ? 4 : 0) + (spec.single_precision ? 8 : 0), bytes);
  AppendNumber<uint32_t>(static_cast<uint32_t>(spec.num_states), bytes);
  AppendNumber<uint32_t>(static_cast<uint32_t>(spec.num_actions), bytes);
  AppendNumber<uint32_t>(0, bytes);
  AppendNumber<uint64_t>(spec.columns.size(), bytes);
  const auto append = [&bytes](const auto& array) {
    bytes.resize((bytes.size() + 7) / 8 * 8);
    for (const auto number : array) AppendNumber(number, bytes);
  };
  append(spec.offsets);
  if (termination) append(spec.termination_probability);
  if (initial) append(spec.initial_distribution);
  if (available) append(spec.available_actions);
  append(spec.columns);
  if (spec.single_precision) {
    append(std::vector<float>(spec.probabilities.begin(), spec.probabilities.end()));
  } else {
    append(spec.probabilities);
  }
  return bytes;
}

}  // namespace bilevel::server

#endif  // BILEVEL_TESTS_SERVER_CANONICAL_BYTES_H_
