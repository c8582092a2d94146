// Rewards learned from preferences by three gradients: how much of the true return each of them earns, against the
// number of labels.
//
//   rlhf [--quick] [--csv FILE] [--svg FILE] [--noise SHARE]
//
// Problems: draw_preferences.h, 20 of each kind (--quick: 6 linear ones, and the first four rounds). Labels come in
// rounds, up to 50, 100, 200, 500, 1000 and 2000: pairs of fragments that the follower of the current x makes in the
// true world, preferred as the true reward says by Bradley and Terry, and turned round with probability --noise. After
// each round x moves along an arm's gradient on all labels so far, from x = 0. Arms, of
// core/streaming/preference_gradient.h, with exact scores:
//
//   fit           kFit on the pairs as they are
//   fit, weighed  kFit, the pairs weighing as likely as the follower of x would make them: what weights alone cost
//   published     kPublished, likewise
//   excess risk   kExcessRisk, likewise
//
// Moving: kSteps steps of core/solvers/stochastic_descent.h without momentum. Pairs of all rounds count as drawn from
// the mixture of the rounds' policies (Veach, Guibas 1995, the balance heuristic). Where they count for less than
// kLeastShare of their number, x is beyond what they can tell: the round ends there for the arm (0.5 is about the best
// for the arms that explore among 0.02, 0.1, 0.3, 0.5 and 0.7 on these problems; `fit` has no such limit). With N
// labels there is a penalty |x|^2 / (2 N): the prior N(0, 1), which truths are drawn from.
//
// Columns: share of the true return, (J - uniform) / (optimum - uniform), J the discounted true return of the follower
// of x, its entropy bonus included, and the same as a plain ratio J / optimum; means over problems with 95 % bootstrap
// intervals. Arms see the same problems, the same random numbers and so the same first round; differences to `fit` are
// paired. Without noise it fails where at the end the best arm's mean share is below kClaim, or where `published` is
// not below `fit` beyond chance.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "core/mdp/policy_evaluation.h"
#include "core/solvers/stochastic_descent.h"
#include "core/streaming/follower_policy.h"
#include "core/streaming/preference_gradient.h"
#include "core/streaming/trajectory.h"
#include "tests/benchmarks/draw_preferences.h"
#include "tests/benchmarks/log_log_plot.h"

namespace bilevel {
namespace {

constexpr int kRounds[] = {50, 100, 200, 500, 1000, 2000};
constexpr int kSteps = 200;
constexpr double kLeastShare = 0.5;
constexpr double kClaim = 0.95;

struct Arm {
  const char* name;
  PreferenceArm arm;
  bool weighed;
};
constexpr Arm kArms[] = {{"fit", PreferenceArm::kFit, false},
                         {"fit, weighed", PreferenceArm::kFit, true},
                         {"published", PreferenceArm::kPublished, true},
                         {"excess risk", PreferenceArm::kExcessRisk, true}};

struct Flags {
  bool quick = false;
  std::string csv, svg;
  double noise = 0;

  size_t problems() const { return quick ? 6 : 20; }
  size_t rounds() const { return quick ? 4 : std::size(kRounds); }
};

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
    std::abort();
  }
  return *std::move(value);
}

// A problem whose truth is known.
class World {
 public:
  explicit World(PreferenceProblem drawn)
      : drawn_(std::move(drawn)), simulator_(mdp()), features_(context().reward.GradientFeatures()) {
    optimum_ = Return(drawn_.truth);
    uniform_ = Return(Vector::Zero(drawn_.truth.size()));
  }

  const BilevelProblem& problem() const { return drawn_.problem; }
  const Context& context() const { return problem().contexts[0]; }
  const TabularMdp& mdp() const { return *context().mdp; }

  FollowerPolicy PolicyAt(const Vector& x) const { return Must(SolvePolicy(problem(), 0, mdp(), x, {}, {})); }
  RowMatrix ScoreOf(const Vector& pi) const {
    PolicySystem system(mdp(), PolicySystem::Kind::kDirect);
    system.SetPolicy(pi);
    return SolveValueGradient({mdp(), pi, system, 1e-13, {}}, context().discount, features_).advantage;
  }

  double optimum() const { return optimum_; }
  double uniform() const { return uniform_; }
  // J(x).
  double Return(const Vector& x) const {
    const FollowerPolicy follower = PolicyAt(x);
    PolicySystem system(mdp(), PolicySystem::Kind::kDirect);
    system.SetPolicy(follower.pi);
    const Vector reward = TrueReward() - context().temperature * follower.log_pi;
    const PolicyInput input{mdp(), follower.pi, system, 1e-13, {}};
    return mdp().initial_distribution().dot(EvaluatePolicy(input, context().discount, reward, nullptr).value);
  }

