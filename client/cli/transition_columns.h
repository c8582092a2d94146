// The columns that a file of transitions may have: episode, state, action, next_state, kind, context, leader_reward,
// behavior_log_probability, parameters_version, features_0, features_1, ..., next_features_0, ... (episode_id and
// step_kind, as the service calls them, do as well).

#ifndef BILEVEL_CLIENT_CLI_TRANSITION_COLUMNS_H_
#define BILEVEL_CLIENT_CLI_TRANSITION_COLUMNS_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/transition.h"

namespace bilevel::client {

struct TransitionColumn {
  enum class Kind {
    kEpisode,
    kState,
    kAction,
    kNextState,
    kStepKind,
    kContext,
    kLeaderReward,
    kBehaviorLogProbability,
    kParametersVersion,
    kFeature,
    kNextFeature
  };
  Kind kind = Kind::kState;
  std::size_t index = 0;  // of a feature
  std::string name;       // as the file has it

  bool real() const;
};

// INVALID_ARGUMENT for a name that is none, a name given twice, state, action or next_state missing, or features that
// do not count up from 0.
absl::StatusOr<std::vector<TransitionColumn>> ParseColumns(std::span<const std::string> names);

// Put a number into its place. INVALID_ARGUMENT, "column state is 1.5; must be ...", for one that does not fit.
absl::Status SetColumn(const TransitionColumn& column, double number, Transition& transition);
absl::Status SetColumn(const TransitionColumn& column, std::uint64_t number, Transition& transition);
// The same for text; kind may be a word. Empty: absent, where the column is optional.
absl::Status SetColumn(const TransitionColumn& column, const std::string& text, Transition& transition);

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_TRANSITION_COLUMNS_H_
