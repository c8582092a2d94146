#include "client/cli/report.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "client/array.h"

namespace bilevel::client {
namespace {

constexpr int kLargestEntriesShown = 10;
constexpr int kAllEntriesShown = 20;

// The extent of the last axis; 0 for a list.
int Columns(const v1::Array& array) { return array.shape_size() > 1 ? array.shape(array.shape_size() - 1) : 0; }

std::string MatrixJson(const v1::Array& array) { return JsonRows(Elements(array), Columns(array)); }

JsonObject CertificateJson(const v1::Certificate& certificate) {
  return JsonObject()
      .Add("backward_error", certificate.backward_error())
      .Add("adjoint_backward_error", certificate.adjoint_backward_error())
      .Add("error_estimate", certificate.error_estimate())
      .Add("error_bound", certificate.error_bound())
      .Add("objective_error_bound", certificate.objective_error_bound());
}

JsonObject& AddCost(const v1::LowerLevelSolution& solution, JsonObject& object) {
  return object.Add("method", LowerLevelName(solution.method()))
      .Add("sweeps", solution.sweeps())
      .Add("newton_steps", solution.newton_steps())
      .Add("products", solution.products())
      .Add("factorizations", solution.factorizations());
}

std::string CostText(const v1::LowerLevelSolution& solution) {
  std::vector<std::string> parts = {LowerLevelName(solution.method())};
  const auto add = [&parts](int count, const std::string& what) {
    if (count > 0) parts.push_back(Counted(count, what));
  };
  add(solution.sweeps(), "sweep");
  add(solution.newton_steps(), "Newton step");
  add(solution.products(), "product");
  add(solution.factorizations(), "factorisation");
  return absl::StrJoin(parts, ", ");
}

// Indices of the entries that are shown: all of a short vector, else the largest in magnitude.
std::vector<std::size_t> ShownEntries(const std::vector<double>& entries) {
  std::vector<std::size_t> order(entries.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (order.size() <= kAllEntriesShown) return order;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t i, std::size_t j) { return std::abs(entries[i]) > std::abs(entries[j]); });
  order.resize(kLargestEntriesShown);
  return order;
}

void PrintEntries(const v1::Hypergradient& point, std::ostream& out) {
  const std::vector<double> x = Elements(point.parameters());
  const std::vector<double> gradient = Elements(point.gradient());
  if (gradient.empty() || gradient.size() != x.size()) return;
  const std::vector<std::size_t> shown = ShownEntries(gradient);
  if (shown.size() < x.size()) {
    out << absl::StrFormat("\nthe %d largest of %d gradient entries\n", shown.size(), x.size());
  } else {
    out << "\n";
  }
  out << absl::StrFormat("%8s %16s %16s\n", "entry", "parameter", "gradient");
  for (const std::size_t i : shown) {
    out << absl::StrFormat("%8d %16s %16s\n", i, Short(x[i]), Short(gradient[i]));
  }
}

std::string KindText(v1::Stationarity::Kind kind) {
  switch (kind) {
    case v1::Stationarity::KIND_OPTIMUM:
      return "optimum";
    case v1::Stationarity::KIND_SADDLE:
      return "saddle";
    case v1::Stationarity::KIND_FLAT:
      return "flat";
    case v1::Stationarity::KIND_NOT_STATIONARY:
      return "not stationary";
    default:
      return "not known";
  }
}

}  // namespace

std::vector<double> Elements(const v1::Array& array) {
  absl::StatusOr<std::vector<double>> elements = ToVector(array);
  return elements.ok() ? *std::move(elements) : std::vector<double>();
}

std::string ReasonName(const v1::Termination& termination) {
  return absl::StrReplaceAll(v1::Termination::Reason_Name(termination.reason()), {{"REASON_", ""}});
}

std::string LowerLevelName(v1::LowerLevelMethod method) {
  if (method == v1::LOWER_LEVEL_METHOD_UNSPECIFIED) return "";
  return absl::AsciiStrToLower(
      absl::StrReplaceAll(v1::LowerLevelMethod_Name(method), {{"LOWER_LEVEL_METHOD_", ""}, {"_", "-"}}));
}

