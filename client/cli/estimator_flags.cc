#include "client/cli/estimator_flags.h"

#include "absl/strings/str_cat.h"
#include "client/cli/session_command.h"

namespace bilevel::client {
namespace {

constexpr char kNames[] =
    "plug-in, return, reward-to-go, critic, one-step, zeroth-order, preference-fit, preference or "
    "preference-excess-risk";

}  // namespace

void EstimatorFlags::AddTo(FlagSet& flags, const std::string& default_estimator) {
  flags.Add("estimator", &estimator, "NAME", absl::StrCat(kNames, "; default ", default_estimator));
  flags.Add("critic", &critic, "NAME",
            "of estimators from trajectories and preferences: model (default), learned or continuations");
  flags.Add("baseline", &baseline, "NAME", "of estimators from trajectories and preferences: default, none or model");
  flags.Add("redraws", &redraws, "N", "models redrawn for error bars, or directions of zeroth-order; default 64");
  flags.Add("radius", &radius, "NUMBER", "zeroth-order: length of the differences; default 0.01");
}

absl::Status EstimatorFlags::Fill(v1::EstimatorOptions& options) const {
  if (!estimator.empty()) {
    const auto parsed = ParseEnum("estimator", "ESTIMATOR_", estimator, v1::Estimator_Parse, kNames);
    if (!parsed.ok()) return parsed.status();
    options.set_estimator(*parsed);
  }
  if (!critic.empty()) {
    const auto parsed = ParseEnum("critic", "CRITIC_", critic, v1::Critic_Parse, "model, learned or continuations");
    if (!parsed.ok()) return parsed.status();
    options.set_critic(*parsed);
  }
  if (!baseline.empty()) {
    const auto parsed = ParseEnum("baseline", "BASELINE_", baseline, v1::Baseline_Parse, "default, none or model");
    if (!parsed.ok()) return parsed.status();
    options.set_baseline(*parsed);
  }
  if (redraws) options.set_redraws(*redraws);
  if (radius) options.set_radius(*radius);
  return absl::OkStatus();
}

}  // namespace bilevel::client
