// What a session is worth after the world or the follower has changed under it.
//
//   drift [--quick] [--csv FILE] [--svg FILE]
//
// A random MDP (S = 20, A = 3, n = 8, discount 0.9, temperature 0.3) at x = 0 under windows of 2000 transitions,
// significance 0.01. After 51,000 transitions, in the middle of a window,
//
//   world      actions slip with probability 0.35 instead of 0.05; a walker tries all actions alike, the policy is the
//              plug-in's
//   follower   an OBSERVED population acts at temperature 0.15 instead of 0.3; the policy is as it was seen
//
// Arms, which see the same transitions:
//
//   no test           everything counts for ever
//   tell and forget   core/streaming/drift.h
//   oracle            told of the change: a session that begins with it
//
// Columns, over 20 seeds: rms distance of the policies from the true new one, |pi - pi*|_F / sqrt(S); rms error of the
// plug-in hyper-gradient, in units of the true new one's length. Where the follower's temperature changes no arm can
// mend the latter: it is the session's problem that says the temperature. Then how long smaller and larger changes go
// unnoticed, and false alarms. Fails where 100,000 transitions after the change forgetting is not within a fifth of the
// oracle, or where false alarms are more than the significance makes credible.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "core/streaming/session_learner.h"
#include "tests/benchmarks/log_log_plot.h"
#include "tests/benchmarks/referees/draw_leader_return.h"
#include "tests/support/drifting_stream.h"

namespace bilevel {
namespace {

using Route = SessionLearnerOptions::Route;
using testing::DriftingStream;

constexpr int kStates = 20, kActions = 3;
constexpr uint64_t kWindow = 2000, kNever = 1'000'000'000;

struct Flags {
  bool quick = false;
  std::string csv, svg;
};

// A world and its follower, with what is exact there.
struct Setting {
  Setting(double slip, double temperature) : problem(Make(slip, temperature)) {
    const HypergradientPoint point = *HypergradientEvaluator(problem, {}).Evaluate(X(), {});
    pi = point.contexts[0].solution.backup.pi;
    gradient = point.gradient;
  }
  static Vector X() { return Vector::Zero(8); }
  const TabularMdp& mdp() const { return *problem.contexts[0].mdp; }

  BilevelProblem problem;
  Vector pi, gradient;

