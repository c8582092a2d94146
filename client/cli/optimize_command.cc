#include <filesystem>
#include <fstream>
#include <iostream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "client/cli/command.h"
#include "client/cli/interrupt.h"
#include "client/cli/plot.h"
#include "client/cli/progress.h"
#include "client/cli/report.h"
#include "client/cli/requests.h"
#include "client/cli/sensitivities.h"

namespace bilevel::client {
namespace {

struct OptimizeFlags {
  std::string method = "projected-gradient";
  std::optional<double> step_size;
  std::optional<double> gradient_tolerance;
  std::optional<int> max_iterations;
  std::optional<int> max_evaluations;
  std::optional<int> sweeps;
  std::optional<double> zeta;
  std::optional<int> memory;
  std::optional<int> max_products;
  std::optional<int> islands;
  std::optional<int> evaluations_per_round;
  std::optional<int> patience;
  std::optional<int> max_optima;
  std::string adjoint_step;
  std::uint32_t seed = 0;
  std::string plot;
  bool progress = false;
  bool policies = false;
  bool sensitivities = false;

  void AddTo(FlagSet& flags) {
    flags.Add("method", &method, "NAME",
              "portfolio, quasi-newton, truncated-newton, m-sobirl or projected-gradient, the default");
    flags.Add("gradient-tolerance", &gradient_tolerance, "NUMBER", "stop when |h| is at most this; default 1e-6");
    flags.Add("max-iterations", &max_iterations, "N", "steps of x, or rounds of portfolio; default 1000");
    flags.Add("max-evaluations", &max_evaluations, "N", "evaluations; default: no limit");
    flags.Add("step-size", &step_size, "NUMBER", "step of x; default: automatic, m-sobirl 0.1");
    flags.Add("sweeps", &sweeps, "N", "m-sobirl: soft sweeps for each step of x; default 1");
    flags.Add("adjoint-step", &adjoint_step, "NAME", "m-sobirl: gradient (default), l1 or krylov");
    flags.Add("zeta", &zeta, "NUMBER", "m-sobirl: step of the adjoint; default: automatic");
    flags.Add("memory", &memory, "N", "quasi-newton: pairs of steps and gradient changes kept; default 10");
    flags.Add("max-products", &max_products, "N", "truncated-newton: Hessian products for each step; default 50");
    flags.Add("islands", &islands, "N", "portfolio: searches side by side; default 8");
    flags.Add("evaluations-per-round", &evaluations_per_round, "N",
              "portfolio: evaluations of each island in a round; default 500");
    flags.Add("patience", &patience, "N", "portfolio: stop after so many rounds without a better point; default 12");
    flags.Add("max-optima", &max_optima, "N", "portfolio: local optima shown, best first; default 8");
    flags.Add("seed", &seed, "N", "portfolio: seed of what it draws; default 0");
    flags.Add("progress", &progress, "show progress even where standard error is no terminal");
    flags.Add("plot", &plot, "FILE",
              "write an SVG of objective, |h| and proven error bound against iterations; certifies every iteration");
    flags.Add("sensitivities", &sensitivities, "how the optimum answers to weights, budgets, discounts, temperatures");
    flags.Add("policies", &policies, "with --json: the policies too");
  }
};

absl::Status FillMSobirl(const OptimizeFlags& flags, v1::MSobirlOptions& options) {
  if (flags.step_size) options.set_step_size(*flags.step_size);
  if (flags.sweeps) options.set_sweeps(*flags.sweeps);
  if (flags.zeta) options.set_zeta(*flags.zeta);
  if (flags.adjoint_step.empty()) return absl::OkStatus();
  v1::MSobirlOptions::AdjointStep step;
  if (!v1::MSobirlOptions::AdjointStep_Parse("ADJOINT_STEP_" + absl::AsciiStrToUpper(flags.adjoint_step), &step)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--adjoint-step is \"", flags.adjoint_step, "\"; must be gradient, l1 or krylov"));
  }
  options.set_adjoint_step(step);
  return absl::OkStatus();
}

