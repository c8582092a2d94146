#include "server/environments/environment_store.h"

#include <optional>
#include <utility>

#include "core/base/parallel.h"
#include "gtest/gtest.h"
#include "tests/support/families.h"

namespace bilevel::server {
namespace {

class EnvironmentStoreTest : public ::testing::Test {
 protected:
  void Fill(double budget) {
    budget_.emplace(budget);
    store_.emplace(4, *budget_);
    TabularMdp mdp = *TabularMdp::Create(bilevel::testing::MakeFamily("grid-slip", 100).spec);
    ASSERT_TRUE(store_->Add("id", std::move(mdp), 1000, *budget_->Reserve(kBytes)).ok());
  }

  // A call that asks where policies lead.
  const PolicyPattern* Use() {
    const StoredEnvironment environment = *store_->Use("id");
    return environment.mdp->SharePolicyPattern(RunInOrder).get();
  }

  static constexpr double kBytes = 5000;
  std::optional<MemoryBudget> budget_;
  std::optional<EnvironmentStore> store_;
};

TEST_F(EnvironmentStoreTest, KeepsWherePoliciesLeadForTheNextCall) {
  Fill(1e6);
  EXPECT_EQ(budget_->used(), kBytes);
  const PolicyPattern* const first = Use();
  const double held = store_->Find("id")->mdp->PolicyPatternBytes();
  EXPECT_GT(held, 0);
  EXPECT_EQ(budget_->used(), kBytes + held);
  EXPECT_EQ(store_->List()[0].memory_bytes, kBytes + held);
  EXPECT_EQ(Use(), first);
  EXPECT_EQ(budget_->used(), kBytes + held);
}

TEST_F(EnvironmentStoreTest, CountsWhatIsAddedToIt) {
  Fill(1e6);
  Use();
  const double before = budget_->used();
  {
    const StoredEnvironment environment = *store_->Use("id");
    environment.mdp->SharePolicyPattern(RunInOrder)->MakeTransposed(environment.mdp->transitions(), RunInOrder);
  }
  EXPECT_GT(budget_->used(), before);
  EXPECT_EQ(budget_->used(), kBytes + store_->Find("id")->mdp->PolicyPatternBytes());
}

TEST_F(EnvironmentStoreTest, ForgetsItWhereThereIsNoRoom) {
  Fill(kBytes + 10);
  Use();
  EXPECT_EQ(budget_->used(), kBytes);
  EXPECT_EQ(store_->Find("id")->mdp->PolicyPatternBytes(), 0);
}

TEST_F(EnvironmentStoreTest, GivesItBackInAShortage) {
  Fill(1e6);
  budget_->OnShortage([this] { store_->ForgetPatterns(); });
  Use();
  ASSERT_GT(budget_->used(), kBytes);
  EXPECT_TRUE(budget_->Reserve(1e6 - kBytes).ok());
  EXPECT_EQ(budget_->used(), kBytes);
  EXPECT_EQ(store_->List()[0].memory_bytes, kBytes);
}

TEST_F(EnvironmentStoreTest, UsersGoOnWithWhatIsForgotten) {
  Fill(1e6);
  Use();
  const StoredEnvironment environment = *store_->Use("id");
  const auto pattern = environment.mdp->SharePolicyPattern(RunInOrder);
  const int entries = pattern->max_row_entries();
  store_->ForgetPatterns();
  EXPECT_EQ(budget_->used(), kBytes);
  EXPECT_EQ(pattern->max_row_entries(), entries);
  // Found anew it is the users' own until the last of them ends.
  const auto anew = environment.mdp->SharePolicyPattern(RunInOrder);
  EXPECT_NE(anew, pattern);
  store_->ForgetPatterns();
  EXPECT_EQ(environment.mdp->SharePolicyPattern(RunInOrder), anew);
}

TEST_F(EnvironmentStoreTest, KeepsNothingWhileOthersUseIt) {
  Fill(kBytes + 10);
  const StoredEnvironment environment = *store_->Use("id");
  const PolicyPattern* const pattern = environment.mdp->SharePolicyPattern(RunInOrder).get();
  EXPECT_EQ(Use(), pattern);
  EXPECT_EQ(environment.mdp->SharePolicyPattern(RunInOrder).get(), pattern) << "though there is no room to keep it";
  EXPECT_EQ(budget_->used(), kBytes);
}

TEST_F(EnvironmentStoreTest, GivesAllBackWithTheEnvironment) {
  Fill(1e6);
  Use();
  ASSERT_TRUE(store_->Delete("id").ok());
  EXPECT_EQ(budget_->used(), 0);
}

}  // namespace
}  // namespace bilevel::server
