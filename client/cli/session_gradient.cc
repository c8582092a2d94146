#include <algorithm>
#include <cmath>
#include <iostream>
#include <numeric>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "client/cli/estimator_flags.h"
#include "client/cli/input.h"
#include "client/cli/report.h"
#include "client/cli/session_command.h"

namespace bilevel::client {
namespace {

// Of a normal distribution, two-sided.
constexpr double k95Percent = 1.959963984540054;

std::string EstimatorName(v1::Estimator estimator) {
  return std::string(absl::StripPrefix(v1::Estimator_Name(estimator), "ESTIMATOR_"));
}

struct Columns {
  explicit Columns(const v1::HypergradientEstimate& estimate)
      : gradient(Elements(estimate.gradient())),
        standard_error(Elements(estimate.standard_error())),
        bias(Elements(estimate.bias())),
        exploitation(Elements(estimate.exploitation())),
        exploration(Elements(estimate.exploration())) {}

  std::vector<double> gradient;
  std::vector<double> standard_error;  // empty without error bars; so are the next three
  std::vector<double> bias;
  std::vector<double> exploitation;
  std::vector<double> exploration;
};

std::string Cell(const std::vector<double>& column, std::size_t i) {
  return i < column.size() ? Short(column[i]) : "-";
}

// The largest first, where there are too many for a screen.
std::vector<std::size_t> Shown(const std::vector<double>& gradient, std::size_t rows) {
  std::vector<std::size_t> order(gradient.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (order.size() <= rows) return order;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t i, std::size_t j) { return std::abs(gradient[i]) > std::abs(gradient[j]); });
  order.resize(rows);
  return order;
}

void PrintEntries(const Columns& columns, std::size_t rows) {
  const std::vector<std::size_t> shown = Shown(columns.gradient, rows);
  if (shown.size() < columns.gradient.size()) {
    std::cout << absl::StrFormat("\nthe %d largest of %d gradient entries\n", shown.size(), columns.gradient.size());
  } else {
    std::cout << "\n";
  }
  const bool parts = !columns.exploitation.empty();
  std::cout << absl::StrFormat("%8s %13s %12s %12s   %-28s", "entry", "gradient", "std. error", "bias",
                               "95 % interval, bias apart");
  std::cout << (parts ? absl::StrFormat("%13s %13s\n", "exploitation", "exploration") : "\n");
  for (const std::size_t i : shown) {
    std::string interval = "-";
    if (i < columns.standard_error.size()) {
      const double half = k95Percent * columns.standard_error[i];
      interval = absl::StrFormat("[%s, %s]", Short(columns.gradient[i] - half), Short(columns.gradient[i] + half));
    }
    std::cout << absl::StrFormat("%8d %13s %12s %12s   %-28s", i, Short(columns.gradient[i]),
                                 Cell(columns.standard_error, i), Cell(columns.bias, i), interval);
    std::cout << (parts ? absl::StrFormat("%13s %13s\n", Cell(columns.exploitation, i), Cell(columns.exploration, i))
                        : "\n");
  }
}

void Print(const v1::EstimateHypergradientResponse& response, std::size_t rows) {
  const v1::HypergradientEstimate& estimate = response.estimate();
  PrintLine("estimator", EstimatorName(estimate.estimator()), std::cout);
  std::string objective = Short(estimate.objective());
  if (estimate.has_standard_error()) {
    objective += absl::StrFormat("   std. error %s, bias %s", Short(estimate.objective_standard_error()),
                                 Short(estimate.objective_bias()));
  }
  PrintLine("objective", objective, std::cout);
  std::string samples = absl::StrFormat("%.0f transitions", estimate.transitions());
  if (estimate.trajectories() > 0) {
    const bool pairs = absl::StartsWith(EstimatorName(estimate.estimator()), "PREFERENCE");
    samples += absl::StrFormat(", %.0f %s, %.0f left out", estimate.trajectories(), pairs ? "pairs" : "trajectories",
                               estimate.trajectories_left_out());
  }
  if (estimate.effective_sample_size() > 0) {
    samples += absl::StrFormat("; effective samples %.4g", estimate.effective_sample_size());
  }
  PrintLine("samples", samples, std::cout);
  if (estimate.unseen_rows() > 0) {
    PrintLine("never seen", absl::StrFormat("%.0f state-action pairs: there the prior stands", estimate.unseen_rows()),
              std::cout);
  }
  PrintLine("x",
            estimate.parameters_version() > 0 ? absl::StrFormat("version %.0f", estimate.parameters_version())
                                              : "the request's own",
            std::cout);
  PrintEntries(Columns(estimate), rows);
  if (estimate.assumptions_size() > 0) std::cout << "\nassumed:\n";
  for (const std::string& assumption : estimate.assumptions()) std::cout << "  - " << assumption << "\n";
}

void PrintJson(const v1::EstimateHypergradientResponse& response) {
  const v1::HypergradientEstimate& estimate = response.estimate();
  const Columns columns(estimate);
  std::vector<std::string> assumptions;
  for (const std::string& assumption : estimate.assumptions()) assumptions.push_back(JsonString(assumption));
  JsonObject object;
  object.Add("estimator", EstimatorName(estimate.estimator()))
      .Add("objective", estimate.objective())
      .Add("objective_standard_error", estimate.objective_standard_error())
      .Add("objective_bias", estimate.objective_bias())
      .Add("gradient", columns.gradient)
      .Add("standard_error", columns.standard_error)
      .Add("bias", columns.bias)
      .Add("exploitation", columns.exploitation)
      .Add("exploration", columns.exploration)
      .Add("effective_sample_size", estimate.effective_sample_size())
      .Add("trajectories", estimate.trajectories())
      .Add("trajectories_left_out", estimate.trajectories_left_out())
      .Add("transitions", estimate.transitions())
      .Add("unseen_rows", estimate.unseen_rows())
      .Add("parameters_version", estimate.parameters_version())
      .AddValue("assumptions", JsonList(assumptions))
      .Add("seed", static_cast<double>(estimate.seed()));
  if (response.has_on_model()) {
    JsonObject model = HypergradientJson(response.on_model());
    object.Add("on_model", AddTermination(response.on_model().termination(), model));
  }
  std::cout << AddRun(response.run_info(), object).Pretty();
}

google::protobuf::Duration ToProto(absl::Duration duration) {
  google::protobuf::Duration proto;
  absl::Duration rest;
  proto.set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &rest));
  proto.set_nanos(static_cast<int>(absl::ToInt64Nanoseconds(rest)));
  return proto;
}

}  // namespace

