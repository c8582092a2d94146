#include "client/cli/sensitivities.h"

#include <cmath>
#include <functional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/array.h"
#include "client/cli/json.h"
#include "client/cli/report.h"

namespace bilevel::client {
namespace {

using Visit = std::function<void(const std::string& name, const v1::Sensitivity& sensitivity)>;

// Every number by its path in the problem.
void ForEach(const v1::Sensitivities& sensitivities, const Visit& visit) {
  for (int c = 0; c < sensitivities.contexts_size(); ++c) {
    const v1::ContextSensitivities& context = sensitivities.contexts(c);
    const std::string path = absl::StrCat("contexts[", c, "].");
    visit(path + "weight", context.weight());
    visit(path + "discount", context.discount());
    visit(path + "temperature", context.temperature());
    for (int t = 0; t < context.term_weights_size(); ++t) {
      visit(absl::StrCat(path, "objective[", t, "].weight"), context.term_weights(t));
    }
  }
  for (int g = 0; g < sensitivities.group_scales_size(); ++g) {
    visit(absl::StrCat("parameter_groups[", g, "].scale"), sensitivities.group_scales(g));
  }
  for (int b = 0; b < sensitivities.limits_size(); ++b) {
    visit(absl::StrCat("feasible_set[", b, "] limit"), sensitivities.limits(b));
  }
  visit("squared 2-norm penalty", sensitivities.squared_l2());
  visit("1-norm penalty", sensitivities.l1());
}

double Norm(const std::vector<double>& v) {
  double sum = 0;
  for (const double entry : v) sum = std::hypot(sum, entry);
  return sum;
}

}  // namespace

void PrintSensitivities(const v1::Sensitivities& sensitivities, std::ostream& out) {
  out << absl::StrFormat("\n  %-34s %-14s %s\n", "the optimum by", "d objective", "|dx|");
  ForEach(sensitivities, [&out](const std::string& name, const v1::Sensitivity& sensitivity) {
    const std::vector<double> x = Elements(sensitivity.parameters());
    const double length = Norm(x);
    if (sensitivity.objective() == 0 && length == 0) return;
    out << absl::StrFormat("  %-34s %-14s ", name, Short(sensitivity.objective()))
        << (x.empty() ? "-" : absl::StrFormat("%.4g", length)) << "\n";
  });
  if (!sensitivities.note().empty()) PrintLine("note", sensitivities.note(), out);
}

std::string SensitivitiesJson(const v1::Sensitivities& sensitivities) {
  JsonObject object;
  ForEach(sensitivities, [&object](const std::string& name, const v1::Sensitivity& sensitivity) {
    object.Add(
        name,
        JsonObject().Add("objective", sensitivity.objective()).Add("parameters", Elements(sensitivity.parameters())));
  });
  object.Add("lower_bounds", Elements(sensitivities.lower_bounds()))
      .Add("upper_bounds", Elements(sensitivities.upper_bounds()))
      .Add("note", sensitivities.note());
  return object.Text();
}

}  // namespace bilevel::client
