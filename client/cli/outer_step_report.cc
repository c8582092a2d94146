#include "client/cli/outer_step_report.h"

#include "absl/strings/str_format.h"
#include "client/cli/report.h"

namespace bilevel::client {
namespace {

constexpr int kRowsUnderAHeader = 20;
constexpr double kNotableShare = 0.2;

}  // namespace

JsonObject StepJson(const v1::OuterStep& step, const std::optional<Comparison>& compared) {
  std::vector<std::string> assumptions;
  for (const std::string& assumption : step.estimate().assumptions()) assumptions.push_back(JsonString(assumption));
  JsonObject object;
  object.Add("number", step.number())
      .Add("iteration", step.iteration())
      .Add("merged", step.merged())
      .Add("parameters_version", step.parameters_version())
      .Add("parameters", Elements(step.parameters()))
      .Add("direction", Elements(step.direction()))
      .Add("step_size", step.step_size())
      .Add("averaging", step.averaging())
      .Add("objective", step.objective())
      .Add("objective_standard_error", step.objective_standard_error())
      .Add("gradient_norm", step.gradient_norm())
      .Add("gradient_norm_error", step.gradient_norm_error())
      .Add("lower_level_residual", step.lower_level_residual())
      .Add("exploitation", Elements(step.estimate().exploitation()))
      .Add("exploration", Elements(step.estimate().exploration()))
      .Add("effective_sample_size", step.estimate().effective_sample_size())
      .Add("bias", Elements(step.estimate().bias()))
      .AddValue("assumptions", JsonList(assumptions));
  if (step.weight_sample_size() > 0) {
    object.Add("weight_sample_size", step.weight_sample_size())
        .Add("capped_share", step.capped_share())
        .Add("weight_bias", Elements(step.weight_bias()));
  }
  if (compared) {
    object.Add("exact_objective", compared->objective)
        .Add("exact_gradient_norm", compared->gradient_norm)
        .Add("cosine", compared->cosine)
        .Add("error", compared->error);
  }
  return object;
}

void PrintStep(const v1::OuterStep& step, const std::optional<Comparison>& compared, int row, std::ostream& out) {
  if (row % kRowsUnderAHeader == 0) {
    out << absl::StrFormat("%7s %12s %12s %11s %12s %11s %10s %9s %6s", "step", "transitions", "objective",
                           "std. error", "|gradient|", "std. error", "step size", "residual", "eta");
    out << (compared ? absl::StrFormat(" %12s %12s %8s %9s\n", "exact phi", "exact |grad|", "cosine", "rel. error")
                     : "\n");
  }
  out << absl::StrFormat("%7.0f %12.0f %12.6g %11.3g %12.4g %11.3g %10.3g %9.2g %6.3f", step.number(), step.merged(),
                         step.objective(), step.objective_standard_error(), step.gradient_norm(),
                         step.gradient_norm_error(), step.step_size(), step.lower_level_residual(), step.averaging());
  out << (compared ? absl::StrFormat(" %12.6g %12.4g %8.4f %9.3g\n", compared->objective, compared->gradient_norm,
                                     compared->cosine, compared->error)
                   : "\n");
  if (step.capped_share() > kNotableShare) {
    out << absl::StrFormat("%7s %.0f %% of the weights were cut: a larger --weight-cap has less bias and more noise\n",
                           "", 100 * step.capped_share());
  }
  out << std::flush;
}

}  // namespace bilevel::client
