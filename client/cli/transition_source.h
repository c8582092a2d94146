// Transitions one after another, from wherever they come.

#ifndef BILEVEL_CLIENT_CLI_TRANSITION_SOURCE_H_
#define BILEVEL_CLIENT_CLI_TRANSITION_SOURCE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "client/transition.h"

namespace bilevel::client {

class TransitionSource {
 public:
  TransitionSource() = default;
  virtual ~TransitionSource() = default;
  TransitionSource(const TransitionSource&) = delete;
  TransitionSource& operator=(const TransitionSource&) = delete;

  // The next one; nullopt behind the last. The same source gives the same transitions again, so that whoever resumes
  // may skip. INVALID_ARGUMENT: place and column of what is wrong.
  virtual absl::StatusOr<std::optional<Transition>> Next() = 0;

  // Where the n-th stands, n >= 1, for messages: "steps.csv:18".
  virtual std::string PlaceOf(std::uint64_t number) const = 0;
};

// FILE.csv (or anything else that is no .npy), or - for standard input: a header that names columns, then a line for
// each transition, all cells filled but those of optional columns. INVALID_ARGUMENT or NOT_FOUND when the header does
// not do.
absl::StatusOr<std::unique_ptr<TransitionSource>> OpenCsvTransitions(const std::string& file);

// FILE.npy: a structured array whose fields are columns, or [N, k] numbers with the columns' names, separated by
// commas, in `columns`.
absl::StatusOr<std::unique_ptr<TransitionSource>> OpenNpyTransitions(const std::string& file,
                                                                     const std::string& columns);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_TRANSITION_SOURCE_H_
