// How a hyper-gradient is estimated from transitions, as flags.

#ifndef BILEVEL_CLIENT_CLI_ESTIMATOR_FLAGS_H_
#define BILEVEL_CLIENT_CLI_ESTIMATOR_FLAGS_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "bilevel/v1/estimate.pb.h"
#include "client/cli/flags.h"

namespace bilevel::client {

struct EstimatorFlags {
  std::string estimator;
  std::string critic;
  std::string baseline;
  std::optional<int> redraws;
  std::optional<double> radius;

  // Without --seed, which commands share with other draws.
  void AddTo(FlagSet& flags, const std::string& default_estimator);
  absl::Status Fill(v1::EstimatorOptions& options) const;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_ESTIMATOR_FLAGS_H_
