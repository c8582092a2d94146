// speed [--states N] [--threads N] [--discount G] [--family NAME]: how fast the follower's problem is swept and solved.
// See README.md here.

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "core/hypergradient/hypergradient.h"
#include "tests/support/families.h"

namespace bilevel::benchmarks {
namespace {

using testing::Family;
using testing::kFamilies;
using testing::MakeFamily;

constexpr double kTolerance = 1e-8;

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double Best(int times, const std::function<void()>& work) {
  double best = 1e300;
  for (int i = 0; i < times; ++i) {
    const double start = Now();
    work();
    best = std::min(best, Now() - start);
  }
  return best;
}

ParallelFor Threads(int count) {
  if (count == 1) return RunInOrder;
  return [count](int parts, const std::function<void(int)>& task) {
    std::vector<std::thread> threads;
    std::atomic<int> next{0};
    const auto work = [&] {
      for (int part = next++; part < parts; part = next++) task(part);
    };
    for (int i = 1; i < count; ++i) threads.emplace_back(work);
    work();
    for (std::thread& thread : threads) thread.join();
  };
}

double TriadBytesPerSecond(const ParallelFor& parallel_for) {
  constexpr int64_t kLength = 20'000'000, kGrain = 100'000;
  Vector a = Vector::Zero(kLength), b = Vector::Ones(kLength), c = Vector::Ones(kLength);
  const double seconds = Best(5, [&] {
    ForParts(parallel_for, kLength, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) a[i] = b[i] + 3 * c[i];
    });
  });
  return 24.0 * kLength / seconds;
}

// Of this process so far.
double PeakMegabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

struct Flags {
  int states = 1'000'000, threads = 1;
  double discount = 0.99;
  std::string family;
};

Flags Parse(int argc, char** argv) {
  Flags flags;
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i], value = i + 1 < argc ? argv[i + 1] : "";
    bool good = true;
    if (name == "--states") {
      good = absl::SimpleAtoi(value, &flags.states) && flags.states >= 1;
    } else if (name == "--threads") {
      good = absl::SimpleAtoi(value, &flags.threads) && flags.threads >= 1;
    } else if (name == "--discount") {
      good = absl::SimpleAtod(value, &flags.discount) && flags.discount >= 0 && flags.discount < 1;
    } else if (name == "--family") {
      flags.family = value;
      good = std::find(std::begin(kFamilies), std::end(kFamilies), value) != std::end(kFamilies);
    } else {
      good = false;
    }
    if (!good) {
      std::fprintf(stderr, "usage: speed [--states N] [--threads N] [--discount G] [--family NAME]\n");
      std::exit(2);
    }
  }
  return flags;
}

// The leader pays x times the family's rewards and wants the policy far from uniform: f = 0.5/S |pi|^2.
BilevelProblem Leader(const std::shared_ptr<const TabularMdp>& mdp, const Vector& reward, double discount) {
  ParametricRewardSpec spec;
  spec.features.resize(mdp->num_rows(), 1);
  spec.features.reserve(Eigen::VectorX<int64_t>::Ones(mdp->num_rows()));
  for (Eigen::Index row = 0; row < mdp->num_rows(); ++row) spec.features.insert(row, 0) = reward[row];
  spec.features.makeCompressed();
  Separable distance;
  distance.target = Vector::Zero(mdp->num_rows());
  distance.state_weights = Vector::Constant(mdp->num_states(), 1.0 / mdp->num_states());
  Context context{.mdp = mdp,
                  .discount = discount,
                  .temperature = 0.1,
                  .reward = *ParametricReward::Create(mdp->num_rows(), 1, std::move(spec))};
  context.objective.push_back(ObjectiveTerm{1.0, std::move(distance)});
  BilevelProblem problem{.num_parameters = 1,
                         .map = *ParameterMap::Create(1, {}),
                         .feasible_set = *FeasibleSet::Create(1, {}),
                         .sense = Sense::kMinimize};
  problem.contexts.push_back(std::move(context));
  return problem;
}

