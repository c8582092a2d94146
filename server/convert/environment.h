// bilevel.v1.Environment -> TabularMdp.

#ifndef BILEVEL_SERVER_CONVERT_ENVIRONMENT_H_
#define BILEVEL_SERVER_CONVERT_ENVIRONMENT_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "bilevel/v1/problem.pb.h"
#include "core/mdp/tabular_mdp.h"
#include "server/limits.h"

namespace bilevel::server {

struct EnvironmentSize {
  int64_t states = 0;
  int64_t actions = 0;
  int64_t entries = 0;  // stored transition probabilities

  int64_t rows() const { return states * actions; }
};

// Sizes alone, checked against what the message holds: afterwards states * actions and entries are no larger than the
// message. INVALID_ARGUMENT (a field error), or RESOURCE_EXHAUSTED (SIZE_LIMIT_EXCEEDED). Cost: O(1).
absl::StatusOr<EnvironmentSize> MeasureEnvironment(const v1::Environment& environment, const Limits& limits);

// Everything checked. Cost: O(entries).
absl::StatusOr<TabularMdp> DecodeEnvironment(const v1::Environment& environment, const Limits& limits);

// The layout for pictures; no answer depends on it, so DecodeEnvironment does not look at it.
absl::Status CheckGrid(const v1::Environment& environment);

// Whether both messages are the same environment, in the same form; their grids may differ.
bool SameEnvironment(const v1::Environment& a, const v1::Environment& b);

}  // namespace bilevel::server

#endif  // BILEVEL_SERVER_CONVERT_ENVIRONMENT_H_