absl::Status FillMethod(const OptimizeFlags& flags, v1::OptimizeRequest& request) {
  const std::string method = absl::StrReplaceAll(flags.method, {{"_", "-"}});
  if (method != "m-sobirl" && method != "projected-gradient" && method != "quasi-newton" && method != "portfolio" &&
      method != "truncated-newton") {
    return absl::InvalidArgumentError(
        absl::StrCat("--method is \"", flags.method,
                     "\"; must be m-sobirl, projected-gradient, quasi-newton, truncated-newton or portfolio"));
  }
  if (method != "quasi-newton" && flags.memory) {
    return absl::InvalidArgumentError("--memory belongs to --method quasi-newton");
  }
  if (method != "truncated-newton" && flags.max_products) {
    return absl::InvalidArgumentError("--max-products belongs to --method truncated-newton");
  }
  if (method != "portfolio" && (flags.islands || flags.evaluations_per_round || flags.patience || flags.max_optima)) {
    return absl::InvalidArgumentError(
        "--islands, --evaluations-per-round, --patience and --max-optima belong to --method portfolio");
  }
  if (method == "m-sobirl") return FillMSobirl(flags, *request.mutable_m_sobirl());
  if (flags.sweeps || flags.zeta || !flags.adjoint_step.empty()) {
    return absl::InvalidArgumentError("--sweeps, --zeta and --adjoint-step belong to --method m-sobirl");
  }
  if (method == "quasi-newton") {
    if (flags.step_size) return absl::InvalidArgumentError("--step-size does not belong to --method quasi-newton");
    v1::QuasiNewtonOptions& options = *request.mutable_quasi_newton();
    if (flags.memory) options.set_memory(*flags.memory);
    return absl::OkStatus();
  }
  if (method == "truncated-newton") {
    if (flags.step_size) return absl::InvalidArgumentError("--step-size does not belong to --method truncated-newton");
    v1::TruncatedNewtonOptions& options = *request.mutable_truncated_newton();
    if (flags.max_products) options.set_max_products(*flags.max_products);
    return absl::OkStatus();
  }
  if (method == "portfolio") {
    if (flags.step_size) return absl::InvalidArgumentError("--step-size does not belong to --method portfolio");
    v1::PortfolioOptions& options = *request.mutable_portfolio();
    if (flags.islands) options.set_islands(*flags.islands);
    if (flags.evaluations_per_round) options.set_evaluations_per_round(*flags.evaluations_per_round);
    if (flags.patience) options.set_patience(*flags.patience);
    if (flags.max_optima) options.set_max_optima(*flags.max_optima);
    return absl::OkStatus();
  }
  v1::ProjectedGradientOptions& options = *request.mutable_projected_gradient();
  if (flags.step_size) options.set_step_size(*flags.step_size);
  return absl::OkStatus();
}

absl::Status Fill(const OptimizeFlags& flags, v1::OptimizeRequest& request) {
  if (flags.gradient_tolerance) request.set_gradient_tolerance(*flags.gradient_tolerance);
  if (flags.max_iterations) request.set_max_iterations(*flags.max_iterations);
  if (flags.max_evaluations) request.set_max_evaluations(*flags.max_evaluations);
  request.set_seed(flags.seed);
  request.set_return_policies(flags.policies);
  request.set_return_sensitivities(flags.sensitivities);
  request.set_return_stationarity(true);
  if (!flags.plot.empty()) {
    request.set_return_history(true);
    request.set_certify_progress(true);
  }
  return FillMethod(flags, request);
}

std::string OptimaJson(const v1::OptimizeResult& result) {
  std::vector<std::string> optima;
  for (const v1::LocalOptimum& optimum : result.optima()) {
    optima.push_back(JsonObject()
                         .Add("objective", optimum.objective())
                         .Add("gradient_norm", optimum.gradient_norm())
                         .Add("hits", optimum.hits())
                         .Add("parameters", Elements(optimum.parameters()))
                         .Text());
  }
  return JsonList(optima);
}

void PrintOptima(const v1::OptimizeResult& result, std::ostream& out) {
  if (result.optima().empty()) return;
  out << "\n  local optima, best first   |h|        descents that ended there\n";
  for (const v1::LocalOptimum& optimum : result.optima()) {
    out << absl::StrFormat("  %-26.9g %-10.2g %d\n", optimum.objective(), optimum.gradient_norm(), optimum.hits());
  }
}

int PrintResult(const v1::OptimizeResult& result, bool json) {
  if (json) {
    JsonObject object = HypergradientJson(result.best());
    std::vector<std::string> notes;
    for (const std::string& note : result.notes()) notes.push_back(JsonString(note));
    AddTermination(result.termination(), object)
        .Add("iterations", result.iterations())
        .Add("evaluations", result.evaluations())
        .Add("hessian_products", result.hessian_products())
        .Add("method", result.method())
        .Add("seed", result.seed())
        .AddValue("notes", JsonList(notes));
    if (result.has_sensitivities()) object.AddValue("sensitivities", SensitivitiesJson(result.sensitivities()));
    if (result.has_stationarity()) object.Add("stationarity", StationarityJson(result.stationarity()));
    if (!result.optima().empty()) object.AddValue("optima", OptimaJson(result));
    std::cout << AddRun(result.run_info(), object).Pretty();
    return ExitCodeOf(result.termination());
  }
  PrintLine("method", result.method(), std::cout);
  const std::string products =
      result.hessian_products() > 0 ? ", " + Counted(result.hessian_products(), "Hessian product") : "";
  PrintLine("iterations",
            absl::StrFormat("%d, %s%s, %.3g s", result.iterations(), Counted(result.evaluations(), "evaluation"),
                            products, result.run_info().elapsed_seconds()),
            std::cout);
  for (const std::string& note : result.notes()) PrintLine("note", note, std::cout);
  PrintTermination(result.termination(), std::cout);
  if (result.has_stationarity()) PrintStationarity(result.stationarity(), std::cout);
  PrintHypergradient(result.best(), std::cout);
  PrintOptima(result, std::cout);
  if (result.has_sensitivities()) PrintSensitivities(result.sensitivities(), std::cout);
  return ExitCodeOf(result.termination());
}

