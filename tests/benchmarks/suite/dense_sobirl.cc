#include "tests/benchmarks/suite/dense_sobirl.h"

#include <algorithm>
#include <fstream>
#include <memory>
#include <numeric>
#include <utility>

#include "Eigen/LU"
#include "absl/strings/str_cat.h"
#include "core/base/rng.h"
#include "core/hypergradient/hypergradient.h"
#include "tests/benchmarks/suite/clock.h"

namespace bilevel::benchmarks {
namespace {

constexpr int kActions = 5, kParameters = 100;
// Of one outer iteration at S = 10, as their paper has it: 76 to 94 ms.
constexpr double kPublished = 0.076;
// Steps from x_1, while the follower still moves; so often over.
constexpr int kSteps = 40, kRepeats = 8;

// Row by row: U{1..S-1} distinct states with weights U(0, 1), normalised.
TabularMdpSpec DrawTransitions(Rng& rng, int S) {
  TabularMdpSpec spec;
  spec.num_states = S;
  spec.num_actions = kActions;
  spec.offsets.push_back(0);
  std::vector<uint32_t> states(static_cast<size_t>(S));
  std::iota(states.begin(), states.end(), 0U);
  for (int row = 0; row < S * kActions; ++row) {
    const uint64_t count = 1 + rng.Below(static_cast<uint64_t>(S) - 1);
    for (uint64_t i = 0; i < count; ++i) {
      std::swap(states[i], states[i + rng.Below(static_cast<uint64_t>(S) - i)]);
    }
    std::sort(states.begin(), states.begin() + static_cast<std::ptrdiff_t>(count));
    Vector weights(static_cast<Eigen::Index>(count));
    for (double& weight : weights) weight = rng.Uniform();
    weights /= weights.sum();
    spec.columns.insert(spec.columns.end(), states.begin(), states.begin() + static_cast<std::ptrdiff_t>(count));
    spec.probabilities.insert(spec.probabilities.end(), weights.begin(), weights.end());
    spec.offsets.push_back(spec.columns.size());
  }
  return spec;
}

Row RowOf(const std::string& name, int num_states, double discount, double seconds) {
  Row row;
  row.table = "dense";
  row.name = name;
  row.states = num_states;
  row.discount = discount;
  row.temperature = 1;
  row.seconds = seconds;
  return row;
}

}  // namespace

DenseSobirl MakeDenseSobirl(int num_states, double discount) {
  Rng rng(1);
  TabularMdpSpec spec = DrawTransitions(rng, num_states);
  Eigen::MatrixXd transitions = Eigen::MatrixXd::Zero(num_states * kActions, num_states);
  for (size_t row = 0; row + 1 < spec.offsets.size(); ++row) {
    for (uint64_t entry = spec.offsets[row]; entry < spec.offsets[row + 1]; ++entry) {
      transitions(static_cast<Eigen::Index>(row), spec.columns[entry]) = spec.probabilities[entry];
    }
  }
  ParametricRewardSpec reward;
  reward.coefficient.resize(num_states * kActions);
  for (double& entry : reward.coefficient) entry = rng.Uniform();
  for (double& entry : reward.coefficient) entry *= rng.Uniform();
  reward.matrix.resize(kParameters, kParameters);
  for (double& entry : reward.matrix.reshaped<Eigen::RowMajor>()) entry = rng.Normal();
  Vector start(kParameters);
  for (double& entry : start) entry = rng.Normal();

  const ParametricRewardSpec kept = reward;
  const auto mdp = std::make_shared<const TabularMdp>(*TabularMdp::Create(std::move(spec)));
  Context context{.mdp = mdp,
                  .discount = discount,
                  .temperature = 1,
                  .reward = *ParametricReward::Create(mdp->num_rows(), kParameters, std::move(reward))};
  Separable square;
  square.target = Vector::Zero(mdp->num_rows());
  square.state_weights = Vector::Ones(num_states);
  context.objective.push_back(ObjectiveTerm{1.0, std::move(square)});
  BilevelProblem problem{.num_parameters = kParameters,
                         .map = *ParameterMap::Create(kParameters, {}),
                         .penalties = {.squared_l2 = 1},
                         .feasible_set = *FeasibleSet::Create(kParameters, {}),
                         .sense = Sense::kMinimize};
  problem.contexts.push_back(std::move(context));
  return {std::move(problem), std::move(transitions), kept.coefficient, kept.matrix, std::move(start)};
}

std::vector<Row> MeasureDenseSobirl(int num_states, double discount) {
  const DenseSobirl dense = MakeDenseSobirl(num_states, discount);
  std::vector<double> ours, certified, lu, product;
  double bound = 0, sweeps = 0, products = 0, factorizations = 0;
  Vector pulled, pushed;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    HypergradientEvaluator evaluator(dense.problem, {}), certifier(dense.problem, {});
    Vector x = dense.start;
    HypergradientPoint point = *evaluator.Evaluate(x, Interrupt());
    const Eigen::MatrixXd A =
        Eigen::MatrixXd::Identity(num_states, num_states) -
        discount * dense.problem.contexts[0].mdp->DensePolicyTransitions(point.contexts[0].solution.backup.pi);
    const Eigen::MatrixXd jacobian = dense.coefficient * (dense.matrix * x + dense.matrix.transpose() * x).transpose();
    for (int step = 0; step < kSteps; ++step) {
      x -= kDenseStep * point.gradient;
      ours.push_back(Seconds([&] { point = *evaluator.Evaluate(x, Interrupt()); }));
      sweeps += point.contexts[0].solution.sweeps;
      products += static_cast<double>(point.contexts[0].counters.products);
      factorizations += point.contexts[0].counters.factorizations;
      HypergradientPoint bounded;
      certified.push_back(Seconds([&] { bounded = *certifier.EvaluateCertified(x, Interrupt()); }));
      bound = std::max(bound, bounded.certificate.error_bound / bounded.gradient.norm());
      lu.push_back(Seconds([&] {
        const Eigen::PartialPivLU<Eigen::MatrixXd> factors(A);
        if (factors.matrixLU()(0, 0) == 0) std::abort();  // keeps it alive
      }));
      product.push_back(Seconds([&] {
        pushed = jacobian * x;
        pulled = jacobian.transpose() * pushed;
        if (pulled[0] == 0) std::abort();
      }));
    }
  }
  const auto rounds = static_cast<double>(ours.size());
  Row row = RowOf("DENSE-SOBIRL", num_states, discount, Median(ours)), exact = row;
  row.sweeps = sweeps / rounds;
  row.products = products / rounds;
  row.ratio = row.seconds / (3 * Median(lu) + Median(product));
  row.against = "(3 LU + 2 J)";
  row.target = 1;
  char note[96];
  std::snprintf(note, sizeof note, "LU %.2f us, 2 J %.2f us; %.2f factorisations a step", 1e6 * Median(lu),
                1e6 * Median(product), factorizations / rounds);
  row.note = note;
  exact.name += ", certified";
  exact.seconds = Median(certified);
  exact.bound = bound;
  exact.ratio = exact.seconds / row.seconds;
  exact.against = "without certificates";
  if (!(bound <= 1e-6)) exact.missed = "bound above 1e-6";
  std::vector<Row> rows = {row, exact};
  if (num_states == 10) {
    row.name = "DENSE-SOBIRL, authors'";
    row.ratio = kPublished / row.seconds;
    row.against = "faster than 76 ms";
    row.target = 1000;
    row.at_least = true;
    row.note.clear();
    rows.push_back(row);
  }
  return rows;
}

double EndOfDenseSobirl(int num_states, double discount) {
  const DenseSobirl dense = MakeDenseSobirl(num_states, discount);
  HypergradientEvaluator evaluator(dense.problem, {});
  Vector x = dense.start;
  for (int step = 0; step < kSteps; ++step) x -= kDenseStep * evaluator.Evaluate(x, Interrupt())->gradient;
  return x.norm();
}

void WriteDenseSobirl(int num_states, double discount, const std::string& directory) {
  const DenseSobirl dense = MakeDenseSobirl(num_states, discount);
  const auto write = [&](const char* name, const auto& matrix) {
    const Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> rows = matrix;
    std::ofstream out(absl::StrCat(directory, "/", name), std::ios::binary);
    out.write(reinterpret_cast<const char*>(rows.data()), rows.size() * static_cast<std::streamsize>(sizeof(double)));
  };
  write("transitions", dense.transitions);
  write("coefficient", dense.coefficient);
  write("matrix", dense.matrix);
  write("start", dense.start);
}

}  // namespace bilevel::benchmarks