  Preference DrawPair(const Vector& pi, double noise, Rng& rng) const {
    Preference pair{{.rows = DrawFragment(pi, rng)}, {.rows = DrawFragment(pi, rng)}, 0};
    const Vector reward = TrueReward();
    double difference = 0;
    for (const int64_t row : pair.first.rows) difference += reward[row];
    for (const int64_t row : pair.second.rows) difference -= reward[row];
    const bool first = rng.Uniform() < 1 / (1 + std::exp(-difference)), turned = rng.Uniform() < noise;
    pair.first_preferred = first != turned ? 1 : 0;
    return pair;
  }

 private:
  Vector TrueReward() const { return context().reward.Evaluate(drawn_.truth, drawn_.truth); }
  std::vector<int64_t> DrawFragment(const Vector& pi, Rng& rng) const {
    const Horizon horizon{Horizon::Kind::kSteps, drawn_.steps};
    return Roll(simulator_, pi, mdp().num_actions(), simulator_.DrawStart(rng), horizon, context().discount, rng).rows;
  }

  PreferenceProblem drawn_;
  Simulator simulator_;
  SparseRows features_;
  double optimum_ = 0, uniform_ = 0;
};

double LogProbability(const Preference& pair, const Vector& log_pi) {
  double sum = 0;
  for (const Fragment* fragment : {&pair.first, &pair.second}) {
    for (const int64_t row : fragment->rows) sum += log_pi[row];
  }
  return sum;
}

// The labels of one arm, and who made their fragments.
class Labels {
 public:
  void Add(const World& world, const FollowerPolicy& follower, int count, double noise, Rng& rng) {
    for (int i = 0; i < count; ++i) pairs_.push_back(world.DrawPair(follower.pi, noise, rng));
    rounds_.push_back({follower.log_pi, count});
    log_mixture_.clear();
    for (const Preference& pair : pairs_) {
      double sum = 0;
      for (const auto& [log_pi, drawn] : rounds_) sum += drawn * std::exp(LogProbability(pair, log_pi));
      log_mixture_.push_back(std::log(sum / static_cast<double>(pairs_.size())));
    }
  }

  double size() const { return static_cast<double>(pairs_.size()); }

  std::vector<WeighedPreference> AsTheyAre() const {
    std::vector<WeighedPreference> weighed;
    for (const Preference& pair : pairs_) weighed.push_back({&pair});
    return weighed;
  }
  std::vector<WeighedPreference> AsLikelyAs(const Vector& log_pi) const {
    std::vector<WeighedPreference> weighed;
    for (size_t i = 0; i < pairs_.size(); ++i) {
      weighed.push_back({&pairs_[i], LogProbability(pairs_[i], log_pi) - log_mixture_[i]});
    }
    return weighed;
  }

 private:
  struct Round {
    Vector log_pi;
    int drawn;
  };
  std::vector<Preference> pairs_;
  std::vector<Round> rounds_;
  std::vector<double> log_mixture_;  // of each pair
};

// x after a round.
Vector Move(const World& world, const Labels& labels, const Arm& arm, const Vector& start) {
  BilevelProblem problem = world.problem();
  problem.penalties.squared_l2 = 1 / labels.size();
  StochasticDescent descent(problem, start, {.max_steps = kSteps});
  while (!descent.stopped()) {
    Vector x = descent.x();
    RowMatrix score;
    std::vector<WeighedPreference> pairs;
    if (!arm.weighed) {
      pairs = labels.AsTheyAre();
    } else {
      const FollowerPolicy follower = world.PolicyAt(x);
      score = world.ScoreOf(follower.pi);
      pairs = labels.AsLikelyAs(follower.log_pi);
    }
    const Context& context = world.context();
    const auto found =
        EstimateFromPreferences({problem.map, x, context.reward, context.temperature, &score}, pairs, arm.arm, {});
    if (!found.ok() || found->effective_sample_size < kLeastShare * labels.size()) return x;
    descent.Take({.objective = found->objective + problem.PenaltyValue(x),
                  .gradient = found->mean() + problem.AssembleGradient(ParameterGradient(x.size()), x)});
  }
  return descent.x();
}

// J after each round.
std::vector<double> Learn(const World& world, const Arm& arm, uint64_t seed, const Flags& flags) {
  Vector x = Vector::Zero(world.problem().num_parameters);
  Labels labels;
  std::vector<double> returns;
  for (size_t round = 0; round < flags.rounds(); ++round) {
    Rng rng(seed, 100 + round);
    const int count = kRounds[round] - (round == 0 ? 0 : kRounds[round - 1]);
    labels.Add(world, world.PolicyAt(x), count, flags.noise, rng);
    x = Move(world, labels, arm, x);
    returns.push_back(world.Return(x));
  }
  return returns;
}

struct Interval {
  double mean, low, high;
};

