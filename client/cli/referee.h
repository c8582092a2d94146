// What a session estimates, beside the truth that the caller knows.

#ifndef BILEVEL_CLIENT_CLI_REFEREE_H_
#define BILEVEL_CLIENT_CLI_REFEREE_H_

#include "absl/status/statusor.h"
#include "bilevel/v1/solution.pb.h"
#include "client/bilevel_client.h"
#include "client/cli/outer_step_report.h"

namespace bilevel::client {

class Referee {
 public:
  // truth: the whole problem, transitions included.
  Referee(const BilevelClient& client, v1::Problem truth);

  // The exact answer at x.
  absl::StatusOr<v1::Hypergradient> Evaluate(const v1::Array& x);

  static Comparison Compare(const v1::Array& estimated_gradient, const v1::Hypergradient& exact);

 private:
  const BilevelClient& client_;
  v1::EvaluateHypergradientRequest request_;  // and where the last one ended
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_REFEREE_H_
