// Four-Rooms through the service: what the global search finds in a minute, beside what was asked for and published.
//
//   four_rooms_optima [--quick] [--seed N] [--json FILE] SERVER_ADDRESS
//
// Nine settings with two goals, three with one; portfolio from x ~ 0.01 N(0, 1). Every x that comes back is evaluated
// once more, cold, and must give the reported objective. --quick: three settings, 5000 evaluations each. --json: for
// four_rooms_by_hand.py.
// Exit code 1 when a value is missed, comes later than a minute, or is not confirmed.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "client/array.h"
#include "client/bilevel_client.h"
#include "client/problems/four_rooms.h"
#include "client/problems/random.h"

namespace bilevel::client {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kAllowedSeconds = 60;
constexpr int kTimeLimitSeconds = 59;  // of the server, so that all is back within the minute
constexpr int kQuickEvaluations = 5000;
constexpr double kConfirmation = 1e-9;  // largest difference between reported and repeated objective
constexpr int kWrittenOptima = 8;       // to --json; these are polished
constexpr const char* kProtocol =
    "published: Thoma et al. 2024, arXiv:2406.01575: mean over 10 seeds of the last 1000 of 10,000 steps, one goal\n"
    "  sampled a step; HPGD was trained at intended-move probability 0.67 by mistake and scored at 0.56. Theirs are\n"
    "  local methods from a single start; ours is a global search, scored on the exact objective.\n"
    "  AMD: adaptive model design, ZO: zeroth-order. Nothing is published for one goal.\n"
    "objective: F(x) at the best x found; bound: proven, on its error; |h|: norm of the gradient there.";

struct Setting {
  FourRoomsOptions options;
  double required;
  const char* published;  // the best mean, and whose it is
  const char* method;
  bool quick = false;
};

constexpr Setting kSettings[] = {
    {{.temperature = 0.001, .beta = 1}, 1.155, "0.91", "HPGD", true},
    {{.temperature = 0.001, .beta = 3}, 0.933, "0.51", "HPGD, AMD"},
    {{.temperature = 0.001, .beta = 5}, 0.735, "0.46", "all three"},
    {{.temperature = 0.003, .beta = 1}, 1.005, "1.00", "AMD"},
    {{.temperature = 0.003, .beta = 3}, 0.788, "0.73", "HPGD", true},
    {{.temperature = 0.003, .beta = 5}, 0.573, "0.32", "AMD, ZO"},
    {{.temperature = 0.005, .beta = 1}, 1.452, "1.28", "AMD"},
    {{.temperature = 0.005, .beta = 3}, 1.334, "1.13", "AMD"},
    {{.temperature = 0.005, .beta = 5}, 1.217, "0.97", "AMD", true},
    {{.temperature = 0.001, .beta = 5, .two_goals = false}, 0.75, "-", "-"},
    {{.temperature = 0.003, .beta = 5, .two_goals = false}, 0.57, "-", "-"},
    {{.temperature = 0.005, .beta = 5, .two_goals = false}, 1.58, "-", "-"},
};

double SecondsSince(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// Fails loudly: a benchmark of errors is worth nothing.
template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(value);
}

struct Flags {
  bool quick = false;
  std::uint32_t seed = 0;
  std::string json;
  std::string address;
};

struct Run {
  v1::OptimizeResult result;
  double seconds_to_required = std::numeric_limits<double>::quiet_NaN();  // NaN: not reached
  double seconds = 0;
};

Run Search(const BilevelClient& client, const Setting& setting, const Flags& flags) {
  v1::OptimizeRequest request;
  *request.mutable_problem() = FourRooms(setting.options);
  *request.mutable_parameters() = MakeArray(NormalStart(request.problem().num_parameters(), 0.01, flags.seed));
  request.mutable_portfolio()->set_max_optima(256);  // all, to count them
  if (flags.quick) request.set_max_evaluations(kQuickEvaluations);
  request.set_seed(flags.seed);
  request.set_progress_every(1);
  request.mutable_time_limit()->set_seconds(kTimeLimitSeconds);

  Run run;
  const auto begin = Clock::now();
  for (const OptimizeStream::Event& streamed : client.Optimize(request)) {
    const v1::OptimizeEvent event = Must(streamed);
    const double objective = event.has_result() ? event.result().best().objective() : event.progress().best_objective();
    if (std::isnan(run.seconds_to_required) && objective >= setting.required) {
      run.seconds_to_required = SecondsSince(begin);
    }
    if (event.has_result()) run.result = event.result();
  }
  run.seconds = SecondsSince(begin);
  return run;
}

// |reported - F(x)|, from a call that knows nothing of the search.
double Difference(const BilevelClient& client, const v1::Problem& problem, const v1::Array& x, double reported) {
  v1::EvaluateHypergradientRequest request;
  *request.mutable_problem() = problem;
  *request.mutable_parameters() = x;
  return std::abs(Must(client.EvaluateHypergradient(request)).points(0).objective() - reported);
}

double LargestDifference(const BilevelClient& client, const Setting& setting, const v1::OptimizeResult& result) {
  const v1::Problem problem = FourRooms(setting.options);
  double largest = Difference(client, problem, result.best().parameters(), result.best().objective());
  for (const v1::LocalOptimum& optimum : result.optima()) {
    largest = std::max(largest, Difference(client, problem, optimum.parameters(), optimum.objective()));
  }
  return largest;
}

std::string PointJson(double objective, const v1::Array& parameters) {
  char number[32];
  std::snprintf(number, sizeof number, "%.17g", objective);
  std::string json = std::string("{\"objective\": ") + number + ", \"parameters\": [";
  const std::vector<double> x = Must(ToVector(parameters));
  for (std::size_t i = 0; i < x.size(); ++i) {
    std::snprintf(number, sizeof number, "%s%.17g", i == 0 ? "" : ", ", x[i]);
    json += number;
  }
  return json + "]}";
}

// {"temperature", "beta", "goals": [[row, column], ..], "points": [{"objective", "parameters"}, ..]}, the best first.
std::string SettingJson(const FourRoomsOptions& options, const v1::OptimizeResult& result) {
  char head[128];
  std::snprintf(head, sizeof head, "{\"temperature\": %.17g, \"beta\": %.17g, \"goals\": %s, \"points\": [\n",
                options.temperature, options.beta, options.two_goals ? "[[1, 9], [11, 11]]" : "[[1, 9]]");
  std::string json = head + PointJson(result.best().objective(), result.best().parameters());
  for (int i = 0; i < std::min(kWrittenOptima, result.optima_size()); ++i) {
    json += ",\n" + PointJson(result.optima(i).objective(), result.optima(i).parameters());
  }
  return json + "]}";
}

// Searches one setting and prints its line; whether all is as it should be.
bool Report(const BilevelClient& client, const Setting& setting, const Flags& flags, std::string& json) {
  const Run run = Search(client, setting, flags);
  const v1::Hypergradient& best = run.result.best();
  const double difference = LargestDifference(client, setting, run.result);
  const bool reached = run.seconds_to_required <= kAllowedSeconds && best.objective() >= setting.required;
  const bool confirmed = difference <= kConfirmation;
  const bool in_time = run.seconds <= kAllowedSeconds;
  std::printf("%6g %4g %5d %10.6f %7.0e %7.0e %8.3f %9s %-10s %9.1f %7.1f %8d %6d %8.0e  %s%s%s%s\n",
              setting.options.temperature, setting.options.beta, setting.options.two_goals ? 2 : 1, best.objective(),
              best.certificate().objective_error_bound(), best.gradient_norm(), setting.required, setting.published,
              setting.method, run.seconds_to_required, run.seconds, run.result.evaluations(), run.result.optima_size(),
              difference, reached && confirmed && in_time ? "ok" : "FAIL", reached ? "" : " missed",
              confirmed ? "" : " unconfirmed", in_time ? "" : " late");
  std::fflush(stdout);
  if (!json.empty()) json += ",\n";
  json += SettingJson(setting.options, run.result);
  return reached && confirmed && in_time;
}

bool Parse(int argc, char** argv, Flags& flags) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--quick") {
      flags.quick = true;
    } else if (argument == "--seed" && i + 1 < argc) {
      flags.seed = static_cast<std::uint32_t>(std::strtoul(argv[++i], nullptr, 10));
    } else if (argument == "--json" && i + 1 < argc) {
      flags.json = argv[++i];
    } else if (flags.address.empty() && !argument.starts_with("--")) {
      flags.address = argument;
    } else {
      return false;
    }
  }
  return !flags.address.empty();
}