// 95 %, by percentiles of the means of what is drawn again.
Interval Bootstrap(const std::vector<double>& values) {
  constexpr size_t kDraws = 4000;
  Rng rng(1, 99);
  const auto n = static_cast<double>(values.size());
  std::vector<double> means;
  for (size_t draw = 0; draw < kDraws; ++draw) {
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) sum += values[rng.Below(values.size())];
    means.push_back(sum / n);
  }
  std::sort(means.begin(), means.end());
  double mean = 0;
  for (const double value : values) mean += value / n;
  return {mean, means[kDraws / 40], means[kDraws - 1 - kDraws / 40]};
}

// Whether the arms end where they are claimed to.
bool Run(LearnedReward kind, const Flags& flags, std::ofstream& csv, std::vector<LogLogPlot::Panel>& panels) {
  const char* title = kind == LearnedReward::kLinear ? "linear" : "tabular";
  std::vector<World> worlds;
  for (size_t i = 0; i < flags.problems(); ++i) worlds.emplace_back(DrawPreferences(kind, i + 1));
  std::printf("%s, %zu problems, label noise %.2f\n%-12s %6s %26s %26s %26s\n", title, worlds.size(), flags.noise,
              "arm", "labels", "share of the return", "J / optimum", "share less fit's");
  std::vector<std::vector<double>> fit_shares;
  double best = -HUGE_VAL;
  bool below = false;  // `published`, of `fit`
  LogLogPlot::Panel panel{title, {}};
  for (const Arm& arm : kArms) {
    std::vector<std::vector<double>> shares(flags.rounds()), ratios(flags.rounds());
    for (size_t i = 0; i < worlds.size(); ++i) {
      const double optimum = worlds[i].optimum(), uniform = worlds[i].uniform();
      const std::vector<double> returns = Learn(worlds[i], arm, i + 1, flags);
      for (size_t round = 0; round < returns.size(); ++round) {
        shares[round].push_back((returns[round] - uniform) / (optimum - uniform));
        ratios[round].push_back(returns[round] / optimum);
        if (csv) {
          csv << title << ',' << i + 1 << ',' << '"' << arm.name << "\"," << kRounds[round] << ',' << returns[round]
              << ',' << optimum << ',' << uniform << ',' << shares[round].back() << '\n';
        }
      }
    }
    if (fit_shares.empty()) fit_shares = shares;
    LogLogPlot::Curve curve{arm.name, {}};
    for (size_t round = 0; round < shares.size(); ++round) {
      std::vector<double> gains;
      for (size_t i = 0; i < worlds.size(); ++i) gains.push_back(shares[round][i] - fit_shares[round][i]);
      const Interval share = Bootstrap(shares[round]), ratio = Bootstrap(ratios[round]), gain = Bootstrap(gains);
      std::printf("%-12s %6d   %.3f [%6.3f, %6.3f]   %.3f [%6.3f, %6.3f]  %+.3f [%+.3f, %+.3f]\n", arm.name,
                  kRounds[round], share.mean, share.low, share.high, ratio.mean, ratio.low, ratio.high, gain.mean,
                  gain.low, gain.high);
      curve.points.emplace_back(kRounds[round], 1 - share.mean);
      if (round + 1 < shares.size()) continue;
      best = std::max(best, share.mean);
      if (arm.arm == PreferenceArm::kPublished) below = gain.high < 0;
    }
    panel.curves.push_back(std::move(curve));
    std::fflush(stdout);
  }
  panels.push_back(std::move(panel));
  std::printf("best share at the end %.3f, claimed %.2f; published below fit: %s, claimed\n\n", best, kClaim,
              below ? "yes" : "no");
  return flags.noise > 0 || (best >= kClaim && below);
}

}  // namespace
}  // namespace bilevel

int main(int argc, char** argv) {
  bilevel::Flags flags;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--quick") == 0) flags.quick = true;
    if (std::strcmp(argv[i], "--csv") == 0 && i + 1 < argc) flags.csv = argv[++i];
    if (std::strcmp(argv[i], "--svg") == 0 && i + 1 < argc) flags.svg = argv[++i];
    if (std::strcmp(argv[i], "--noise") == 0 && i + 1 < argc) flags.noise = std::atof(argv[++i]);
  }
  std::ofstream csv;
  csv.setstate(std::ios::failbit);
  if (!flags.csv.empty()) {
    csv.clear();
    csv.open(flags.csv);
    csv << "problem,seed,arm,labels,return,optimum,uniform,share\n";
  }
  std::vector<bilevel::LogLogPlot::Panel> panels;
  bool met = bilevel::Run(bilevel::LearnedReward::kLinear, flags, csv, panels);
  if (!flags.quick) met = bilevel::Run(bilevel::LearnedReward::kTabular, flags, csv, panels) && met;
  if (!flags.svg.empty()) {
    std::ofstream(flags.svg) << bilevel::LogLogPlot::Draw(panels, "labels", "share of the return missed");
  }
  return met ? EXIT_SUCCESS : EXIT_FAILURE;
}