JsonObject HypergradientJson(const v1::Hypergradient& point) {
  std::vector<std::string> contexts;
  for (int c = 0; c < point.contexts_size(); ++c) {
    JsonObject context = LowerLevelJson(point.contexts(c));
    if (c < point.context_objectives_size()) context.Add("objective", point.context_objectives(c));
    contexts.push_back(context.Text());
  }
  const auto list = [](const auto& values) { return JsonList(std::vector<double>(values.begin(), values.end())); };
  return JsonObject()
      .Add("objective", point.objective())
      .Add("gradient", Elements(point.gradient()))
      .Add("gradient_norm", point.gradient_norm())
      .Add("parameters", Elements(point.parameters()))
      .Add("certificate", CertificateJson(point.certificate()))
      .AddValue("context_objectives", list(point.context_objectives()))
      .AddValue("multipliers", list(point.multipliers()))
      .AddValue("contexts", JsonList(contexts));
}

JsonObject& AddTermination(const v1::Termination& termination, JsonObject& object) {
  return object.Add("termination", ReasonName(termination)).Add("termination_detail", termination.detail());
}

JsonObject StationarityJson(const v1::Stationarity& stationarity) {
  const bool known = stationarity.kind() != v1::Stationarity::KIND_UNSPECIFIED;
  const std::string name = v1::Stationarity::Kind_Name(stationarity.kind());
  return JsonObject()
      .Add("kind", known ? std::string(absl::StripPrefix(name, "KIND_")) : "")
      .Add("gradient_norm", stationarity.gradient_norm())
      .Add("face_dimension", stationarity.face_dimension())
      .Add("smallest_curvature", stationarity.smallest_curvature())
      .Add("largest_curvature", stationarity.largest_curvature())
      .Add("curvature_tolerance", stationarity.curvature_tolerance())
      .Add("direction", Elements(stationarity.direction()))
      .AddValue("exact", stationarity.exact() ? "true" : "false")
      .Add("products", stationarity.products());
}

JsonObject& AddRun(const v1::RunInfo& run, JsonObject& object) {
  return object.Add("run_info", JsonObject()
                                    .Add("elapsed_seconds", run.elapsed_seconds())
                                    .Add("queue_seconds", run.queue_seconds())
                                    .Add("server_version", run.server_version()));
}

JsonObject LowerLevelJson(const v1::LowerLevelSolution& solution) {
  JsonObject object;
  object.Add("label", solution.label());
  if (solution.has_value()) object.Add("value", Elements(solution.value()));
  if (solution.has_q()) object.AddValue("q", MatrixJson(solution.q()));
  if (solution.has_policy()) object.AddValue("policy", MatrixJson(solution.policy()));
  if (solution.has_log_policy()) object.AddValue("log_policy", MatrixJson(solution.log_policy()));
  AddCost(solution, object);
  object.Add("certificate", JsonObject()
                                .Add("backward_error", solution.certificate().backward_error())
                                .Add("value_error_bound", solution.certificate().value_error_bound())
                                .Add("log_policy_error_bound", solution.certificate().log_policy_error_bound()));
  return AddTermination(solution.termination(), object);
}

void PrintHypergradient(const v1::Hypergradient& point, std::ostream& out) {
  const v1::Certificate& certificate = point.certificate();
  PrintLine("objective",
            absl::StrFormat("%s   error <= %.2g", Short(point.objective()), certificate.objective_error_bound()), out);
  PrintLine("projected gradient", Short(point.gradient_norm()), out);
  PrintLine(
      "gradient error",
      absl::StrFormat("<= %.2g (bound), %.2g (estimate)", certificate.error_bound(), certificate.error_estimate()),
      out);
  PrintLine("backward error",
            absl::StrFormat("%.2g (Bellman), %.2g (adjoint)", certificate.backward_error(),
                            certificate.adjoint_backward_error()),
            out);
  for (int c = 0; c < point.contexts_size(); ++c) {
    const v1::LowerLevelSolution& solution = point.contexts(c);
    const double objective = c < point.context_objectives_size() ? point.context_objectives(c) : NAN;
    const bool shares = c < point.multipliers_size() && point.multipliers(c) > 0;
    const std::string share = shares ? absl::StrCat("   multiplier ", Short(point.multipliers(c))) : "";
    PrintLine(absl::StrCat("context ", c),
              absl::StrCat(Short(objective), share, "   ", solution.label(), solution.label().empty() ? "" : "; ",
                           CostText(solution)),
              out);
  }
  PrintEntries(point, out);
}

