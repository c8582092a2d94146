// Where `bilevel session feed` takes transitions from: a file, or a simulation.

#ifndef BILEVEL_CLIENT_CLI_FEED_SOURCE_H_
#define BILEVEL_CLIENT_CLI_FEED_SOURCE_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "client/bilevel_client.h"
#include "client/cli/flags.h"
#include "client/cli/transition_source.h"

namespace bilevel::client {

struct FeedSourceFlags {
  std::string columns;
  std::string simulate;
  std::string policy = "uniform";
  std::string at;
  std::optional<int> steps;
  std::optional<int> max_episode_steps;
  std::uint32_t seed = 0;

  void AddTo(FlagSet& flags);

  // file: empty with --simulate, which is held against the session where it is known. The client solves for --policy
  // soft. Errors that are the server's have its codes; the rest is INVALID_ARGUMENT or NOT_FOUND.
  absl::Status Check(const std::string& file) const;
  absl::StatusOr<std::unique_ptr<TransitionSource>> Open(const std::string& file,
                                                         const std::optional<v1::Session>& session,
                                                         const BilevelClient& client) const;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_FEED_SOURCE_H_
