#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "core/hypergradient/hypergradient.h"
#include "gtest/gtest.h"
#include "tests/support/families.h"
#include "tests/support/random_problem.h"
#include "tests/support/threads.h"

namespace bilevel::testing {
namespace {

// Six contexts with one environment: enough for threads of their own, solved by sweeps and by Krylov methods.
BilevelProblem SixContexts() {
  constexpr int kParameters = 3;
  Rng rng(11);
  Family family = MakeFamily("grid-slip", 400);
  const auto mdp = std::make_shared<const TabularMdp>(*TabularMdp::Create(std::move(family.spec)));
  BilevelProblem problem{.num_parameters = kParameters,
                         .map = *ParameterMap::Create(kParameters, {}),
                         .feasible_set = *FeasibleSet::Create(kParameters, {}),
                         .sense = Sense::kMinimize};
  for (int c = 0; c < 6; ++c) {
    ParametricRewardSpec spec;
    spec.base = family.reward;
    spec.features = SparseRows(mdp->num_rows(), kParameters);
    for (Eigen::Index row = 0; row < mdp->num_rows(); ++row) {
      spec.features.insert(row, static_cast<Eigen::Index>(rng.Below(kParameters))) = rng.Normal();
    }
    Context context{.mdp = mdp,
                    .discount = 0.9 + 0.015 * c,
                    .temperature = 0.1 + 0.1 * c,
                    .reward = *ParametricReward::Create(mdp->num_rows(), kParameters, std::move(spec)),
                    .weight = c == 2 ? 0.0 : 1.0 + c};
    Separable distance;
    distance.state_weights = Vector::Ones(mdp->num_states());
    context.objective.push_back(ObjectiveTerm{1.0, std::move(distance)});
    problem.contexts.push_back(std::move(context));
  }
  return problem;
}

LowerLevelOptions In(const ParallelFor& parallel_for) {
  LowerLevelOptions options;
  options.parallel_for = parallel_for;
  return options;
}

TEST(ContextsApart, GiveTheSameBitsInThreadsAndInOrder) {
  const BilevelProblem problem = SixContexts();
  int rounds = 0;
  const ParallelFor counted = [&rounds](int count, const std::function<void(int)>& task) {
    rounds += count == 6 ? 1 : 0;
    Threads(3)(count, task);
  };
  HypergradientEvaluator in_order(problem, In(RunInOrder)), in_threads(problem, In(counted));
  Rng rng(1);
  for (int point = 0; point < 3; ++point) {
    const Vector x = DrawNormal(rng, problem.num_parameters, 0.1);
    const HypergradientPoint one = *in_order.EvaluateCertified(x, Interrupt());
    const HypergradientPoint other = *in_threads.EvaluateCertified(x, Interrupt());
    EXPECT_EQ(one.objective, other.objective);
    EXPECT_EQ(one.context_objectives, other.context_objectives);
    EXPECT_EQ(one.gradient, other.gradient);
    EXPECT_EQ(one.certificate.backward_error, other.certificate.backward_error);
    EXPECT_EQ(one.certificate.adjoint_backward_error, other.certificate.adjoint_backward_error);
    EXPECT_EQ(one.certificate.error_bound, other.certificate.error_bound);
    EXPECT_EQ(one.certificate.objective_error_bound, other.certificate.objective_error_bound);
    for (size_t c = 0; c < problem.contexts.size(); ++c) {
      EXPECT_EQ(one.contexts[c].solution.value, other.contexts[c].solution.value);
      EXPECT_EQ(one.contexts[c].counters.products, other.contexts[c].counters.products);
      EXPECT_EQ(in_order.warm_start().adjoints[c], in_threads.warm_start().adjoints[c]);
    }
  }
  EXPECT_EQ(rounds, 3);
}

// The first context whose answer is refused says so, whichever thread was first.
TEST(ContextsApart, AreRefusedAsInOrder) {
  const BilevelProblem problem = SixContexts();
  std::vector<absl::Status> statuses;
  for (const ParallelFor& parallel_for : {ParallelFor(RunInOrder), Threads(3)}) {
    LowerLevelOptions options = In(parallel_for);
    options.residual_tolerance = 1e-18;
    HypergradientEvaluator evaluator(problem, options);
    statuses.push_back(evaluator.Evaluate(Vector::Zero(problem.num_parameters), Interrupt()).status());
  }
  EXPECT_FALSE(statuses[0].ok());
  EXPECT_EQ(statuses[0], statuses[1]);
}

TEST(ContextsApart, StopWithTheCall) {
  const BilevelProblem problem = SixContexts();
  std::atomic<bool> cancelled = true;
  HypergradientEvaluator evaluator(problem, In(Threads(3)));
  const auto point = evaluator.Evaluate(Vector::Zero(problem.num_parameters), Interrupt(&cancelled, std::nullopt));
  ASSERT_TRUE(point.ok());
  EXPECT_EQ(point->termination.reason, StopReason::kCancelled);
}

}  // namespace
}  // namespace bilevel::testing
