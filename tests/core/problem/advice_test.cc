#include "core/problem/advice.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/random_problem.h"

namespace bilevel::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Three states in a ring, two actions: stay, or go on.
TabularMdpSpec Ring() {
  TabularMdpSpec spec;
  spec.num_states = 3;
  spec.num_actions = 2;
  spec.offsets = {0, 1, 2, 3, 4, 5, 6};
  spec.columns = {0, 1, 1, 2, 2, 0};
  spec.probabilities.assign(6, 1.0);
  return spec;
}

ContextNumbers ContextOf(const TabularMdpSpec& spec, int num_parameters, int used) {
  ContextNumbers context;
  context.mdp = spec;
  context.reward.base = Vector::LinSpaced(6, 0, 1);
  context.reward.features.resize(6, num_parameters);
  for (int j = 0; j < used; ++j) context.reward.features.insert(j, j) = 1;
  context.quadratic_weight = 1;
  context.target = Vector::Zero(6);
  context.state_weights = Vector::Ones(3);
  return context;
}

BilevelProblem ProblemOf(const ContextNumbers& context, int num_parameters, std::vector<ParameterGroup> groups = {}) {
  return Build({.num_parameters = num_parameters, .groups = std::move(groups), .contexts = {context}});
}

std::vector<Advice> AdviceFor(const BilevelProblem& problem) {
  return Advise(problem, Vector::Zero(problem.num_parameters));
}

void ExpectOne(const BilevelProblem& problem, const std::string& field, const std::string& text) {
  const std::vector<Advice> advice = AdviceFor(problem);
  ASSERT_THAT(advice, SizeIs(1));
  EXPECT_EQ(advice[0].field, field);
  EXPECT_THAT(advice[0].description, HasSubstr(text));
}

TEST(Advice, AProblemWithoutFaultGetsNone) { EXPECT_THAT(AdviceFor(ProblemOf(ContextOf(Ring(), 2, 2), 2)), IsEmpty()); }

TEST(Advice, StatesThatAreNeverReachedAreNamed) {
  TabularMdpSpec spec = Ring();
  spec.columns[3] = 0;  // 1 leads back to 0, so 2 is out of reach
  spec.initial_distribution = Vector::Unit(3, 0);
  ExpectOne(ProblemOf(ContextOf(spec, 1, 1), 1), "contexts[0].environment.initial_distribution",
            "never reaches 1 state: 2");
}

TEST(Advice, TrapsWithAChoicePayEntropyForEver) {
  TabularMdpSpec spec = Ring();
  spec.columns[5] = 2;  // 2 cannot be left
  ExpectOne(ProblemOf(ContextOf(spec, 1, 1), 1), "contexts[0].environment.transitions", "no action leaves 1 state: 2");
  spec.available_actions = {1, 1, 1, 1, 1, 0};  // without a choice there is no entropy
  EXPECT_THAT(AdviceFor(ProblemOf(ContextOf(spec, 1, 1), 1)), IsEmpty());
}

TEST(Advice, LastStepsWithAChoicePayEntropyOnce) {
  TabularMdpSpec spec = Ring();
  spec.offsets = {0, 1, 2, 3, 4, 4, 4};
  spec.columns.resize(4);
  spec.probabilities.resize(4);
  spec.termination_probability = Vector{{0, 0, 0, 0, 1, 1}};
  ExpectOne(ProblemOf(ContextOf(spec, 1, 1), 1), "contexts[0].environment.termination_probability",
            "all actions of 1 state: 2");
  spec.available_actions = {1, 1, 1, 1, 1, 0};
  EXPECT_THAT(AdviceFor(ProblemOf(ContextOf(spec, 1, 1), 1)), IsEmpty());
}

TEST(Advice, TemperaturesFarFromTheRewardsAreNamed) {
  ContextNumbers context = ContextOf(Ring(), 1, 1);
  context.temperature = 1e-6;
  ExpectOne(ProblemOf(context, 1), "contexts[0].temperature", "close to deterministic");
  context.temperature = 1e6;
  ExpectOne(ProblemOf(context, 1), "contexts[0].temperature", "close to uniform");
}

TEST(Advice, ExtremeDiscountsAndWeightsAreNamed) {
  ContextNumbers context = ContextOf(Ring(), 1, 1);
  context.discount = 0;
  ExpectOne(ProblemOf(context, 1), "contexts[0].discount", "next reward alone");
  context.discount = 0.99999;
  ExpectOne(ProblemOf(context, 1), "contexts[0].discount", "a horizon of 1e+05 steps");
  context.discount = 0.9;
  context.weight = 0;
  ExpectOne(ProblemOf(context, 1), "contexts[0].weight", "no say");
}

TEST(Advice, IdleParametersAreNamedButNotTheSlackOfASoftmax) {
  ExpectOne(ProblemOf(ContextOf(Ring(), 4, 2), 4), "num_parameters", "depends on 2 parameters: 2, 3");
  EXPECT_THAT(AdviceFor(ProblemOf(ContextOf(Ring(), 4, 2), 4, {{4, MapKind::kSoftmax, 1}})), IsEmpty());
  ExpectOne(ProblemOf(ContextOf(Ring(), 2, 2), 2, {{1, MapKind::kIdentity, 1}, {1, MapKind::kTanh, 0}}),
            "num_parameters", "1 parameter: 1");
}

}  // namespace
}  // namespace bilevel::testing
