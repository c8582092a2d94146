#include "core/mdp/policy_matrix.h"

#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "core/mdp/soft_bellman.h"
#include "gtest/gtest.h"
#include "tests/support/families.h"
#include "tests/support/random_problem.h"
#include "tests/support/threads.h"

namespace bilevel::testing {
namespace {

Vector RandomPolicy(const TabularMdp& mdp, Rng& rng) {
  Vector pi = Vector::NullaryExpr(mdp.num_rows(), [&] { return 0.01 + rng.Uniform(); });
  for (Eigen::Index row = 0; row < pi.size(); ++row) {
    if (!mdp.available(row)) pi[row] = 0;
  }
  return pi.cwiseQuotient(RepeatForActions(mdp, SumOverActions(mdp, pi)));
}

TEST(PolicyMatrix, MultipliesByWhatTheDefinitionSays) {
  int merged = 0, plain = 0;
  for (const std::string_view name : kFamilies) {
    for (const int states : {1, 4, 16, 81, 400}) {
      SCOPED_TRACE(::testing::Message() << name << " " << states);
      const TabularMdp mdp = *TabularMdp::Create(MakeFamily(name, states).spec);
      const int S = mdp.num_states();
      PolicyMatrix matrix(mdp, RunInOrder);
      (matrix.merged() ? merged : plain) += 1;
      Rng rng(static_cast<uint64_t>(states));
      for (int policy = 0; policy < 2; ++policy) {
        const Vector pi = RandomPolicy(mdp, rng), v = DrawNormal(rng, S);
        const Eigen::MatrixXd P = mdp.DensePolicyTransitions(pi);
        matrix.SetPolicy(pi);
        Vector product, transposed;
        matrix.Multiply(v, product);
        matrix.MultiplyTransposed(v, transposed);
        EXPECT_LT((product - P * v).norm(), 1e-13 * (1 + v.norm()));
        EXPECT_LT((transposed - P.transpose() * v).norm(), 1e-13 * (1 + v.norm()));
        // In floats the sums are the same, rounded at the end.
        const Eigen::VectorXf v_floats = v.cast<float>();
        Eigen::VectorXf floats;
        const auto nothing = [](int64_t, int64_t) {};
        matrix.Multiply(v_floats, floats, nothing);
        matrix.Multiply(v_floats.cast<double>(), product);
        EXPECT_EQ(floats, product.cast<float>());
        matrix.MultiplyTransposed(v_floats, floats, nothing);
        matrix.MultiplyTransposed(v_floats.cast<double>(), transposed);
        EXPECT_EQ(floats, transposed.cast<float>());
        Eigen::MatrixXd visited = Eigen::MatrixXd::Zero(S, S);
        matrix.ForEach([&](Eigen::Index s, uint32_t s2, double p) { visited(s, s2) += p; });
        EXPECT_LT((visited - P).norm(), 1e-13 * S);
        EXPECT_EQ(matrix.max_row_entries(), (P.array() > 0).rowwise().count().maxCoeff());
        EXPECT_GE(matrix.max_column_entries(), (P.array() > 0).colwise().count().maxCoeff());
      }
    }
  }
  EXPECT_GT(merged, 3);
  EXPECT_GT(plain, 1);
}

// So many that successors are fetched ahead and sums and transposes are made in shares of the states.
TEST(PolicyMatrix, FollowsScatteredSuccessors) {
  constexpr int kStates = 140'001, kRows = 2 * kStates;
  for (const bool ragged : {false, true}) {
    SCOPED_TRACE(ragged ? "ragged" : "even");
    TabularMdpSpec spec{.num_states = kStates, .num_actions = 2, .offsets = {0}};
    Rng rng(ragged ? 7 : 8);
    for (int row = 0; row < kRows; ++row) {
      const size_t count = ragged ? 1 + rng.Below(6) : 3;
      std::set<uint32_t> successors;
      while (successors.size() < count) successors.insert(static_cast<uint32_t>(rng.Below(kStates)));
      spec.columns.insert(spec.columns.end(), successors.begin(), successors.end());
      spec.probabilities.insert(spec.probabilities.end(), count, 1.0 / static_cast<double>(count));
      spec.offsets.push_back(spec.columns.size());
    }
    const TabularMdp mdp = *TabularMdp::Create(spec);
    EXPECT_EQ(mdp.transitions().layout(), ragged ? ActionRows::Layout::kRows : ActionRows::Layout::kSlices);
    EXPECT_EQ(mdp.transitions().runs(), nullptr);
    const Vector pi = RandomPolicy(mdp, rng), v = DrawNormal(rng, kStates), y = DrawNormal(rng, kRows);
    Vector next = Vector::Zero(kRows), pushed = Vector::Zero(kStates);
    Vector product = Vector::Zero(kStates), transposed = Vector::Zero(kStates);
    for (int row = 0; row < kRows; ++row) {
      for (uint64_t k = spec.offsets[row]; k < spec.offsets[row + 1]; ++k) {
        const double p = spec.probabilities[k];
        next[row] += p * v[spec.columns[k]];
        pushed[spec.columns[k]] += p * y[row];
        product[row / 2] += pi[row] * p * v[spec.columns[k]];
        transposed[spec.columns[k]] += pi[row] * p * v[row / 2];
      }
    }
    for (const ParallelFor& parallel_for : {ParallelFor(RunInOrder), Threads(3)}) {
      EXPECT_LT((mdp.ExpectNext(v, parallel_for) - next).lpNorm<Eigen::Infinity>(), 1e-13);
      EXPECT_LT((mdp.PushForward(y, parallel_for) - pushed).lpNorm<Eigen::Infinity>(), 1e-12);
      mdp.ForgetPolicyPattern();
      PolicyMatrix matrix(mdp, parallel_for);
      matrix.SetPolicy(pi);
      Vector result;
      matrix.Multiply(v, result);
      EXPECT_LT((result - product).lpNorm<Eigen::Infinity>(), 1e-13);
      matrix.MultiplyTransposed(v, result);
      EXPECT_LT((result - transposed).lpNorm<Eigen::Infinity>(), 1e-12);
      const auto nothing = [](int64_t, int64_t) {};
      Eigen::VectorXf floats;
      matrix.Multiply(Eigen::VectorXf(v.cast<float>()), floats, nothing);
      EXPECT_LT((floats.cast<double>() - product).lpNorm<Eigen::Infinity>(), 1e-5);
    }
  }
}

// An environment in single precision, and one in double precision of the same numbers.
TEST(PolicyMatrix, GivesTheSameBitsFromSinglePrecision) {
  for (const std::string_view name : kFamilies) {
    TabularMdpSpec spec = MakeFamily(name, 400).spec;
    spec.single_precision = true;
    const TabularMdp narrow = *TabularMdp::Create(spec);
    ASSERT_TRUE(narrow.transitions().in_floats());
    spec.single_precision = false;
    spec.probabilities = narrow.Probabilities();
    spec.termination_probability.resize(narrow.num_rows());
    for (Eigen::Index row = 0; row < narrow.num_rows(); ++row) {
      double sum = 0;
      for (uint64_t k = spec.offsets[row]; k < spec.offsets[row + 1]; ++k) sum += spec.probabilities[k];
      spec.termination_probability[row] = 1 - sum;
    }
    const TabularMdp wide = *TabularMdp::Create(spec);
    EXPECT_EQ(narrow.max_row_sum(), wide.max_row_sum());
    Rng rng(5);
    const Vector pi = RandomPolicy(wide, rng), v = DrawNormal(rng, wide.num_states());
    const Vector y = DrawNormal(rng, wide.num_rows());
    EXPECT_EQ(narrow.ExpectNext(v), wide.ExpectNext(v)) << name;
    EXPECT_EQ(narrow.PushForward(y), wide.PushForward(y)) << name;
    EXPECT_EQ(narrow.DensePolicyTransitions(pi), wide.DensePolicyTransitions(pi)) << name;
    PolicyMatrix from_floats(narrow, RunInOrder), from_doubles(wide, RunInOrder);
    from_floats.SetPolicy(pi);
    from_doubles.SetPolicy(pi);
    Vector product, expected;
    from_floats.Multiply(v, product);
    from_doubles.Multiply(v, expected);
    EXPECT_EQ(product, expected) << name;
    from_floats.MultiplyTransposed(v, product);
    from_doubles.MultiplyTransposed(v, expected);
    EXPECT_EQ(product, expected) << name;
    // What moves is in double precision from then on.
    TabularMdp moved = narrow;
    const std::vector<double> thirds(spec.probabilities.size(), 1.0 / 3);
    moved.Move(thirds, wide.initial_distribution(), 0);
    EXPECT_EQ(moved.Probabilities(), thirds);
  }
}

TEST(PolicyPattern, IsMadeOnceForAllWhoAskAtOnce) {
  const TabularMdp mdp = *TabularMdp::Create(MakeFamily("grid-slip", 40'000).spec);
  const TabularMdp copy = mdp;
  EXPECT_EQ(mdp.PolicyPatternBytes(), 0);
  std::vector<std::shared_ptr<const PolicyPattern>> patterns(6);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < patterns.size(); ++i) {
    threads.emplace_back([&, i] {
      patterns[i] = (i % 2 == 0 ? mdp : copy).SharePolicyPattern(RunInOrder);
      patterns[i]->MakeTransposed(mdp.transitions(), RunInOrder);
      EXPECT_GT(mdp.PolicyPatternBytes(), 0);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& pattern : patterns) EXPECT_EQ(pattern, patterns[0]);
  EXPECT_EQ(copy.PolicyPatternBytes(), patterns[0]->Bytes());
  mdp.ForgetPolicyPattern();
  EXPECT_EQ(copy.PolicyPatternBytes(), 0);
  EXPECT_NE(mdp.SharePolicyPattern(RunInOrder), patterns[0]);
}

TEST(PolicyMatrix, GivesTheSameBitsInAnyNumberOfThreads) {
  for (const std::string_view name : kFamilies) {
    const TabularMdp mdp = *TabularMdp::Create(MakeFamily(name, 40'000).spec);
    Rng rng(3);
    const Vector pi = RandomPolicy(mdp, rng), v = DrawNormal(rng, mdp.num_states());
    PolicyMatrix alone(mdp, RunInOrder), together(mdp, Threads(3));
    Vector results[2][2];
    for (int i = 0; i < 2; ++i) {
      PolicyMatrix& matrix = i == 0 ? alone : together;
      matrix.SetPolicy(pi);
      matrix.Multiply(v, results[i][0]);
      matrix.MultiplyTransposed(v, results[i][1]);
    }
    EXPECT_EQ(results[0][0], results[1][0]) << name;
    EXPECT_EQ(results[0][1], results[1][1]) << name;
    RegularizedMdp follower;
    follower.mdp = &mdp;
    follower.reward = DrawNormal(rng, mdp.num_rows());
    follower.discount = 0.9;
    const SoftBackup one = ApplySoftBellman(follower, v);
    follower.parallel_for = Threads(3);
    const SoftBackup many = ApplySoftBellman(follower, v);
    EXPECT_EQ(one.value, many.value) << name;
    EXPECT_EQ(one.pi, many.pi) << name;
  }
}

}  // namespace
}  // namespace bilevel::testing
