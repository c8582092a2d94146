#include "client/cli/requests.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace bilevel::client {

void RequestFlags::AddTo(FlagSet& flags) {
  flags.Add("at", &at, "FILE", "x: a JSON list, or an earlier --json output; default: zeros");
  flags.Add("time-limit", &time_limit, "DURATION", "stop after this long and print what was reached, e.g. 60s");
  flags.Add("residual-tolerance", &residual_tolerance, "NUMBER", "of |V - T V|_inf, units of reward");
  flags.Add("adjoint-tolerance", &adjoint_tolerance, "NUMBER", "relative 1-norm residual of adjoint systems");
  flags.Add("max-sweeps", &max_sweeps, "N", "limit of soft sweeps");
  flags.Add("lower-level", &lower_level, "METHOD", "sweeps, newton-direct or newton-krylov; default: automatic");
  flags.Add("validate-only", &validate_only, "only check the request and estimate its cost");
}

google::protobuf::Duration RequestFlags::ToProto(absl::Duration duration) {
  google::protobuf::Duration proto;
  absl::Duration rest;
  proto.set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &rest));
  proto.set_nanos(static_cast<int>(absl::ToInt64Nanoseconds(rest)));
  return proto;
}

absl::Status RequestFlags::FillLowerLevel(v1::LowerLevelOptions& options) const {
  if (residual_tolerance) options.set_residual_tolerance(*residual_tolerance);
  if (adjoint_tolerance) options.set_adjoint_tolerance(*adjoint_tolerance);
  if (max_sweeps) options.set_max_sweeps(*max_sweeps);
  if (lower_level.empty()) return absl::OkStatus();
  v1::LowerLevelMethod method;
  const std::string name = absl::AsciiStrToUpper(absl::StrReplaceAll(lower_level, {{"-", "_"}}));
  if (!v1::LowerLevelMethod_Parse("LOWER_LEVEL_METHOD_" + name, &method)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--lower-level is \"", lower_level, "\"; must be sweeps, newton-direct or newton-krylov"));
  }
  options.set_method(method);
  return absl::OkStatus();
}

}  // namespace bilevel::client
