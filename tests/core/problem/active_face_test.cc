#include "core/problem/active_face.h"

#include <cmath>
#include <functional>

#include "gtest/gtest.h"
#include "tests/support/dense_algebra.h"
#include "tests/support/random_problem.h"
#include "tests/support/sanitized.h"

namespace bilevel::testing {
namespace {

constexpr int kEach = 3, kSize = 5 * kEach;

// min 1/2 x^T H x - b^T x + l1 |x|_1 over one block of each kind.
struct Program {
  Eigen::MatrixXd hessian;
  Vector linear;
  double l1;
  std::vector<FeasibleBlock> blocks;

  Vector Gradient(const Vector& x) const { return hessian * x - linear; }
  double Value(const Vector& x) const { return 0.5 * x.dot(hessian * x) - linear.dot(x) + l1 * x.lpNorm<1>(); }
  FeasibleSet Set() const { return *FeasibleSet::Create(kSize, blocks); }
  ActiveFace FaceAt(const Vector& x) const { return {Set(), x, Gradient(x), l1}; }

  // By proximal gradient steps, to rounding: the condition number of H is below 10.
  Vector Solve() const {
    const FeasibleSet set = Set();
    const double step = 1 / SpectralNorm(hessian);
    Vector x = Vector::Zero(kSize);
    for (int i = 0; i < 600; ++i) x = set.Prox(x - step * Gradient(x), step * l1);
    return x;
  }
};

Program DrawProgram(uint64_t seed) {
  Rng rng(seed);
  const Eigen::MatrixXd root = DrawNormal(rng, kSize * kSize).reshaped(kSize, kSize) / std::sqrt(kSize);
  Program program{Eigen::MatrixXd::Identity(kSize, kSize) + root * root.transpose(),
                  DrawNormal(rng, kSize, 2),
                  seed % 3 == 0 ? 0 : rng.Uniform(),
                  {}};
  for (const SetKind kind : {SetKind::kBox, SetKind::kSimplex, SetKind::kBudget, SetKind::kBall}) {
    program.blocks.push_back(DrawBlock(rng, kEach, kind));
  }
  program.blocks.push_back({kEach, Unconstrained{}});
  return program;
}

constexpr uint64_t kSeeds = kSanitized ? 12 : 40;
constexpr double kStep = 1e-4;

// d / d datum of the smallest value.
double Difference(const Program& program, const std::function<double&(Program&)>& datum) {
  Program more = program, less = program;
  datum(more) += kStep;
  datum(less) -= kStep;
  return (more.Value(more.Solve()) - less.Value(less.Solve())) / (2 * kStep);
}

TEST(ActiveFace, MultipliersAreDerivativesOfTheSmallestValue) {
  uint64_t bounds = 0, budgets = 0, balls = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    const Program program = DrawProgram(seed);
    const ActiveFace::Multipliers multipliers = program.FaceAt(program.Solve()).multipliers();
    for (int i = 0; i < kEach; ++i) {
      EXPECT_NEAR(multipliers.lower[i],
                  Difference(program, [i](Program& p) -> double& { return std::get<Box>(p.blocks[0].set).lower[i]; }),
                  1e-6);
      EXPECT_NEAR(multipliers.upper[i],
                  Difference(program, [i](Program& p) -> double& { return std::get<Box>(p.blocks[0].set).upper[i]; }),
                  1e-6);
      bounds += multipliers.lower[i] > 0 || multipliers.upper[i] < 0;
    }
    EXPECT_NEAR(multipliers.limit[1],
                Difference(program, [](Program& p) -> double& { return std::get<Simplex>(p.blocks[1].set).total; }),
                1e-6);
    EXPECT_NEAR(multipliers.limit[2],
                Difference(program, [](Program& p) -> double& { return std::get<Budget>(p.blocks[2].set).total; }),
                1e-6);
    EXPECT_NEAR(multipliers.limit[3],
                Difference(program, [](Program& p) -> double& { return std::get<Ball>(p.blocks[3].set).radius; }),
                1e-6);
    budgets += multipliers.limit[2] < 0;
    balls += multipliers.limit[3] < 0;
  }
  EXPECT_GT(bounds, kSeeds / 2);
  EXPECT_GT(budgets, kSeeds / 8);
  EXPECT_GT(balls, kSeeds / 8);
}

Eigen::MatrixXd ProjectorOf(const ActiveFace& face) {
  Eigen::MatrixXd projector(kSize, kSize);
  for (int i = 0; i < kSize; ++i) projector.col(i) = face.Project(Vector::Unit(kSize, i));
  return projector;
}

TEST(ActiveFace, ProjectsOrthogonallyOntoDirectionsThatStayFeasible) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    const Program program = DrawProgram(seed);
    const Vector x = program.Solve();
    const ActiveFace face = program.FaceAt(x);
    const Eigen::MatrixXd projector = ProjectorOf(face);
    EXPECT_LT((projector - projector.transpose()).norm(), 1e-14);
    EXPECT_LT((projector * projector - projector).norm(), 1e-14);
    EXPECT_NEAR(projector.trace(), face.dimension(), 1e-13);
    Rng rng(seed);
    constexpr double kShort = 1e-6;
    const Vector d = face.Project(DrawNormal(rng, kSize)), moved = x + kShort * d, back = program.Set().Project(moved);
    EXPECT_LT((back - moved).segment(0, 3 * kEach).norm(), 1e-15);
    EXPECT_LT((back - moved).segment(3 * kEach, kEach).norm(), 10 * kShort * kShort * d.squaredNorm());
    // F is stationary along the face; the 1-norm is linear on it.
    const double slope = (program.Value(moved) - program.Value(x)) / kShort;
    EXPECT_LT(std::abs(slope), 10 * kShort * d.squaredNorm());
  }
}

