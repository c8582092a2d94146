// Every word of the problem language by itself, against fourth-order central differences of the objective: relative
// errors below 1e-6.

#include <string>
#include <tuple>

#include "core/hypergradient/hypergradient.h"
#include "gtest/gtest.h"
#include "tests/support/random_problem.h"

namespace bilevel::testing {
namespace {

enum class Measure {
  kReturn,
  kReturnOwnHorizon,
  kMatching,
  kDemonstrations,
  kSquaredDistance,
  kForwardKl,
  kReverseKl,
  kEntropy,
  kValue,
  kValueOwnStart,
};
constexpr const char* kMeasures[] = {"Return",    "ReturnOwnHorizon", "Matching", "Demonstrations", "SquaredDistance",
                                     "ForwardKl", "ReverseKl",        "Entropy",  "Value",          "ValueOwnStart"};
constexpr MapKind kMaps[] = {MapKind::kIdentity, MapKind::kSigmoid, MapKind::kSoftmax, MapKind::kExp, MapKind::kTanh};
constexpr const char* kMapNames[] = {"Identity", "Sigmoid", "Softmax", "Exp", "Tanh"};
constexpr int kParameters = 6;

// A distribution over actions in every state; row sums are one.
Vector DrawPolicy(Rng& rng, int num_states, int num_actions) {
  Vector policy(Eigen::Index{num_states} * num_actions);
  for (int s = 0; s < num_states; ++s) {
    auto row = policy.segment(Eigen::Index{s} * num_actions, num_actions);
    for (double& p : row) p = 0.1 + rng.Uniform();
    row /= row.sum();
  }
  return policy;
}

void SetMeasure(Measure measure, Rng& rng, ContextNumbers& c) {
  const int S = c.mdp.num_states, A = c.mdp.num_actions;
  const Vector policy = DrawPolicy(rng, S, A), start = DrawPolicy(rng, 1, S);
  c.quadratic_weight = 0;
  c.state_weights = DrawPolicy(rng, 1, S);
  const auto diverge = [&](Separable::Kind kind) {
    c.divergence_weight = 1;
    c.divergence = kind;
    c.divergence_target = policy;
  };
  switch (measure) {
    case Measure::kReturnOwnHorizon:
      c.leader_discount = 0.8;
      c.leader_initial = start;
      [[fallthrough]];
    case Measure::kReturn:
      c.return_weight = 1;
      c.leader_reward.base = DrawNormal(rng, S * A);
      c.leader_reward.features = c.reward.features;
      return;
    case Measure::kMatching:
      c.matching_weight = 0.1;
      c.matching_features = Eigen::MatrixXd::NullaryExpr(S * A, 2, [&] { return rng.Normal(); }).sparseView();
      c.matching_target = DrawNormal(rng, 2);
      return;
    case Measure::kDemonstrations:
      c.demonstration_weight = 1;
      c.counts = policy;
      return;
    case Measure::kSquaredDistance:
      c.quadratic_weight = 1;
      c.target = policy;
      return;
    case Measure::kForwardKl:
      return diverge(Separable::Kind::kForwardKl);
    case Measure::kReverseKl:
      return diverge(Separable::Kind::kReverseKl);
    case Measure::kEntropy:
      return diverge(Separable::Kind::kEntropy);
    case Measure::kValueOwnStart:
      c.value_initial = start;
      [[fallthrough]];
    case Measure::kValue:
      c.value_weight = 1;
      return;
  }
}

// The measure, the map of the first half of x (the other half are shares), whether dynamics move with the shares.
class Language : public ::testing::TestWithParam<std::tuple<int, int, bool>> {};

TEST_P(Language, HypergradientEqualsCentralDifferences) {
  const auto [measure, map, moves] = GetParam();
  for (const Aggregation aggregation : {Aggregation::kWeightedSum, Aggregation::kWorstCase}) {
    Rng rng(static_cast<uint64_t>(measure + 10 * map));
    ProblemNumbers numbers;
    numbers.num_parameters = kParameters;
    numbers.groups = {{3, kMaps[map], 0.7}, {3, MapKind::kSoftmax, 1.3}};
    for (int i = 0; i < 2; ++i) {
      ContextNumbers c;
      c.mdp = DrawMdp(rng, 6, 3, false, true);
      c.discount = 0.9;
      c.temperature = 0.7;
      c.weight = 1 + i;
      c.reward.base = DrawNormal(rng, 18);
      c.reward.features = Eigen::MatrixXd::NullaryExpr(18, kParameters, [&] { return rng.Normal(); }).sparseView();
      SetMeasure(static_cast<Measure>(measure), rng, c);
      if (moves) c.dynamics = DrawDynamics(rng, c.mdp, {{3, MapKind::kIdentity, 1}, numbers.groups[1]});
      numbers.contexts.push_back(c);
    }
    BilevelProblem problem = Build(numbers);
    problem.aggregation = aggregation;
    const Vector x = 0.5 * DrawNormal(rng, kParameters);
    HypergradientEvaluator evaluator(problem, {});
    const Vector gradient = evaluator.Evaluate(x, Interrupt())->gradient;
    const auto phi = [&](Eigen::Index i, double h) {
      return evaluator.EvaluateObjective(x + h * Vector::Unit(kParameters, i), Interrupt())->value;
    };
    constexpr double kShift = 2e-3;
    Vector numeric(kParameters);
    for (Eigen::Index i = 0; i < kParameters; ++i) {
      numeric[i] =
          (8 * (phi(i, kShift) - phi(i, -kShift)) - (phi(i, 2 * kShift) - phi(i, -2 * kShift))) / (12 * kShift);
    }
    EXPECT_GT(numeric.norm(), 1e-4);
    EXPECT_LT((gradient - numeric).norm(), 1e-6 * numeric.norm());
  }
}

std::string NameOf(const ::testing::TestParamInfo<Language::ParamType>& word) {
  const auto [measure, map, moves] = word.param;
  return std::string(kMeasures[measure]) + kMapNames[map] + (moves ? "Moving" : "");
}

INSTANTIATE_TEST_SUITE_P(EveryWord, Language,
                         ::testing::Combine(::testing::Range(0, 10), ::testing::Range(0, 5), ::testing::Bool()),
                         NameOf);

}  // namespace
}  // namespace bilevel::testing
