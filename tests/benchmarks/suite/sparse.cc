#include "tests/benchmarks/suite/sparse.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/fetch.h"
#include "core/hypergradient/adjoint.h"
#include "core/hypergradient/hypergradient.h"
#include "tests/benchmarks/suite/clock.h"
#include "tests/benchmarks/suite/isolated.h"
#include "tests/benchmarks/suite/machine.h"
#include "tests/support/families.h"

namespace bilevel::benchmarks {
namespace {

using SharedMdp = std::shared_ptr<const TabularMdp>;

constexpr int kOuterSteps = 20;
constexpr double kOuterMove = 1e-3;
constexpr int kWarmEvaluations = 3;
// The largest relative bound of a gradient that says something.
constexpr double kMostBound = 1e-2;

struct World {
  SharedMdp mdp;
  Vector reward;

  explicit World(const Cell& cell) {
    testing::Family family = testing::MakeFamily(cell.family, cell.states);
    family.spec.single_precision = cell.single_precision;
    mdp = std::make_shared<const TabularMdp>(*TabularMdp::Create(std::move(family.spec)));
    reward = std::move(family.reward);
  }

  RegularizedMdp Follower(const Cell& cell, const ParallelFor& parallel_for) const {
    RegularizedMdp follower;
    follower.mdp = mdp.get();
    follower.reward = reward;
    follower.discount = cell.discount;
    follower.temperature = cell.temperature;
    follower.parallel_for = parallel_for;
    return follower;
  }
};

LowerLevelOptions Options(const ParallelFor& parallel_for) {
  LowerLevelOptions options;
  options.residual_tolerance = options.adjoint_tolerance = kTolerance;
  options.parallel_for = parallel_for;
  return options;
}

Interrupt After(double seconds) {
  return {nullptr, Interrupt::Clock::now() + std::chrono::microseconds(static_cast<int64_t>(1e6 * seconds))};
}

// The leader pays x times the family's rewards and wants the policy far from uniform: f = 0.5/S |pi|^2. Takes the
// reward, so that there is one of it.
BilevelProblem Leader(const SharedMdp& mdp, Vector reward, const Cell& cell) {
  ParametricRewardSpec spec;
  spec.features.resize(mdp->num_rows(), 1);
  spec.features.reserve(Eigen::VectorX<int64_t>::Ones(mdp->num_rows()));
  for (Eigen::Index row = 0; row < mdp->num_rows(); ++row) spec.features.insert(row, 0) = reward[row];
  spec.features.makeCompressed();
  reward.resize(0);
  Separable distance;
  distance.state_weights = Vector::Constant(mdp->num_states(), 1.0 / mdp->num_states());
  Context context{.mdp = mdp,
                  .discount = cell.discount,
                  .temperature = cell.temperature,
                  .reward = *ParametricReward::Create(mdp->num_rows(), 1, std::move(spec))};
  context.objective.push_back(ObjectiveTerm{1.0, std::move(distance)});
  BilevelProblem problem{.num_parameters = 1,
                         .map = *ParameterMap::Create(1, {}),
                         .feasible_set = *FeasibleSet::Create(1, {}),
                         .sense = Sense::kMinimize};
  problem.contexts.push_back(std::move(context));
  return problem;
}

// Seconds to read each probability and V where it leads, and nothing else: what a sweep cannot be faster than.
double ReadSeconds(const Cell& cell, const ParallelFor& parallel_for, const Vector& v) {
  const testing::Family family = testing::MakeFamily(cell.family, cell.states);
  const TabularMdpSpec& spec = family.spec;
  Vector sums(family.reward.size());
  double least = std::numeric_limits<double>::infinity();
  const uint64_t last = spec.columns.size() - 1;
  enum class Fetch { kNothing, kInOrder, kAll };
  const auto read = [&](Fetch fetch) {
    ForParts(parallel_for, sums.size(), kStatesInPart, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        double sum = 0;
        for (uint64_t k = spec.offsets[row]; k < spec.offsets[row + 1]; ++k) {
          if (fetch != Fetch::kNothing && k % kLanes == 0) {
            FetchInOrder(spec.probabilities.data() + std::min(k + kFetchAhead, last));
            FetchInOrder(spec.columns.data() + std::min(k + 2 * kFetchAhead, last));
          }
          if (fetch == Fetch::kAll) FetchToRead(v.data() + spec.columns[std::min(k + kFetchAhead, last)]);
          sum += spec.probabilities[k] * v[spec.columns[k]];
        }
        sums[row] = sum;
      }
    });
  };
  for (int round = 0; round < 20; ++round) {
    for (const Fetch fetch : {Fetch::kNothing, Fetch::kInOrder, Fetch::kAll}) {
      least = std::min(least, Seconds([&] { read(fetch); }));
    }
  }
  return least;
}

