#include "client/cli/outer_loop_flags.h"

#include <array>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/session_command.h"

namespace bilevel::client {
namespace {

// FIRST, FIRST,POWER or FIRST,POWER,SCALE.
absl::Status ParseSchedule(const std::string& flag, const std::string& text, v1::StepSchedule& schedule) {
  const std::vector<std::string> parts = absl::StrSplit(text, ',');
  std::array<double, 3> numbers{};
  bool valid = parts.size() <= numbers.size();
  for (std::size_t i = 0; valid && i < parts.size(); ++i) valid = absl::SimpleAtod(parts[i], &numbers[i]);
  if (!valid) {
    return absl::InvalidArgumentError(
        absl::StrCat("--", flag, " is \"", text, "\"; must be FIRST, FIRST,POWER or FIRST,POWER,SCALE"));
  }
  schedule.set_first(numbers[0]);
  if (parts.size() > 1) schedule.set_power(numbers[1]);
  if (parts.size() > 2) schedule.set_scale(numbers[2]);
  return absl::OkStatus();
}

}  // namespace

void OuterLoopFlags::AddTo(FlagSet& flags) {
  flags.Add("optimize", &method, "METHOD",
            "let x move by itself: sobirl or stoc-sobirl-storm; --estimator and its like are then of its steps");
  flags.Add("first-step", &first_step, "NUMBER", "length of the longest step of x; default 0.5");
  flags.Add("steps", &steps, "F[,P[,S]]",
            "step sizes F / (1 + k / S)^P instead; P is 0.7 and S 1 unless given, F,0 is constant");
  flags.Add("gradient-tolerance", &gradient_tolerance, "NUMBER",
            "stop when the projected gradient's norm, error bar included, is at most this; default 1e-3");
  flags.Add("confidence", &confidence, "NUMBER", "standard errors in that error bar; default 1.96");
  flags.Add("max-steps", &max_steps, "N", "stop after so many; default 10000");
  flags.Add("lower-level-tolerance", &lower_level_tolerance, "NUMBER",
            "no step while the follower's estimated Bellman residual is above; default: none");
  flags.Add("subtract-bias", &subtract_bias, "take off what the estimator says of its bias");
  flags.Add("on-request", &on_request, "steps by `session step` alone; default: one with each policy");
  flags.Add("averaging", &averaging, "F[,P[,S]]", "stoc-sobirl-storm: eta_k = F / (1 + k / S)^P, as for --steps");
  flags.Add("weight-cap", &weight_cap, "NUMBER", "stoc-sobirl-storm: weights are cut to this; default 10");
}

absl::Status OuterLoopFlags::Fill(v1::OuterLoop& loop) const {
  const std::string name = UpperName(method);
  if (name.empty()) {
    if (first_step || !steps.empty() || gradient_tolerance || confidence || max_steps || lower_level_tolerance ||
        subtract_bias || on_request || !averaging.empty() || weight_cap) {
      return absl::InvalidArgumentError(
          "--first-step, --steps, --gradient-tolerance, --confidence, --max-steps, --lower-level-tolerance, "
          "--subtract-bias, --on-request, --averaging and --weight-cap belong to --optimize");
    }
    return absl::OkStatus();
  }
  if (name == "SOBIRL") {
    if (!averaging.empty() || weight_cap) {
      return absl::InvalidArgumentError("--averaging and --weight-cap belong to --optimize stoc-sobirl-storm");
    }
    loop.mutable_sobirl();
  } else if (name == "STOC_SOBIRL_STORM") {
    v1::StocSobirlStorm& storm = *loop.mutable_stoc_sobirl_storm();
    if (weight_cap) storm.set_weight_cap(*weight_cap);
    if (!averaging.empty()) {
      if (absl::Status status = ParseSchedule("averaging", averaging, *storm.mutable_averaging()); !status.ok()) {
        return status;
      }
    }
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("--optimize is \"", method, "\"; must be sobirl or stoc-sobirl-storm"));
  }
  if (!steps.empty()) {
    if (absl::Status status = ParseSchedule("steps", steps, *loop.mutable_steps()); !status.ok()) return status;
  }
  if (first_step) loop.set_first_step(*first_step);
  if (gradient_tolerance) loop.set_gradient_tolerance(*gradient_tolerance);
  if (confidence) loop.set_confidence(*confidence);
  if (max_steps) loop.set_max_steps(*max_steps);
  if (lower_level_tolerance) loop.set_lower_level_tolerance(*lower_level_tolerance);
  loop.set_subtract_bias(subtract_bias);
  loop.set_on_request(on_request);
  return absl::OkStatus();
}

}  // namespace bilevel::client
