// Incomplete LU and multigrid: what approximates (I - gamma P^pi)^{-1}.

#include <cmath>
#include <map>
#include <string_view>
#include <vector>

#include "core/mdp/aggregation_multigrid.h"
#include "core/mdp/incomplete_lu.h"
#include "core/mdp/policy_system.h"
#include "core/mdp/soft_bellman.h"
#include "gtest/gtest.h"
#include "tests/support/dense_algebra.h"
#include "tests/support/families.h"
#include "tests/support/random_problem.h"

namespace bilevel::testing {
namespace {

// I - gamma P^pi of a family, with the soft policy at V = 0.
struct System {
  System(std::string_view name, int states, double discount)
      : family(MakeFamily(name, states)),
        mdp(*TabularMdp::Create(family.spec)),
        gamma(discount),
        matrix(mdp, RunInOrder) {
    RegularizedMdp follower;
    follower.mdp = &mdp;
    follower.reward = family.reward;
    follower.discount = discount;
    follower.temperature = 0.1;
    pi = ApplySoftBellman(follower, Vector::Zero(mdp.num_states())).pi;
    matrix.SetPolicy(pi);
    if (!matrix.merged()) return;
    A = Store({matrix, gamma});
  }

  Eigen::MatrixXd Dense() const {
    return Eigen::MatrixXd::Identity(mdp.num_states(), mdp.num_states()) - gamma * mdp.DensePolicyTransitions(pi);
  }

