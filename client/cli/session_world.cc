#include "client/cli/session_world.h"

#include "absl/strings/str_cat.h"

namespace bilevel::client {

absl::Status CheckWorld(const v1::Problem& world, const v1::Session& session) {
  if (world.contexts_size() != session.contexts_size()) {
    return absl::InvalidArgumentError(absl::StrCat("the world has ", world.contexts_size(), " contexts, and ",
                                                   session.name(), " ", session.contexts_size()));
  }
  for (int c = 0; c < session.contexts_size(); ++c) {
    if (!world.contexts(c).environment_name().empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "context ", c, " of the world names its environment; whoever acts in it needs it in the problem"));
    }
    const v1::Environment& environment = world.contexts(c).environment();
    const v1::ContextSize& size = session.contexts(c);
    if (environment.num_states() != size.num_states() || environment.num_actions() != size.num_actions()) {
      return absl::InvalidArgumentError(absl::StrCat("context ", c, " of the world has ", environment.num_states(),
                                                     " states and ", environment.num_actions(), " actions, that of ",
                                                     session.name(), " ", size.num_states(), " and ",
                                                     size.num_actions(), ": is it another world?"));
    }
  }
  return absl::OkStatus();
}

}  // namespace bilevel::client