 private:
  static BilevelProblem Make(double slip, double temperature) {
    testing::ProblemNumbers numbers = referees::DrawLeaderReturn(1, kStates);
    numbers.contexts[0].mdp = testing::WithSlip(numbers.contexts[0].mdp, slip);
    numbers.contexts[0].temperature = temperature;
    return testing::Build(numbers);
  }
};

struct Change {
  const char* name;
  Route route;
  Setting before, after;
  Vector acts_before, acts_after;
};

Change WithSlipOf(double slip) {
  const Vector uniform = Vector::Constant(Eigen::Index{kStates} * kActions, 1.0 / kActions);
  return {"world", Route::kPlugIn, Setting(0.05, 0.3), Setting(slip, 0.3), uniform, uniform};
}

Change AtTemperature(double temperature) {
  Change change{"follower", Route::kObserved, Setting(0.05, 0.3), Setting(0.05, temperature), {}, {}};
  change.acts_before = change.before.pi;
  change.acts_after = change.after.pi;
  return change;
}

SessionLearner Begin(const Change& change, std::optional<DriftOptions> drift) {
  return *SessionLearner::Create(change.before.problem, true, Setting::X(),
                                 {.route = change.route, .update_interval = kNever, .drift = drift});
}

// Mean squares.
struct Errors {
  double policy = 0, gradient = 0;
};

Errors ErrorsOf(SessionLearner& learner, const Setting& truth) {
  const PolicySnapshot snapshot = **learner.Update({});
  const auto found = *EstimatePlugIn(learner.problem(), learner.Data(false).contexts, Setting::X(), {.redraws = 0}, {});
  return {(snapshot.contexts[0].pi - truth.pi).squaredNorm() / kStates,
          (found.point.gradient - truth.gradient).squaredNorm() / truth.gradient.squaredNorm()};
}

constexpr const char* kArms[] = {"no test", "tell and forget", "oracle"};

// Whether forgetting came near the oracle.
bool Run(const Change& change, const Flags& flags, std::ofstream& csv, std::vector<LogLogPlot::Panel>& panels) {
  const uint64_t begins = flags.quick ? 21'000 : 51'000;
  std::vector<uint64_t> after = {500, 1000, 2000, 5000, 10'000, 20'000};
  if (!flags.quick) after.insert(after.end(), {50'000, 100'000});
  const int seeds = flags.quick ? 4 : 20;
  std::vector<std::vector<Errors>> errors(3, std::vector<Errors>(after.size()));
  double delay = 0, longest = 0, alarms = 0;
  int early = 0, noticed = 0;
  for (int seed = 1; seed <= seeds; ++seed) {
    DriftingStream stream(change.before.mdp(), change.acts_before, static_cast<uint64_t>(seed));
    std::vector<SessionLearner> learners;
    learners.push_back(Begin(change, std::nullopt));
    learners.push_back(Begin(change, DriftOptions{.window = kWindow}));
    learners.push_back(Begin(change, std::nullopt));
    for (uint64_t i = 0; i < begins; ++i) {
      const Transition step = stream.Next();
      learners[0].Learn(0, step);
      learners[1].Learn(0, step);
    }
    const uint64_t before = learners[1].drifts().total;
    early += before > 0 ? 1 : 0;
    stream.SetWorld(change.after.mdp());
    stream.SetPolicy(change.acts_after);
    bool seen = false;
    size_t at = 0;
    for (uint64_t i = 1; i <= after.back(); ++i) {
      const Transition step = stream.Next();
      for (SessionLearner& learner : learners) learner.Learn(0, step);
      if (!seen && learners[1].drifts().total > before) {
        seen = true;
        ++noticed;
        delay += static_cast<double>(i);
        longest = std::max(longest, static_cast<double>(i));
      }
      if (i != after[at]) continue;
      for (size_t arm = 0; arm < 3; ++arm) {
        const Errors found = ErrorsOf(learners[arm], change.after);
        errors[arm][at].policy += found.policy / seeds;
        errors[arm][at].gradient += found.gradient / seeds;
      }
      ++at;
    }
    alarms += static_cast<double>(learners[1].drifts().total - before) / seeds;
  }
  std::printf(
      "\n%s, changed after %llu transitions: noticed in %d of %d sessions, after %.0f on average, %.0f at most; "
      "%.2f alarms each; false alarms before in %d\n",
      change.name, static_cast<unsigned long long>(begins), noticed, seeds, delay / std::max(noticed, 1), longest,
      alarms, early);
  std::printf("  %-16s %12s %12s %12s\n", "arm", "transitions", "policy", "gradient");
  LogLogPlot::Panel policy{std::string(change.name) + ": policy", {}};
  LogLogPlot::Panel gradient{std::string(change.name) + ": hyper-gradient", {}};
  for (size_t arm = 0; arm < 3; ++arm) {
    policy.curves.push_back({kArms[arm], {}});
    gradient.curves.push_back({kArms[arm], {}});
    for (size_t at = 0; at < after.size(); ++at) {
      const auto transitions = static_cast<double>(after[at]);
      const double pi = std::sqrt(errors[arm][at].policy), g = std::sqrt(errors[arm][at].gradient);
      std::printf("  %-16s %12.0f %12.3e %12.3e\n", kArms[arm], transitions, pi, g);
      policy.curves.back().points.emplace_back(transitions, pi);
      gradient.curves.back().points.emplace_back(transitions, g);
      if (csv.is_open()) csv << change.name << ',' << kArms[arm] << ',' << after[at] << ',' << pi << ',' << g << '\n';
    }
  }
  panels.push_back(std::move(policy));
  panels.push_back(std::move(gradient));
  const bool near =
      std::sqrt(errors[1].back().policy) <= (flags.quick ? 1.5 : 1.2) * std::sqrt(errors[2].back().policy);
  if (!near) std::printf("  FAILED: forgetting is not near the oracle\n");
  return near && noticed == seeds;
}

// Transitions until the first alarm after 51,000; none within 100,000.
std::optional<uint64_t> DelayOf(const Change& change, uint64_t seed) {
  SessionLearner learner = Begin(change, DriftOptions{.window = kWindow});
  DriftingStream stream(change.before.mdp(), change.acts_before, seed);
  for (int i = 0; i < 51'000; ++i) learner.Learn(0, stream.Next());
  const uint64_t before = learner.drifts().total;
  stream.SetWorld(change.after.mdp());
  stream.SetPolicy(change.acts_after);
  for (uint64_t i = 1; i <= 100'000; ++i) {
    learner.Learn(0, stream.Next());
    if (learner.drifts().total > before) return i;
  }
  return std::nullopt;
}

void MeasureDelay(const Change& change, const char* what, double from, double to, int seeds) {
  std::vector<double> delays;
  for (int seed = 1; seed <= seeds; ++seed) {
    const auto delay = DelayOf(change, 1000 + static_cast<uint64_t>(seed));
    if (delay.has_value()) delays.push_back(static_cast<double>(*delay));
  }
  std::printf("  %-11s %5.2f -> %5.2f: noticed in %2zu of %d", what, from, to, delays.size(), seeds);
  double mean = 0;
  for (const double delay : delays) mean += delay / static_cast<double>(delays.size());
  if (!delays.empty()) std::printf(", after %6.0f transitions on average", mean);
  std::printf("\n");
}

// Sessions in which nothing drifts, of 50 windows, transitions and actions tested.
bool MeasureFalseAlarms(int sessions) {
  const Change change = AtTemperature(0.15);
  constexpr double kSignificance = 0.05;
  int alarms = 0;
  for (int session = 0; session < sessions; ++session) {
    SessionLearner learner = Begin(change, DriftOptions{.window = 500, .significance = kSignificance});
    DriftingStream stream(change.before.mdp(), change.acts_before, 5000 + static_cast<uint64_t>(session));
    for (int i = 0; i < 25'000; ++i) learner.Learn(0, stream.Next());
    alarms += learner.drifts().total > 0 ? 1 : 0;
  }
  // Three standard deviations above the level.
  const double most = sessions * kSignificance + 3 * std::sqrt(sessions * kSignificance * (1 - kSignificance)) + 1;
  std::printf("\nfalse alarms: in %d of %d sessions of 50 windows, at significance %.2f\n", alarms, sessions,
              kSignificance);
  return alarms <= most;
}

}  // namespace
}  // namespace bilevel

int main(int argc, char** argv) {
  using bilevel::AtTemperature;
  using bilevel::WithSlipOf;
  bilevel::Flags flags;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--quick") == 0) flags.quick = true;
    if (std::strcmp(argv[i], "--csv") == 0 && i + 1 < argc) flags.csv = argv[++i];
    if (std::strcmp(argv[i], "--svg") == 0 && i + 1 < argc) flags.svg = argv[++i];
  }
  std::ofstream csv;
  if (!flags.csv.empty()) {
    csv.open(flags.csv);
    csv << "change,arm,transitions_after,policy_rms,gradient_rms\n";
  }
  std::vector<bilevel::LogLogPlot::Panel> panels;
  bool good = bilevel::Run(WithSlipOf(0.35), flags, csv, panels);
  good = bilevel::Run(AtTemperature(0.15), flags, csv, panels) && good;
  if (!flags.quick) {
    std::printf("\nwindows of %d transitions, the change comes after 51,000:\n", static_cast<int>(bilevel::kWindow));
    for (const double slip : {0.07, 0.10, 0.15, 0.25}) {
      bilevel::MeasureDelay(WithSlipOf(slip), "slip", 0.05, slip, 20);
    }
    for (const double temperature : {0.28, 0.26, 0.22, 0.18}) {
      bilevel::MeasureDelay(AtTemperature(temperature), "temperature", 0.3, temperature, 20);
    }
  }
  good = bilevel::MeasureFalseAlarms(flags.quick ? 40 : 1000) && good;
  if (!flags.svg.empty()) {
    std::ofstream(flags.svg) << bilevel::LogLogPlot::Draw(panels, "transitions after the change", "rms error");
  }
  return good ? 0 : 1;
}