// dx = Z (Z^T (H + D) Z)^{-1} Z^T db, with P = Z Z^T: (P (H + D) P + I - P) dx = P db.
TEST(ActiveFace, FaceAndCurvatureTellHowTheMinimiserMoves) {
  uint64_t curved = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    const Program program = DrawProgram(seed);
    const ActiveFace face = program.FaceAt(program.Solve());
    const Eigen::MatrixXd projector = ProjectorOf(face), identity = Eigen::MatrixXd::Identity(kSize, kSize);
    const Eigen::MatrixXd hessian = program.hessian + Eigen::MatrixXd(face.curvature().asDiagonal());
    Rng rng(seed);
    const Vector change = DrawNormal(rng, kSize);
    const Vector moves = SolveDense(projector * hessian * projector + identity - projector, projector * change);
    Program more = program, less = program;
    more.linear += 1e-5 * change;
    less.linear -= 1e-5 * change;
    EXPECT_LT(((more.Solve() - less.Solve()) / 2e-5 - moves).norm(), 1e-7);
    curved += face.curvature().maxCoeff() > 0.1;
  }
  EXPECT_GT(curved, kSeeds / 8);
}

TEST(ActiveFace, ReleasesWhatTheGradientPullsAwayFrom) {
  const Box box{.lower = Vector::Zero(2), .upper = Vector::Ones(2)};
  const FeasibleSet set = *FeasibleSet::Create(5, {{2, box}, {3, Budget{1}}});
  const Vector x{{0.0, 1.0, 0.5, 0.5, 0.0}};
  const ActiveFace held(set, x, Vector{{1.0, -2.0, -3.0, -1.0, 0.0}}, 0);
  EXPECT_EQ(held.dimension(), 1);
  EXPECT_TRUE(held.settled());
  EXPECT_EQ(held.multipliers().lower, (Vector{{1.0, 0.0, 0.0, 0.0, 0.0}}));
  EXPECT_EQ(held.multipliers().upper, (Vector{{0.0, -2.0, 0.0, 0.0, 0.0}}));
  EXPECT_EQ(held.multipliers().limit, (Vector{{0.0, -2.0}}));
  const ActiveFace free(set, x, Vector{{-1.0, 2.0, 3.0, 1.0, -1.0}}, 0);
  EXPECT_EQ(free.dimension(), 5);
  EXPECT_FALSE(free.settled());
  EXPECT_EQ(free.multipliers().limit, Vector::Zero(2));
}

TEST(ActiveFace, IsSettledWhereNothingActiveIsLeft) {
  const Box box{.lower = Vector::Zero(1), .upper = Vector::Ones(1)};
  const auto settled = [](FeasibleBlock block, const Vector& x, const Vector& g, double l1) {
    return ActiveFace(*FeasibleSet::Create(block.size, {std::move(block)}), x, g, l1).settled();
  };
  EXPECT_TRUE(settled({1, box}, Vector{{0.5}}, Vector{{-1.0}}, 0));  // nothing active
  EXPECT_TRUE(settled({1, box}, Vector{{0.0}}, Vector{{1.0}}, 0));
  EXPECT_FALSE(settled({1, box}, Vector{{0.0}}, Vector{{-1.0}}, 0));
  EXPECT_TRUE(settled({1, box}, Vector{{0.0}}, Vector{{-1.0}}, 2));  // held by the 1-norm
  EXPECT_TRUE(settled({2, Simplex{1}}, Vector{{1.0, 0.0}}, Vector{{1.0, 2.0}}, 0));
  EXPECT_FALSE(settled({2, Simplex{1}}, Vector{{1.0, 0.0}}, Vector{{2.0, 1.0}}, 0));
  EXPECT_FALSE(settled({2, Budget{1}}, Vector{{0.4, 0.6}}, Vector{{2.0, 1.0}}, 0));  // would spend less
  EXPECT_TRUE(settled({2, Budget{1}}, Vector{{0.4, 0.6}}, Vector{{-2.0, -1.0}}, 0));
  const Ball ball{.center = Vector::Zero(2), .radius = 1};
  EXPECT_TRUE(settled({2, ball}, Vector{{1.0, 0.0}}, Vector{{-1.0, 0.3}}, 0));
  EXPECT_FALSE(settled({2, ball}, Vector{{1.0, 0.0}}, Vector{{1.0, 0.3}}, 0));
  EXPECT_FALSE(settled({2, ball}, Vector{{1.0, 0.0}}, Vector{{-1.0, 0.3}}, 0.2));  // 0.3 leaves the kink
  EXPECT_TRUE(settled({2, ball}, Vector{{1.0, 0.0}}, Vector{{-1.0, 0.1}}, 0.2));
}

}  // namespace
}  // namespace bilevel::testing