void PrintTermination(const v1::Termination& termination, std::ostream& out) {
  PrintLine("stopped",
            absl::StrCat(ReasonName(termination), termination.detail().empty() ? "" : ": ", termination.detail()), out);
}

void PrintStationarity(const v1::Stationarity& stationarity, std::ostream& out) {
  std::string text;
  if (stationarity.kind() == v1::Stationarity::KIND_NOT_STATIONARY) {
    text = absl::StrCat("not stationary: projected gradient ", Short(stationarity.gradient_norm()), " > tolerance");
  } else if (stationarity.kind() == v1::Stationarity::KIND_OPTIMUM && stationarity.face_dimension() == 0) {
    text = "optimum: held by its constraints, or contexts that tie, alone";
  } else if (stationarity.products() == 0) {
    text = "not known: followers unsolved, or no time left";
  } else {
    text = absl::StrFormat("%s: curvature in [%s, %s] on a face of dimension %d", KindText(stationarity.kind()),
                           Short(stationarity.smallest_curvature()), Short(stationarity.largest_curvature()),
                           stationarity.face_dimension());
    if (!stationarity.exact())
      absl::StrAppend(&text, ", as far as ", Counted(stationarity.products(), "product"), " can tell");
  }
  PrintLine("stationarity", text, out);
}

void PrintLowerLevel(const v1::LowerLevelSolution& solution, int rows, std::ostream& out) {
  const std::vector<double> value = Elements(solution.value());
  const std::vector<double> policy = Elements(solution.policy());
  const std::size_t actions = value.empty() ? 0 : policy.size() / value.size();
  const v1::LowerLevelCertificate& certificate = solution.certificate();
  PrintLine("context", absl::StrCat(solution.label(), solution.label().empty() ? "" : "; ", CostText(solution)), out);
  PrintLine("value error", absl::StrFormat("<= %.2g", certificate.value_error_bound()), out);
  PrintLine("log-policy error", absl::StrFormat("<= %.2g", certificate.log_policy_error_bound()), out);
  PrintLine("backward error", absl::StrFormat("%.2g", certificate.backward_error()), out);
  PrintTermination(solution.termination(), out);
  out << absl::StrFormat("\n%8s %14s   policy\n", "state", "value");
  const std::size_t shown = std::min(value.size(), static_cast<std::size_t>(rows));
  for (std::size_t s = 0; s < shown; ++s) {
    out << absl::StrFormat("%8d %14s  ", s, Short(value[s]));
    for (std::size_t a = 0; a < actions; ++a) out << absl::StrFormat(" %8.4f", policy[s * actions + a]);
    out << "\n";
  }
  if (shown < value.size())
    out << absl::StrFormat("%8s %d more states; --rows or --json shows them\n", "...", value.size() - shown);
  out << "\n";
}

void PrintLine(const std::string& name, const std::string& value, std::ostream& out) {
  out << absl::StrFormat("%-18s %s\n", name, value);
}

std::string Short(double number) { return absl::StrFormat("%.6g", number + 0.0); }

std::string Bytes(double count) {
  constexpr double kNext = 1000;
  if (count < kNext) return absl::StrFormat("%.0f bytes", count);
  const char* unit = "kB";
  for (const char* larger : {"MB", "GB", "TB"}) {
    if (count < 999.5 * kNext) break;
    count /= kNext;
    unit = larger;
  }
  return absl::StrFormat("%.3g %s", count / kNext, unit);
}

std::string Counted(int count, const std::string& noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

}  // namespace bilevel::client