int RunSessionGradient(GlobalOptions globals, std::span<const std::string> arguments) {
  EstimatorFlags estimator;
  std::string at;
  std::optional<absl::Duration> time_limit;
  std::optional<int> rows;
  std::uint32_t seed = 0;
  FlagSet flags(
      "session gradient NAME",
      "Objective and hyper-gradient from the transitions so far, with standard errors. Intervals cover chance\n"
      "alone: bias stands beside them, and what was assumed below.");
  estimator.AddTo(flags, "plug-in");
  flags.Add("at", &at, "FILE", "x: a JSON list, or an earlier --json output; default: the session's");
  flags.Add("seed", &seed, "N", "of what is drawn; default 0");
  flags.Add("rows", &rows, "N", "entries shown in a table; default 20");
  flags.Add("time-limit", &time_limit, "DURATION", "stop after this long and print what was reached, e.g. 60s");
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 1, operands)) return *exit;
  if (rows.value_or(0) < 0) {
    return UsageError(absl::InvalidArgumentError(absl::StrCat("--rows is ", *rows, "; must be >= 0")));
  }
  v1::EstimateHypergradientRequest request;
  request.set_name(SessionName(operands[0]));
  if (absl::Status status = estimator.Fill(*request.mutable_options()); !status.ok()) return UsageError(status);
  request.mutable_options()->set_seed(seed);
  if (time_limit) *request.mutable_time_limit() = ToProto(*time_limit);
  if (!at.empty()) {
    absl::StatusOr<v1::Array> parameters = ReadParameters(at);
    if (!parameters.ok()) return UsageError(parameters.status());
    *request.mutable_parameters() = *std::move(parameters);
  }
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());

  const absl::StatusOr<v1::EstimateHypergradientResponse> response = client->EstimateHypergradient(request);
  if (!response.ok()) return Fail(response.status());
  if (globals.json) {
    PrintJson(*response);
  } else {
    Print(*response, static_cast<std::size_t>(rows.value_or(20)));
  }
  return response->has_on_model() ? ExitCodeOf(response->on_model().termination()) : static_cast<int>(kExitOk);
}

}  // namespace bilevel::client
