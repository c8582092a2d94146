// How the leader moves x inside a session, as flags.

#ifndef BILEVEL_CLIENT_CLI_OUTER_LOOP_FLAGS_H_
#define BILEVEL_CLIENT_CLI_OUTER_LOOP_FLAGS_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "bilevel/v1/outer_loop.pb.h"
#include "client/cli/flags.h"

namespace bilevel::client {

struct OuterLoopFlags {
  std::string method;
  std::string steps;
  std::string averaging;
  std::optional<double> first_step;
  std::optional<double> gradient_tolerance;
  std::optional<double> confidence;
  std::optional<int> max_steps;
  std::optional<double> lower_level_tolerance;
  std::optional<double> weight_cap;
  bool subtract_bias = false;
  bool on_request = false;

  void AddTo(FlagSet& flags);
  // Without the estimator. Flags without --optimize are refused.
  absl::Status Fill(v1::OuterLoop& loop) const;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_OUTER_LOOP_FLAGS_H_