// A certified hyper-gradient, warm: from the answer at x = 1, at x = 1.001.
void MeasureGradient(const std::shared_ptr<const TabularMdp>& mdp, const Vector& reward, const Flags& flags,
                     const ParallelFor& parallel_for, double sweep) {
  const BilevelProblem problem = Leader(mdp, reward, flags.discount);
  LowerLevelOptions options;
  options.residual_tolerance = options.adjoint_tolerance = kTolerance;
  options.parallel_for = parallel_for;
  HypergradientEvaluator evaluator(problem, options);
  double start = Now();
  auto point = evaluator.EvaluateCertified(Vector::Constant(1, 1.0), Interrupt());
  const double cold = Now() - start;
  start = Now();
  point = evaluator.EvaluateCertified(Vector::Constant(1, 1.001), Interrupt());
  const double warm = Now() - start;
  std::printf(
      "%-12s gradient cold %.3f s, warm %.3f s = %.0f sweeps, %lld products; bound %.1e (estimate %.1e) of |gradient| %.3g; %.0f MB\n",
      "", cold, warm, warm / sweep, static_cast<long long>(point->contexts[0].counters.products),
      point->certificate.error_bound / point->gradient.norm(), point->certificate.error_estimate / point->gradient.norm(), point->gradient.norm(), PeakMegabytes());
  std::fflush(stdout);
}

// Whether the follower's problem is solved to 1e-8.
bool Measure(std::string_view name, const Flags& flags, const ParallelFor& parallel_for, double bandwidth) {
  Family family = MakeFamily(name, flags.states);
  const auto shared = std::make_shared<const TabularMdp>(*TabularMdp::Create(std::move(family.spec)));
  const TabularMdp& mdp = *shared;
  RegularizedMdp follower;
  follower.mdp = &mdp;
  follower.reward = family.reward;
  follower.discount = flags.discount;
  follower.temperature = 0.1;
  follower.parallel_for = parallel_for;
  const Vector v = Vector::Zero(mdp.num_states());
  Vector backup;
  const double sweep = Best(10, [&] { SoftValueBackup(follower, v, backup); });
  // Entries, rewards, V, T V, and what stands in the cache line of either.
  const double bytes = 12.0 * static_cast<double>(mdp.num_entries()) + 8.0 * static_cast<double>(mdp.num_rows()) +
                       24.0 * mdp.num_states();
  double start = Now();
  std::optional<PolicySystem> system(std::in_place, mdp, PolicySystem::Kind::kKrylov, parallel_for);
  const double made = Now() - start;
  start = Now();
  LowerLevelOptions options;
  options.residual_tolerance = kTolerance;
  const auto solution = SolveLowerLevel(follower, options, {}, Interrupt(), *system);
  const double seconds = Now() - start;
  const bool good = solution.ok() && solution->residual <= kTolerance;
  std::printf("%-12s %9d %9.2f %9.2f %9.3f %9.3f %9.0f %7d %7d %9lld %9.1e %8.0f  %s\n", std::string(name).c_str(),
              mdp.num_states(), sweep * 1e3, sweep * bandwidth / bytes, made, seconds, seconds / sweep,
              solution.ok() ? solution->sweeps : 0, solution.ok() ? solution->newton_steps : 0,
              static_cast<long long>(system->counters().products), solution.ok() ? solution->residual : -1.0,
              PeakMegabytes(), good ? "ok" : "FAIL");
  std::fflush(stdout);
  system.reset();
  MeasureGradient(shared, family.reward, flags, parallel_for, sweep);
  return good;
}

int Run(int argc, char** argv) {
  const Flags flags = Parse(argc, argv);
  const ParallelFor parallel_for = Threads(flags.threads);
  const double bandwidth = TriadBytesPerSecond(parallel_for);
  std::printf("discount %g, temperature 0.1, %d threads, triad %.1f GB/s\n", flags.discount, flags.threads,
              bandwidth / 1e9);
  std::printf("%-12s %9s %9s %9s %9s %9s %9s %7s %7s %9s %9s %8s\n", "family", "states", "sweep ms", "/roofline",
              "system s", "solved s", "/sweep", "sweeps", "Newton", "products", "residual", "peak MB");
  bool good = true;
  for (const std::string_view name : kFamilies) {
    if (flags.family.empty() || name == flags.family) good = Measure(name, flags, parallel_for, bandwidth) && good;
  }
  return good ? 0 : 1;
}

}  // namespace
}  // namespace bilevel::benchmarks

int main(int argc, char** argv) { return bilevel::benchmarks::Run(argc, argv); }