bool Write(const std::string& path, const std::string& text) {
  std::FILE* file = std::fopen(path.c_str(), "w");
  if (file == nullptr) return false;
  const bool written = std::fputs(text.c_str(), file) >= 0;
  return std::fclose(file) == 0 && written;
}

int Main(const Flags& flags) {
  const BilevelClient client = Must(BilevelClient::Connect(flags.address));
  std::printf("%s\nportfolio from x ~ 0.01 N(0, 1), seed %u, at most %d s\n", kProtocol, flags.seed, kTimeLimitSeconds);
  std::printf("%6s %4s %5s %10s %7s %7s %8s %9s %-10s %9s %7s %8s %6s %8s\n", "lambda", "beta", "goals", "objective",
              "bound", "|h|", "required", "published", "by", "required s", "total s", "evals", "optima", "repeated");
  bool ok = true;
  std::string json;
  for (const Setting& setting : kSettings) {
    if (!flags.quick || setting.quick) ok = Report(client, setting, flags, json) && ok;
  }
  if (!flags.json.empty() && !Write(flags.json, "[" + json + "]\n")) {
    std::fprintf(stderr, "cannot write %s\n", flags.json.c_str());
    return 1;
  }
  return ok ? 0 : 1;
}

}  // namespace
}  // namespace bilevel::client

int main(int argc, char** argv) {
  bilevel::client::Flags flags;
  if (!bilevel::client::Parse(argc, argv, flags)) {
    std::fprintf(stderr, "usage: four_rooms_optima [--quick] [--seed N] [--json FILE] SERVER_ADDRESS\n");
    return 2;
  }
  return bilevel::client::Main(flags);
}