double EntryBytes(const Cell& cell) { return cell.single_precision ? 8 : 12; }

double CsrBytes(const Cell& cell, const TabularMdp& mdp) {
  return 8.0 * (static_cast<double>(mdp.num_rows()) + 1) + EntryBytes(cell) * static_cast<double>(mdp.num_entries());
}

// Why an evaluation missed the tolerance; empty where it did not.
std::string Missed(const absl::StatusOr<HypergradientPoint>& point) {
  if (!point.ok()) return std::string(point.status().message());
  return point->termination.reason == StopReason::kConverged ? "" : point->termination.detail;
}

void Fill(const HypergradientPoint& point, Row& row) {
  row.bound = point.certificate.error_bound / point.gradient.norm();
  row.sweeps = point.contexts[0].solution.sweeps;
  row.products = static_cast<double>(point.contexts[0].counters.products);
  if (!(row.bound <= kMostBound)) row.missed = absl::StrCat("bound ", row.bound, "; must be at most ", kMostBound);
}

absl::StatusOr<HypergradientPoint> EvaluateAt(HypergradientEvaluator& evaluator, double x, const Cell& cell) {
  return evaluator.EvaluateCertified(Vector::Constant(1, x), After(cell.time_limit));
}

}  // namespace

std::string NameOf(std::string_view family) {
  if (family == "birth-death") return "BD-1D";
  std::string name(family);
  for (char& c : name) c = static_cast<char>(std::toupper(c));
  return name;
}

Row RowOf(const Cell& cell, std::string table) {
  Row row;
  row.table = std::move(table);
  row.name = NameOf(cell.family) + (cell.single_precision ? ", f32" : "");
  row.states = cell.states;
  row.discount = cell.discount;
  row.temperature = cell.temperature;
  row.threads = cell.threads;
  return row;
}

std::vector<Row> MeasureSweep(const Cell& cell) {
  const World world(cell);
  const ParallelFor parallel_for = StandingThreads(cell.threads);
  const RegularizedMdp follower = world.Follower(cell, parallel_for);
  const TabularMdp& mdp = *world.mdp;
  const Vector v = Vector::Zero(mdp.num_states());
  Vector backup;
  Row row = RowOf(cell, "sweep");
  row.states = mdp.num_states();
  row.seconds = Seconds([&] { SoftValueBackup(follower, v, backup); });
  row.peak_megabytes = PeakMegabytes();
  const int rounds = std::clamp(static_cast<int>(0.2 / row.seconds), 5, 200);
  Triad triad(parallel_for);
  double bandwidth = 0;
  for (int round = 0; round < rounds; ++round) {
    row.seconds = std::min(row.seconds, Seconds([&] { SoftValueBackup(follower, v, backup); }));
    if (round % (rounds / 5) == 0) bandwidth = std::max(bandwidth, triad.Measure(3));
  }
  // Entries, rewards, V, T V, and what stands in the cache line of either.
  const double bytes = EntryBytes(cell) * static_cast<double>(mdp.num_entries()) +
                       8.0 * static_cast<double>(mdp.num_rows()) + 24.0 * mdp.num_states();
  row.sweeps = 1;
  row.ratio = row.seconds * bandwidth / bytes;
  row.against = "roofline";
  const double reads = ReadSeconds(cell, parallel_for, v) * bandwidth / bytes;
  row.note = absl::StrCat("triad ", static_cast<int>(bandwidth / 1e8) / 10.0, " GB/s; reads alone ",
                          static_cast<int>(100 * reads) / 100.0, " x");
  return {row};
}

std::vector<Row> MeasureInstructions(const Cell& cell) {
  constexpr std::pair<InstructionSet, const char*> kNames[] = {{InstructionSet::kPortable, "portable"},
                                                               {InstructionSet::kAvx2, "AVX2"},
                                                               {InstructionSet::kAvx512, "AVX-512"},
                                                               {InstructionSet::kAvx512Gather, "AVX-512 that gathers"}};
  constexpr int kRounds = 200;
  const World world(cell);
  const RegularizedMdp follower = world.Follower(cell, RunInOrder);
  const int S = world.mdp->num_states();
  const Vector v = Vector::Zero(S);
  Vector backup(S);
  const SoftSweep sweep{.rows = &world.mdp->transitions(),
                        .reward = follower.reward.data(),
                        .value = v.data(),
                        .discount = cell.discount,
                        .temperature = cell.temperature,
                        .backup = backup.data()};
  std::map<InstructionSet, double> seconds;
  for (int round = 0; round < kRounds; ++round) {
    for (const auto& [set, name] : kNames) {
      if (!Supports(set)) continue;
      const double taken = Seconds([&, its = set] { RunSoftSweep(sweep, {0, NumSlices(S)}, its); });
      seconds[set] = round == 0 ? taken : std::min(seconds[set], taken);
    }
  }
  std::vector<Row> rows;
  for (const auto& [set, name] : kNames) {
    if (!Supports(set)) continue;
    Row& row = rows.emplace_back(RowOf(cell, "instructions"));
    row.name += absl::StrCat(", ", name);
    row.states = S;
    row.seconds = seconds[set];
    row.sweeps = 1;
    row.ratio = row.seconds / seconds[InstructionSet::kPortable];
    row.against = "portable";
    row.target = 1;
    if (set == Fastest()) row.note = "used";
  }
  return rows;
}