  Family family;
  TabularMdp mdp;
  double gamma;
  PolicyMatrix matrix;
  Vector pi;
  SparseSquare A;
};

TEST(SparseSquare, HoldsTheSystemAndItsProducts) {
  for (const char* name : {"grid-slip", "queue-2d", "birth-death"}) {
    const System system(name, 100, 0.9);
    const Eigen::MatrixXd A = system.Dense();
    Rng rng(1);
    const Vector x = DrawNormal(rng, 100), b = DrawNormal(rng, 100);
    Vector r;
    SubtractProduct(system.A, x, b, RunInOrder, r);
    EXPECT_LT((r - (b - A * x)).norm(), 1e-12) << name;
    SubtractTransposedProduct(system.A, x, b, r);
    EXPECT_LT((r - (b - A.transpose() * x)).norm(), 1e-12) << name;
    SubtractProduct({system.matrix, system.gamma}, x, b, r);
    EXPECT_LT((r - (b - A * x)).norm(), 1e-12) << name;
    SubtractTransposedProduct({system.matrix, system.gamma}, x, b, r);
    EXPECT_LT((r - (b - A.transpose() * x)).norm(), 1e-12) << name;
  }
}

TEST(SparseSquare, CondensesToSumsOverGroups) {
  const System system("queue-2d", 100, 0.95);
  std::vector<uint32_t> group;
  const int64_t groups = JoinPairs(system.A, group);
  EXPECT_GE(groups, 50);
  EXPECT_LT(groups, 65);
  Eigen::MatrixXd members = Eigen::MatrixXd::Zero(100, groups);
  for (int s = 0; s < 100; ++s) members(s, group[static_cast<size_t>(s)]) = 1;
  EXPECT_LE(members.colwise().sum().maxCoeff(), 2);
  EXPECT_GE(members.colwise().sum().minCoeff(), 1);
  const SparseSquare small = Condense(system.A, group, groups);
  Eigen::MatrixXd dense = Eigen::MatrixXd::Zero(groups, groups);
  for (int64_t g = 0; g < groups; ++g) {
    for (uint64_t k = small.offsets[static_cast<size_t>(g)]; k < small.offsets[static_cast<size_t>(g) + 1]; ++k) {
      if (k > small.offsets[static_cast<size_t>(g)]) {
        EXPECT_GT(small.columns[k], small.columns[k - 1]);
      }
      dense(g, small.columns[k]) = small.values[k];
    }
  }
  EXPECT_LT((dense - members.transpose() * system.Dense() * members).norm(), 1e-12);
}

// Without fill-in there is nothing to leave out but the rounding of factors to single precision: what a solve leaves of
// b is that, entry by entry, and a few refinements with it are exact.
TEST(IncompleteLu, IsExactOnAChain) {
  const System system("birth-death", 200, 0.99);
  const IncompleteLu lu(system.A, RunInOrder);
  Rng rng(2);
  const Vector b = DrawNormal(rng, 200);
  const auto expect_exact = [&](const Eigen::MatrixXd& A, auto solve) {
    Vector x, step;
    solve(b, x);
    // |L| |D| |U| <= 3 |A| here; each of the three is rounded once.
    const Vector most = 9 * 0x1p-24 * (A.cwiseAbs() * x.cwiseAbs());
    EXPECT_TRUE(((b - A * x).cwiseAbs().array() <= most.array()).all());
    for (int i = 0; i < 3; ++i) {
      solve(b - A * x, step);
      x += step;
    }
    EXPECT_LT((x - SolveDense(A, b)).norm(), 1e-10 * x.norm());
  };
  expect_exact(system.Dense(), [&](const Vector& r, Vector& x) { lu.Solve(r, x); });
  expect_exact(system.Dense().transpose(), [&](const Vector& r, Vector& x) { lu.SolveTransposed(r, x); });
}

SparseSquare FromRows(const std::vector<std::map<uint32_t, double>>& rows) {
  SparseSquare A;
  A.offsets.push_back(0);
  for (const auto& row : rows) {
    for (const auto& [column, value] : row) {
      A.columns.push_back(column);
      A.values.push_back(value);
    }
    A.offsets.push_back(A.columns.size());
  }
  return A;
}

// Ones on the diagonal and, below or above it, two entries a row or, ragged, up to three.
SparseSquare RandomTriangle(int size, bool lower, bool ragged, Rng& rng) {
  std::vector<std::map<uint32_t, double>> rows;
  for (int s = 0; s < size; ++s) {
    std::map<uint32_t, double>& row = rows.emplace_back();
    row[static_cast<uint32_t>(s)] = 1;
    const int count = ragged ? static_cast<int>(rng.Below(4)) : 2;
    while (static_cast<int>(row.size()) <= count) {
      const int far = 1 + static_cast<int>(rng.Below(40)), column = lower ? s - far : s + far;
      if (column < 0 || column >= size) break;
      row[static_cast<uint32_t>(column)] = -0.3 * rng.Uniform();
    }
  }
  return FromRows(rows);
}

// Of a triangle nothing is left out but what couples blocks, and the rounding to single precision.
void ExpectExactInBlocks(const SparseSquare& A, const IncompleteLu& lu) {
  const int64_t S = A.size();
  const std::vector<int64_t>& blocks = lu.first_states();
  Rng rng(11);
  const Vector b = DrawNormal(rng, S);
  Vector x, z;
  lu.Solve(b, x);
  lu.SolveTransposed(b, z);
  Vector r = b, most = Vector::Zero(S), r_transposed = b, most_transposed = most;
  size_t block = 0;
  for (int64_t s = 0; s < S; ++s) {
    while (s >= blocks[block + 1]) ++block;
    A.ForEachInRow(s, [&](uint32_t column, double value) {
      if (column < blocks[block] || column >= blocks[block + 1]) return;
      r[s] -= value * x[column];
      most[s] += std::abs(value * x[column]);
      r_transposed[column] -= value * z[s];
      most_transposed[column] += std::abs(value * z[s]);
    });
  }
  EXPECT_TRUE((r.cwiseAbs().array() <= 0x1.1p-24 * most.array()).all());
  EXPECT_TRUE((r_transposed.cwiseAbs().array() <= 0x1.1p-24 * most_transposed.array()).all());
  EXPECT_GT(r.norm(), 0);
}

// However its rows are laid side by side.
TEST(IncompleteLu, SolvesTrianglesInBlocks) {
  constexpr int kSize = 40'003;
  for (const bool lower : {false, true}) {
    for (const bool ragged : {false, true}) {
      SCOPED_TRACE(::testing::Message() << (lower ? "lower" : "upper") << (ragged ? ", ragged" : ""));
      Rng rng(8);
      const SparseSquare A = RandomTriangle(kSize, lower, ragged, rng);
      const IncompleteLu blocks(A, RunInOrder, IncompleteLu::Order::kBlocks);
      EXPECT_EQ(blocks.order(), ragged ? IncompleteLu::Order::kAlone : IncompleteLu::Order::kBlocks);
      EXPECT_EQ(blocks.first_states().size(), ragged ? 2U : 9U);
      ExpectExactInBlocks(A, blocks);
      ExpectExactInBlocks(A, IncompleteLu(A, RunInOrder));
    }
  }
}

// Square cells, each coupled with those before it to the left, above and, on every third row, above and to the
// right; or with those after it.
TEST(IncompleteLu, SolvesTrianglesByLevels) {
  for (const bool lower : {false, true}) {
    SCOPED_TRACE(lower);
    const int side = lower ? 760 : 300;  // in two groups, or one
    Rng rng(9);
    std::vector<std::map<uint32_t, double>> rows(static_cast<size_t>(side * side));
    const auto couple = [&](int i, int j, int i2, int j2) {
      if (i2 < 0 || j2 < 0 || j2 >= side) return;
      const int s = i * side + j, s2 = i2 * side + j2;
      rows[static_cast<size_t>(lower ? s : s2)][static_cast<uint32_t>(lower ? s2 : s)] = -0.3 * rng.Uniform();
    };
    for (int i = 0; i < side; ++i) {
      for (int j = 0; j < side; ++j) {
        const int s = i * side + j;
        rows[static_cast<size_t>(s)][static_cast<uint32_t>(s)] = 1;
        couple(i, j, i, j - 1);
        couple(i, j, i - 1, j);
        if (i % 3 == 0) couple(i, j, i - 1, j + 1);
      }
    }
    const SparseSquare A = FromRows(rows);
    const IncompleteLu lu(A, RunInOrder);
    EXPECT_EQ(lu.order(), IncompleteLu::Order::kLevels);
    EXPECT_EQ(lu.first_states().size(), lower ? 3U : 2U);
    ExpectExactInBlocks(A, lu);
  }
}

// Both are the same factorisation as state by state, in the order of the states: here by its definition.
TEST(IncompleteLu, IsThatOfTheOrderOfStates) {
  for (const char* name : {"grid-slip", "queue-2d", "birth-death"}) {
    SCOPED_TRACE(name);
    const System system(name, 10'000, 0.99);
    const int64_t S = system.A.size();
    std::vector<std::map<int64_t, double>> rows(static_cast<size_t>(S));
    for (int64_t s = 0; s < S; ++s) {
      auto& row = rows[static_cast<size_t>(s)];
      system.A.ForEachInRow(s, [&](uint32_t column, double value) { row[column] = value; });
      for (auto& [k, factor] : row) {
        if (k >= s) break;
        const auto& above = rows[static_cast<size_t>(k)];
        factor /= above.at(k);
        for (auto entry = above.upper_bound(k); entry != above.end(); ++entry) {
          if (const auto found = row.find(entry->first); found != row.end()) found->second -= factor * entry->second;
        }
      }
    }
    const IncompleteLu lu(system.A, RunInOrder);
    EXPECT_EQ(lu.order(),
              name == std::string_view("birth-death") ? IncompleteLu::Order::kAlone : IncompleteLu::Order::kLevels);
    Rng rng(10);
    const Vector b = DrawNormal(rng, S);
    Vector x = b, z = b, solved;
    for (int64_t s = 0; s < S; ++s) {
      for (const auto& [k, factor] : rows[static_cast<size_t>(s)]) {
        if (k < s) x[s] -= factor * x[k];
      }
    }
    for (int64_t s = S - 1; s >= 0; --s) {
      const auto& row = rows[static_cast<size_t>(s)];
      for (const auto& [k, factor] : row) {
        if (k > s) x[s] -= factor * x[k];
      }
      x[s] /= row.at(s);
    }
    lu.Solve(b, solved);
    EXPECT_LT((solved - x).norm(), 1e-5 * x.norm());
    for (int64_t s = 0; s < S; ++s) {
      const auto& row = rows[static_cast<size_t>(s)];
      z[s] /= row.at(s);
      for (const auto& [k, factor] : row) {
        if (k > s) z[k] -= factor * z[s];
      }
    }
    for (int64_t s = S - 1; s >= 0; --s) {
      for (const auto& [k, factor] : rows[static_cast<size_t>(s)]) {
        if (k < s) z[k] -= factor * z[s];
      }
    }
    lu.SolveTransposed(b, solved);
    EXPECT_LT((solved - z).norm(), 1e-5 * z.norm());
  }
}

TEST(IncompleteLu, RenewsForAnotherMatrix) {
  const System system("grid-slip", 400, 0.9);
  IncompleteLu renewed(system.A, RunInOrder);
  renewed.Renew({system.matrix, 0.99});
  const IncompleteLu fresh(Store({system.matrix, 0.99}), RunInOrder);
  Rng rng(3);
  const Vector b = DrawNormal(rng, 400);
  Vector one, other;
  renewed.Solve(b, one);
  fresh.Solve(b, other);
  EXPECT_EQ(one, other);
}

template <typename Preconditioner>
void ExpectAdjoint(const Preconditioner& preconditioner, Eigen::Index size) {
  Rng rng(4);
  for (int i = 0; i < 5; ++i) {
    const Vector b = DrawNormal(rng, size), y = DrawNormal(rng, size);
    Vector x, z;
    preconditioner.Solve(b, x);
    preconditioner.SolveTransposed(y, z);
    EXPECT_NEAR(y.dot(x), z.dot(b), 1e-10 * x.norm() * y.norm());
  }
}

TEST(Preconditioners, AreTransposedByTheirTransposedSolves) {
  for (const char* name : {"grid-slip", "queue-2d", "birth-death"}) {
    SCOPED_TRACE(name);
    const System system(name, 40'000, 0.999);
    ExpectAdjoint(IncompleteLu(system.A, RunInOrder), system.mdp.num_states());
    ExpectAdjoint(AggregationMultigrid({system.matrix, system.gamma}, RunInOrder), system.mdp.num_states());
  }
}

template <typename Preconditioner>
void ExpectSameInFloats(const Preconditioner& preconditioner, Eigen::Index size) {
  Rng rng(6);
  const Eigen::VectorXf b_floats = DrawNormal(rng, size).cast<float>();
  const Vector b = b_floats.cast<double>();
  Vector x;
  Eigen::VectorXf floats;
  preconditioner.Solve(b_floats, floats);
  preconditioner.Solve(b, x);
  EXPECT_LT((floats.cast<double>() - x).norm(), 1e-5 * x.norm());
  preconditioner.SolveTransposed(b_floats, floats);
  preconditioner.SolveTransposed(b, x);
  EXPECT_LT((floats.cast<double>() - x).norm(), 1e-5 * x.norm());
}

TEST(Preconditioners, DoTheSameInFloats) {
  for (const char* name : {"grid-slip", "queue-2d", "birth-death"}) {
    SCOPED_TRACE(name);
    const System system(name, 40'000, 0.99);
    ExpectSameInFloats(IncompleteLu(system.A, RunInOrder), system.mdp.num_states());
    ExpectSameInFloats(AggregationMultigrid({system.matrix, system.gamma}, RunInOrder), system.mdp.num_states());
  }
}

// A constant moves as one group: what incomplete LU alone hardly reduces, multigrid does at once.
TEST(AggregationMultigrid, SeesWhatMovesTogether) {
  const System system("queue-2d", 10'000, 0.9999);
  const Vector ones = Vector::Ones(system.mdp.num_states());
  const Vector b = Vector::Constant(ones.size(), 1 - system.gamma);  // of which the solution is 1
  const auto error = [&](const auto& preconditioner) {
    Vector x;
    preconditioner.Solve(b, x);
    return (x - ones).norm() / ones.norm();
  };
  EXPECT_GT(error(IncompleteLu(system.A, RunInOrder)), 0.9);
  EXPECT_LT(error(AggregationMultigrid({system.matrix, system.gamma}, RunInOrder)), 1e-6);
}

// Vectors are in single precision there, and the answer is not; neither where it begins at 1e200, nor where most of it
// is below what single precision holds.
TEST(PolicySystem, SolvesToRoundingLevelAtAnyScale) {
  for (const char* name : {"grid-slip", "queue-2d", "birth-death"}) {
    SCOPED_TRACE(name);
    const System given(name, 400, 0.97);
    const Eigen::MatrixXd A = given.Dense();
    Rng rng(7);
    Vector corner = Vector::Zero(A.rows());
    corner[0] = 1;
    const Vector normal = DrawNormal(rng, A.rows());
    for (const Vector& b : {normal, Vector(1e200 * normal), Vector(1e-200 * normal), corner}) {
      PolicySystem system(given.mdp, PolicySystem::Kind::kKrylov);
      system.SetPolicy(given.pi);
      Vector v = Vector::Zero(b.size()), z = v;
      EXPECT_TRUE(system.Solve(given.gamma, b, 0, Interrupt(), v).converged);
      EXPECT_TRUE(system.SolveTransposed(given.gamma, b, 0, Interrupt(), z).converged);
      EXPECT_LT((b - A * v).lpNorm<Eigen::Infinity>(), 1e-14 * v.lpNorm<Eigen::Infinity>());
      EXPECT_LT((b - A.transpose() * z).lpNorm<1>(), 1e-14 * z.lpNorm<1>());
      EXPECT_LT(system.counters().products, 200) << "plain iteration would take a thousand";
    }
  }
}

// Long chains of solves, where every preconditioner has its turn.
TEST(PolicySystem, SolvesWhereInformationHasFarToGo) {
  for (const char* name : {"grid-slip", "queue-2d", "birth-death", "rand-4"}) {
    for (const double gamma : {0.99, 0.9999}) {
      SCOPED_TRACE(::testing::Message() << name << " " << gamma);
      const System given(name, 3600, gamma);
      PolicySystem system(given.mdp, PolicySystem::Kind::kKrylov);
      system.SetPolicy(given.pi);
      Rng rng(5);
      const Vector b = DrawNormal(rng, given.mdp.num_states());
      Vector v = Vector::Zero(b.size()), z = v, product;
      EXPECT_TRUE(system.Solve(gamma, b, 1e-8, Interrupt(), v).converged);
      given.matrix.Multiply(v, product);
      EXPECT_LT((b - v + gamma * product).lpNorm<Eigen::Infinity>(), 1.1e-8);
      EXPECT_TRUE(system.SolveTransposed(gamma, b, 1e-8, Interrupt(), z).converged);
      given.matrix.MultiplyTransposed(z, product);
      EXPECT_LT((b - z + gamma * product).lpNorm<1>(), 1.1e-8);
    }
  }
}

}  // namespace
}  // namespace bilevel::testing
