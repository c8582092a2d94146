// What the commands that send a problem have in common: reading it, the point x, and how inner problems are solved.

#ifndef BILEVEL_CLIENT_CLI_REQUESTS_H_
#define BILEVEL_CLIENT_CLI_REQUESTS_H_

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "client/cli/flags.h"
#include "client/cli/input.h"

namespace bilevel::client {

struct RequestFlags {
  std::string at;
  std::optional<absl::Duration> time_limit;
  std::optional<double> residual_tolerance;
  std::optional<double> adjoint_tolerance;
  std::optional<int> max_sweeps;
  std::string lower_level;
  bool validate_only = false;

  void AddTo(FlagSet& flags);

  // Fills problem, parameters, time_limit, lower_level and validate_only. INVALID_ARGUMENT or NOT_FOUND when a file or
  // --lower-level is wrong.
  template <typename Request>
  absl::Status Fill(const std::string& problem_file, Request& request) const {
    absl::StatusOr<v1::Problem> problem = ReadProblem(problem_file);
    if (!problem.ok()) return problem.status();
    *request.mutable_problem() = *std::move(problem);
    if (!at.empty()) {
      absl::StatusOr<v1::Array> parameters = ReadParameters(at);
      if (!parameters.ok()) return parameters.status();
      *request.mutable_parameters() = *std::move(parameters);
    }
    if (time_limit) *request.mutable_time_limit() = ToProto(*time_limit);
    request.set_validate_only(validate_only);
    return FillLowerLevel(*request.mutable_lower_level());
  }

 private:
  static google::protobuf::Duration ToProto(absl::Duration duration);
  absl::Status FillLowerLevel(v1::LowerLevelOptions& options) const;
};

}  // namespace bilevel::client

#endif  // BILEVEL_CLIENT_CLI_REQUESTS_H_