std::vector<Row> MeasureSolve(const Cell& cell, double prototype) {
  const World world(cell);
  const ParallelFor parallel_for = StandingThreads(cell.threads);
  const RegularizedMdp follower = world.Follower(cell, parallel_for);
  Row row = RowOf(cell, "solve");
  row.states = world.mdp->num_states();
  const LowerLevelOptions options = Options(parallel_for);
  double spent = 0;
  int rounds = 0;
  while (rounds == 0 || (spent < 1 && rounds < 10)) {
    world.mdp->ForgetPolicyPattern();
    const double start = Now();
    PolicySystem system(*world.mdp, PolicySystem::Kind::kKrylov, parallel_for);
    const auto solution = SolveLowerLevel(follower, options, {}, After(cell.time_limit), system);
    const double seconds = Now() - start;
    spent += seconds;
    ++rounds;
    row.seconds = rounds == 1 ? seconds : std::min(row.seconds, seconds);
    if (!solution.ok()) {
      row.missed = std::string(solution.status().message());
      return {row};
    }
    row.sweeps = solution->sweeps;
    row.products = static_cast<double>(system.counters().products);
    Vector backup;
    const double residual = SoftValueBackup(follower, solution->value, backup).Size();
    row.bound = residual / (1 - cell.discount * world.mdp->max_row_sum());
    if (!(residual <= kTolerance)) row.missed = absl::StrCat("residual ", residual);
    if (solution->termination.reason == StopReason::kTimeLimit) row.note = "time limit";
  }
  row.peak_megabytes = PeakMegabytes();
  if (!std::isnan(prototype)) {
    row.ratio = row.seconds * Triad(parallel_for).Measure(5) / (prototype * kPrototypeBandwidth);
    row.against = "prototype";
    row.target = 1;
  }
  return {row};
}

std::vector<Row> MeasureAdjoint(const Cell& cell) {
  constexpr double kRelative = 1e-8;
  const World world(cell);
  const ParallelFor parallel_for = StandingThreads(cell.threads);
  const RegularizedMdp follower = world.Follower(cell, parallel_for);
  const auto solution = [&] {
    PolicySystem system(*world.mdp, PolicySystem::Kind::kKrylov, parallel_for);
    return SolveLowerLevel(follower, Options(parallel_for), {}, After(cell.time_limit), system);
  }();
  Row row = RowOf(cell, "adjoint");
  row.states = world.mdp->num_states();
  if (!solution.ok() || !(solution->residual <= kTolerance)) {
    row.missed = "the follower was not solved";
    return {row};
  }
  const Vector& pi = solution->backup.pi;
  const Vector y = pi.cwiseProduct(pi);
  world.mdp->ForgetPolicyPattern();
  const double start = Now();
  PolicySystem system(*world.mdp, PolicySystem::Kind::kKrylov, parallel_for);
  system.SetPolicy(pi);
  const Adjoint adjoint =
      SolveAdjoint(follower, pi, {.y = y, .q = {}, .value = {}}, kRelative, {}, After(cell.time_limit), system);
  row.seconds = Now() - start;
  row.products = static_cast<double>(system.counters().products);
  row.bound = adjoint.residual_l1 /
              (cell.temperature * (1 - cell.discount * world.mdp->max_row_sum()) * adjoint.reward_gradient.lpNorm<1>());
  Vector pushed = world.mdp->PushForward(adjoint.centered_y, parallel_for);
  if (!(adjoint.residual_l1 <= kRelative * cell.discount * pushed.lpNorm<1>() * (1 + 1e-6))) {
    row.missed = absl::StrCat("residual ", adjoint.residual_l1);
  }
  return {row};
}

