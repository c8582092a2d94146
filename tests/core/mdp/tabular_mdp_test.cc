#include "core/mdp/tabular_mdp.h"

#include <functional>
#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/known_problems.h"

namespace bilevel::testing {
namespace {

using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(TabularMdp, NamesFieldValueAndRuleOfEveryBrokenRow) {
  struct Case {
    std::function<void(TabularMdpSpec&)> spoil;
    std::string message;
  };
  const Case cases[] = {
      {[](TabularMdpSpec& m) { m.num_states = 0; }, "num_states: is 0; must be >= 1"},
      {[](TabularMdpSpec& m) { m.num_actions = -1; }, "num_actions: is -1; must be >= 1"},
      {[](TabularMdpSpec& m) { m.offsets.pop_back(); }, "transitions.offsets: has 4 entries; must have"},
      {[](TabularMdpSpec& m) { m.columns.pop_back(); }, "transitions.columns: has 3 entries but values has 4"},
      {[](TabularMdpSpec& m) { m.offsets[0] = 1; }, "starts at 1; must start at 0"},
      {[](TabularMdpSpec& m) { m.offsets[4] = 5; }, "ends at 5; must end at the number of entries, 4"},
      {[](TabularMdpSpec& m) { m.offsets[1] = 3; }, "falls from 3 to 2"},
      {[](TabularMdpSpec& m) { m.columns[2] = 2; }, "row 2 (s=1, a=0) has column 2; must be below num_states = 2"},
      {[](TabularMdpSpec& m) { m.probabilities[3] = 0.98; },
       "row 3 (s=1, a=1) sums to 0.98 with termination_probability 0"},
      {[](TabularMdpSpec& m) { m.probabilities[0] = kNan; }, "has probability nan at column 0; must be in [0, 1]"},
      {[](TabularMdpSpec& m) { m.probabilities[0] = -0.5; }, "has probability -0.5"},
      {[](TabularMdpSpec& m) { m.termination_probability = Vector::Constant(4, -1); }, "is -1; must be in [0, 1]"},
      {[](TabularMdpSpec& m) { m.termination_probability = Vector::Constant(3, 0); }, "has 3 entries; must have 4"},
      {[](TabularMdpSpec& m) {
         m.available_actions = {1, 1, 0, 0};
       },
       "no available action in state 1"},
      {[](TabularMdpSpec& m) {
         m.available_actions = {1, 1, 2, 0};
       },
       "(s=1, a=0) is 2; must be 0 or 1"},
      {[](TabularMdpSpec& m) { m.available_actions = {1}; }, "available_actions: has 1 entries; must have 4"},
      {[](TabularMdpSpec& m) { m.initial_distribution = Vector::Constant(2, 0.6); }, "sums to 1.2; must sum to 1"},
      {[](TabularMdpSpec& m) { m.initial_distribution = Vector::Constant(2, -1); }, "entry 0 is -1; must be finite"},
      {[](TabularMdpSpec& m) { m.initial_distribution = Vector::Ones(1); }, "has 1 entries; must have num_states = 2"},
  };
  for (const Case& c : cases) {
    TabularMdpSpec spec = Switch();
    c.spoil(spec);
    const auto mdp = TabularMdp::Create(spec);
    EXPECT_EQ(mdp.status().code(), absl::StatusCode::kInvalidArgument) << c.message;
    EXPECT_THAT(std::string(mdp.status().message()), HasSubstr(c.message));
  }
}

TEST(TabularMdp, RefusesColumnsThatDoNotIncrease) {
  TabularMdpSpec spec = Bandit(1);
  spec.num_states = 2;
  spec.num_actions = 1;
  spec.offsets = {0, 2, 3};
  spec.columns = {1, 1, 0};
  spec.probabilities = {0.5, 0.5, 1};
  EXPECT_THAT(std::string(TabularMdp::Create(spec).status().message()), HasSubstr("strictly increasing within a row"));
}

TEST(TabularMdp, AcceptsSinglePrecisionRowsAndRenormalisesThem) {
  TabularMdpSpec spec = Switch();
  spec.probabilities.assign(4, 1.0 - 5e-7);
  EXPECT_FALSE(TabularMdp::Create(spec).ok());
  spec.single_precision = true;
  const auto mdp = TabularMdp::Create(spec);
  ASSERT_TRUE(mdp.ok());
  EXPECT_EQ(mdp->min_row_sum(), 1);
  EXPECT_EQ(mdp->max_row_sum(), 1);
  EXPECT_EQ(mdp->ExpectNext(Vector::Ones(2)), Vector::Ones(4));
}

TEST(TabularMdp, OperationsAgreeWithTheDenseMatrix) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Rng rng(seed);
    const TabularMdpSpec spec = DrawMdp(rng, 7, 3, true, true);
    const auto mdp = TabularMdp::Create(spec);
    ASSERT_TRUE(mdp.ok()) << mdp.status();
    Eigen::MatrixXd P = Eigen::MatrixXd::Zero(21, 7);
    for (Eigen::Index row = 0; row < 21; ++row) {
      if (!mdp->available(row)) continue;
      for (uint64_t k = spec.offsets[row]; k < spec.offsets[row + 1]; ++k) {
        P(row, spec.columns[k]) = spec.probabilities[k];
      }
    }
    const Vector v = DrawNormal(rng, 7), y = DrawNormal(rng, 21);
    EXPECT_LT((mdp->ExpectNext(v) - P * v).norm(), 1e-14);
    EXPECT_LT((mdp->PushForward(y) - P.transpose() * y).norm(), 1e-14);
    Eigen::MatrixXd merged = Eigen::MatrixXd::Zero(7, 7);
    for (Eigen::Index row = 0; row < 21; ++row) merged.row(row / 3) += y[row] * P.row(row);
    EXPECT_LT((mdp->DensePolicyTransitions(y) - merged).norm(), 1e-14);
  }
}

}  // namespace
}  // namespace bilevel::testing
