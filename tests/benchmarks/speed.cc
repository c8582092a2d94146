// speed [--states N] [--threads N] [--family NAME] [--discount G]: how fast the follower's problem is swept and solved.
// See README.md here.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "core/mdp/lower_level.h"
#include "tests/support/families.h"

namespace bilevel::benchmarks {
namespace {

using testing::Family;
using testing::kFamilies;
using testing::MakeFamily;

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

int Run(int argc, char** argv) {
  int states = 1'000'000, threads = 1;
  std::string only;
  double gamma = 0.99;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i], value = argv[i + 1];
    if (flag == "--states") states = std::atoi(value.c_str());
    if (flag == "--threads") threads = std::atoi(value.c_str());
    if (flag == "--family") only = value;
    if (flag == "--discount") gamma = std::atof(value.c_str());
  }
  const ParallelFor parallel_for = Threads(threads);
  const double bandwidth = TriadBytesPerSecond(parallel_for);
  std::printf("triad %.1f GB/s, %d threads\n", bandwidth / 1e9, threads);
  for (const std::string_view name : kFamilies) {
    if (!only.empty() && name != only) continue;
    double start = Now();
    Family family = MakeFamily(name, states);
    const double made = Now() - start;
    start = Now();
    const TabularMdp mdp = *TabularMdp::Create(std::move(family.spec));
    const double created = Now() - start;
    RegularizedMdp follower;
    follower.mdp = &mdp;
    follower.reward = family.reward;
    follower.discount = gamma;
    follower.temperature = 0.1;
    follower.parallel_for = parallel_for;
    const Vector v = Vector::Zero(mdp.num_states());
    Vector backup;
    const double sweep = Best(10, [&] { SoftValueBackup(follower, v, backup); });
    const double full = Best(5, [&] { ApplySoftBellman(follower, v); });
    const double bytes = 12.0 * static_cast<double>(mdp.num_entries()) + 8.0 * static_cast<double>(mdp.num_rows()) +
                         24.0 * mdp.num_states();
    std::printf(
        "%-12s S %d entries %llu layout %d made %.2f created %.2f s: sweep %.2f ms, %.2f of roofline; with policy %.2f "
        "ms\n",
        std::string(name).c_str(), mdp.num_states(), static_cast<unsigned long long>(mdp.num_entries()),
        static_cast<int>(mdp.transitions().layout()), made, created, sweep * 1e3, sweep * bandwidth / bytes,
        full * 1e3);
    std::fflush(stdout);
    start = Now();
    PolicySystem system(mdp, PolicySystem::Kind::kKrylov);
    const double built = Now() - start;
    start = Now();
    LowerLevelOptions options;
    options.residual_tolerance = 1e-8;
    const auto solution = SolveLowerLevel(follower, options, {}, Interrupt(), system);
    std::printf("  system %.2f s; solved in %.3f s = %.0f sweeps' time: %d sweeps, %d Newton, %lld products, %s\n",
                built, Now() - start, (Now() - start) / sweep, solution->sweeps, solution->newton_steps,
                static_cast<long long>(system.counters().products), solution->termination.detail.c_str());
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace bilevel::benchmarks

int main(int argc, char** argv) { return bilevel::benchmarks::Run(argc, argv); }