// After Ctrl-C or a lost connection gRPC brings no result, so the last progress event speaks. It carries no gradient at
// its best point.
void PrintBestSoFar(const v1::OptimizeProgress& progress, const std::string& reason, bool json) {
  constexpr const char* kDetail = "the best point of the last progress event, not certified";
  if (json) {
    std::cout << JsonObject()
                     .Add("objective", progress.best_objective())
                     .Add("parameters", Elements(progress.best_parameters()))
                     .Add("termination", reason)
                     .Add("termination_detail", kDetail)
                     .Add("iterations", progress.iteration())
                     .Add("evaluations", progress.evaluations())
                     .Pretty();
  } else {
    PrintLine("stopped", absl::StrCat(reason, ": ", kDetail), std::cout);
    PrintLine("iterations", absl::StrCat(progress.iteration()), std::cout);
    PrintLine("objective", Short(progress.best_objective()), std::cout);
    std::cout << "parameters\n" << IndentJson(JsonList(Elements(progress.best_parameters()))) << "\n";
  }
}

// Before the run, which may be long.
absl::Status CheckWritable(const std::string& file) {
  if (file.empty()) return absl::OkStatus();
  const bool existed = std::filesystem::exists(file);
  const bool writable = std::ofstream(file, std::ios::app).good();
  if (!existed && writable) std::filesystem::remove(file);
  if (writable) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--plot is \"", file, "\", which cannot be written"));
}

absl::Status WritePlot(const std::string& file, const v1::OptimizeResult& result) {
  std::ofstream out(file);
  out << PlotHistory(result.history());
  out.close();
  return out ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrCat(file, " cannot be written"));
}

int Follow(OptimizeStream stream, ProgressLine line, const std::string& plot, bool json) {
  const OnInterrupt cancel([&stream] { stream.Cancel(); });
  std::optional<v1::OptimizeProgress> last;
  for (const absl::StatusOr<v1::OptimizeEvent>& event : stream) {
    if (event.ok() && event->has_progress()) {
      last = event->progress();
      line.Show(*last);
      continue;
    }
    line.Finish();
    if (!event.ok()) {
      // Before the first evaluation has ended there is no best point.
      if (!last || last->evaluations() == 0) return Fail(event.status());
      PrintBestSoFar(*last, absl::StatusCodeToString(event.status().code()), json);
      return absl::IsCancelled(event.status()) ? kExitNotConverged : Fail(event.status());
    }
    if (event->has_estimate()) return PrintEstimate(event->estimate(), json);
    const int exit = PrintResult(event->result(), json);
    if (plot.empty()) return exit;
    const absl::Status plotted = WritePlot(plot, event->result());
    return plotted.ok() ? exit : UsageError(plotted);
  }
  return kExitFailed;
}

}  // namespace

int RunOptimize(GlobalOptions globals, std::span<const std::string> arguments) {
  RequestFlags request_flags;
  OptimizeFlags optimize_flags;
  FlagSet flags(
      "optimize FILE",
      "Optimises x for the problem in FILE, from --at. Ctrl-C stops the server's work and prints the best point\n"
      "so far.");
  optimize_flags.AddTo(flags);
  request_flags.AddTo(flags);
  globals.AddTo(flags);
  std::vector<std::string> operands;
  if (const std::optional<int> exit = ParseOrExit(flags, arguments, 1, operands)) return *exit;
  v1::OptimizeRequest request;
  if (absl::Status status = Fill(optimize_flags, request); !status.ok()) return UsageError(status);
  if (absl::Status status = CheckWritable(optimize_flags.plot); !status.ok()) return UsageError(status);
  if (absl::Status status = request_flags.Fill(operands[0], request); !status.ok()) return UsageError(status);
  BlockInterrupts();
  const absl::StatusOr<BilevelClient> client = Connect(globals);
  if (!client.ok()) return UsageError(client.status());
  const auto when = optimize_flags.progress ? ProgressLine::When::kAlways : ProgressLine::When::kOnTerminal;
  return Follow(client->Optimize(request), ProgressLine(when, request), optimize_flags.plot, globals.json);
}

}  // namespace bilevel::client