std::vector<Row> MeasureGradient(const Cell& cell, double most_sweeps, double most_memory) {
  World world(cell);
  const ParallelFor parallel_for = StandingThreads(cell.threads);
  const BilevelProblem problem = Leader(world.mdp, std::move(world.reward), cell);
  HypergradientEvaluator evaluator(problem, Options(parallel_for));
  double start = Now();
  auto point = EvaluateAt(evaluator, 1, cell);
  const double cold = Now() - start;
  Row warm = RowOf(cell, "gradient"), memory = warm;
  std::vector<double> evaluations, sweeps;
  for (int k = 1; k <= kWarmEvaluations; ++k) {
    point = absl::UnknownError("");  // so that only one is held
    start = Now();
    point = EvaluateAt(evaluator, std::pow(1 + kOuterMove, k), cell);
    evaluations.push_back(Now() - start);
    warm.missed = Missed(point);
    if (!warm.missed.empty()) return {warm};
    const RegularizedMdp follower{.mdp = world.mdp.get(),
                                  .reward = problem.contexts[0].reward.Evaluate(point->x, point->x),
                                  .reward_rounding = {},
                                  .discount = cell.discount,
                                  .temperature = cell.temperature,
                                  .parallel_for = parallel_for};
    Vector backup;
    for (int i = 0; i < 8; ++i) {
      sweeps.push_back(Seconds([&] { SoftValueBackup(follower, point->contexts[0].solution.value, backup); }));
    }
  }
  memory.peak_megabytes = PeakMegabytes();
  warm.states = memory.states = world.mdp->num_states();
  warm.name += ", warm";
  warm.seconds = Median(evaluations);
  Fill(*point, warm);
  warm.ratio = warm.seconds / Median(sweeps);
  warm.against = "sweep";
  warm.target = most_sweeps;
  warm.note = absl::StrCat("cold ", static_cast<int>(1e3 * cold) / 1e3, " s");
  memory.name += ", memory";
  memory.ratio = 1e6 * 1.048576 * memory.peak_megabytes / CsrBytes(cell, *world.mdp);
  memory.against = "CSR";
  memory.target = most_memory;
  return {warm, memory};
}

std::vector<Row> MeasureColdGradient(const Cell& cell, double memory) {
  World world(cell);
  const ParallelFor parallel_for = StandingThreads(cell.threads);
  const BilevelProblem problem = Leader(world.mdp, std::move(world.reward), cell);
  HypergradientEvaluator evaluator(problem, Options(parallel_for));
  const double start = Now();
  const auto point = EvaluateAt(evaluator, 1, cell);
  Row row = RowOf(cell, "size");
  row.states = world.mdp->num_states();
  row.seconds = Now() - start;
  row.missed = Missed(point);
  if (row.missed.empty()) Fill(*point, row);
  row.peak_megabytes = PeakMegabytes();
  if (!std::isnan(memory)) {
    row.ratio = 1048576 * row.peak_megabytes / memory;
    row.against = absl::StrCat(memory / (1 << 30), " GiB");
    row.target = 1;
  }
  return {row};
}

std::vector<Row> MeasureOuterSteps(const Cell& cell) {
  World world(cell);
  const ParallelFor parallel_for = StandingThreads(cell.threads);
  const BilevelProblem problem = Leader(world.mdp, std::move(world.reward), cell);
  LowerLevelOptions options = Options(parallel_for);
  // A residual may be off by 1/(1 - gamma) times as much in V.
  options.residual_tolerance = kTolerance * std::min(1.0, 100 * (1 - cell.discount));
  HypergradientEvaluator evaluator(problem, options);
  Row row = RowOf(cell, "outer"), step = row;
  row.missed = Missed(EvaluateAt(evaluator, 1, cell));
  row.states = world.mdp->num_states();
  row.sweeps = row.products = row.bound = row.seconds = 0;
  for (int k = 1; k <= kOuterSteps && row.missed.empty(); ++k) {
    const double start = Now();
    const auto point = EvaluateAt(evaluator, std::pow(1 + kOuterMove, k), cell);
    row.seconds += (Now() - start) / kOuterSteps;
    row.missed = Missed(point);
    if (!row.missed.empty()) break;
    Fill(*point, step);
    row.missed = step.missed;
    row.sweeps += step.sweeps / kOuterSteps;
    row.products += step.products / kOuterSteps;
    row.bound = std::max(row.bound, step.bound);
  }
  return {row};
}

void WriteCell(const Cell& cell, const std::string& directory) {
  const testing::Family family = testing::MakeFamily(cell.family, cell.states);
  const auto write = [&](const char* name, const auto& array) {
    std::ofstream out(absl::StrCat(directory, "/", name), std::ios::binary);
    out.write(reinterpret_cast<const char*>(array.data()),
              static_cast<std::streamsize>(static_cast<size_t>(array.size()) * sizeof(*array.data())));
  };
  write("offsets", family.spec.offsets);
  write("columns", family.spec.columns);
  write("probabilities", family.spec.probabilities);
  write("rewards", family.reward);
}

}  // namespace bilevel::benchmarks
