#include "tests/server/malformed/cases.h"

namespace bilevel::server::malformed {

std::vector<Case> ContextCases() {
  const std::string context = "problem.contexts[0].", reward = context + "reward.",
                    leader = context + "objective[0].leader_return.";
  return {
      {"discount absent", OfContext([](auto& m) { m.clear_discount(); }), kInvalid, context + "discount", "absent",
       "[0, 1)"},
      {"discount one", OfContext([](auto& m) { m.set_discount(1); }), kInvalid, context + "discount", "is 1", "[0, 1)"},
      {"discount negative", OfContext([](auto& m) { m.set_discount(-0.1); }), kInvalid, context + "discount", "-0.1",
       "[0, 1)"},
      {"discount not a number", OfContext([](auto& m) { m.set_discount(kNan); }), kInvalid, context + "discount", "nan",
       "[0, 1)"},
      {"temperature absent", OfContext([](auto& m) { m.clear_temperature(); }), kInvalid, context + "temperature",
       "absent", "> 0"},
      {"temperature zero", OfContext([](auto& m) { m.set_temperature(0); }), kInvalid, context + "temperature", "is 0",
       "> 0"},
      {"temperature infinite", OfContext([](auto& m) { m.set_temperature(kInf); }), kInvalid, context + "temperature",
       "inf", "> 0"},
      {"weight negative", OfContext([](auto& m) { m.set_weight(-1); }), kInvalid, context + "weight", "is -1", ">= 0"},
      {"no positive weight", OfContext([](auto& m) { m.set_weight(0); }), kInvalid, "problem.contexts",
       "no positive weight", "at least one"},
      {"label too long", OfContext([](auto& m) { m.set_label(std::string(257, 'a')); }), kInvalid, context + "label",
       "257 bytes", "at most 256"},
      {"base too short", OfReward([](auto& m) {
         *m.mutable_base() = Reals({1, 2, 3});
       }),
       kInvalid, reward + "base", "has 3", "[2, 2] = 4"},
      {"base without data", OfReward([](auto& m) { m.mutable_base(); }), kInvalid, reward + "base", "has 0",
       "[2, 2] = 4"},
      {"base not a number", OfReward([](auto& m) {
         *m.mutable_base() = Reals({1, 2, kNan, 3});
       }),
       kInvalid, reward + "base", "entry 2 is nan", "finite"},
      {"base of integers", OfReward([](auto& m) {
         *m.mutable_base() = Indices({1, 2, 3, 4});
       }),
       kInvalid, reward + "base.indices", "is set", "`values`"},
      {"base of a wrong type", OfReward([](auto& m) {
         *m.mutable_base() = MakeArray(std::vector<uint64_t>{1, 2, 3, 4});
       }),
       kInvalid, reward + "base.dtype", "DTYPE_U64", "DTYPE_F64 or DTYPE_F32"},
      {"features infinite", OfReward([](auto& m) {
         *m.mutable_features()->mutable_dense() = Reals({0, 0, -kInf, 1});
       }),
       kInvalid, reward + "features.dense", "-inf", "finite"},
      {"features too wide", OfReward([](auto& m) {
         *m.mutable_features()->mutable_dense() = Reals({0, 0, 1, 1}, {2, 1, 2});
       }),
       kInvalid, reward + "features.dense.shape", "ends in 2", "4 rows of 1"},
      {"features column out of range", OfReward([](auto& m) {
         auto& s = *m.mutable_features()->mutable_sparse();
         s.set_rows(4);
         s.set_cols(1);
         *s.mutable_offsets() = Indices({0, 0, 0, 1, 1});
         *s.mutable_columns() = Indices({1});
         *s.mutable_values() = Reals({1});
       }),
       kInvalid, reward + "features.sparse.columns", "column 1", "below 1"},
      {"quadratic without a matrix", OfReward([](auto& m) {
         *m.mutable_quadratic()->mutable_coefficient() = Reals({1, 1, 1, 1});
       }),
       kInvalid, reward + "quadratic.matrix", "has 0", "[1, 1]"},
      {"quadratic infinite", OfReward([](auto& m) {
         *m.mutable_quadratic()->mutable_coefficient() = Reals({1, 1, 1, kInf});
         *m.mutable_quadratic()->mutable_matrix() = Reals({1});
       }),
       kInvalid, reward + "quadratic.coefficient", "entry 3 is inf", "finite"},
      {"transition rewards too few", OfReward([](auto& m) {
         *m.mutable_transition_rewards() = Reals({1, 2});
       }),
       kInvalid, reward + "transition_rewards", "has 2", "one for each stored transition, 4"},
      {"transition rewards not numbers", OfReward([](auto& m) {
         *m.mutable_transition_rewards() = Reals({1, 2, 3, kNan});
       }),
       kInvalid, reward + "transition_rewards", "entry 3 is nan", "finite"},
      {"no terms", OfContext([](auto& m) { m.clear_objective(); }), kInvalid, context + "objective", "empty",
       "needs a term"},
      {"an empty term", OfContext([](auto& m) { m.mutable_objective(0)->clear_leader_return(); }), kInvalid,
       context + "objective[0]", "no term", "required"},
      {"term weight infinite", OfContext([](auto& m) { m.mutable_objective(0)->set_weight(kInf); }), kInvalid,
       context + "objective[0].weight", "inf", "finite"},
      {"leader without reward", OfLeader([](auto& m) { m.clear_reward(); }), kInvalid, leader + "reward", "absent",
       "required"},
      {"leader's discount one", OfLeader([](auto& m) { m.set_discount(1); }), kInvalid, leader + "discount", "is 1",
       "[0, 1)"},
      {"leader's start off", OfLeader([](auto& m) {
         *m.mutable_initial_distribution() = Reals({1, 1});
       }),
       kInvalid, leader + "initial_distribution", "sums to 2", "sum to 1"},
      {"leader's base infinite", OfLeader([](auto& m) {
         *m.mutable_reward()->mutable_base() = Reals({0, kInf, 0, 0});
       }),
       kInvalid, leader + "reward.base", "entry 1 is inf", "finite"},
      {"target too long", OfContext([](auto& m) {
         *m.mutable_objective(0)->mutable_separable()->mutable_target() = Reals({1, 1, 1, 1, 1});
       }),
       kInvalid, context + "objective[0].separable.target", "has 5", "[2, 2]"},
      {"state weights negative", OfContext([](auto& m) {
         *m.mutable_objective(0)->mutable_separable()->mutable_state_weights() = Reals({1, -2});
       }),
       kInvalid, context + "objective[0].separable.state_weights", "entry 1 is -2", ">= 0"},
  };
}

std::vector<Case> TermCases() {
  const std::string term = "problem.contexts[0].objective[0].";
  const auto of_term = [](const std::function<void(v1::ObjectiveTerm&)>& spoil) {
    return OfContext([spoil](v1::Context& context) { spoil(*context.mutable_objective(0)); });
  };
  const auto matching = [&](const std::function<void(v1::FeatureMatching&)>& spoil) {
    return of_term([spoil](v1::ObjectiveTerm& m) {
      *m.mutable_feature_matching()->mutable_features()->mutable_dense() = Reals({1, 2, 3, 4});
      *m.mutable_feature_matching()->mutable_target() = Reals({1});
      spoil(*m.mutable_feature_matching());
    });
  };
  const auto separable = [&](v1::Separable::Kind kind, const std::vector<double>& target) {
    return of_term([kind, target](v1::ObjectiveTerm& m) {
      m.mutable_separable()->set_kind(kind);
      if (!target.empty()) *m.mutable_separable()->mutable_target() = Reals(target);
    });
  };
  const auto counts = [&](const std::vector<double>& values) {
    return of_term([values](v1::ObjectiveTerm& m) { *m.mutable_demonstrations()->mutable_counts() = Reals(values); });
  };
  return {
      {"no features to match", matching([](auto& m) { m.clear_target(); }), kInvalid, term + "feature_matching.target",
       "is empty", "one entry"},
      {"features for another target", matching([](auto& m) {
         *m.mutable_target() = Reals({1, 2});
       }),
       kInvalid, term + "feature_matching.features.dense", "has 4", "4 rows of 2"},
      {"feature not a number", matching([](auto& m) {
         *m.mutable_features()->mutable_dense() = Reals({1, 2, kNan, 4});
       }),
       kInvalid, term + "feature_matching.features.dense", "nan", "finite"},
      {"feature discount one", matching([](auto& m) { m.set_discount(1); }), kInvalid,
       term + "feature_matching.discount", "is 1", "[0, 1)"},
      {"no demonstrations", of_term([](auto& m) { m.mutable_demonstrations(); }), kInvalid,
       term + "demonstrations.counts", "absent", "required"},
      {"count negative", counts({1, -1, 0, 0}), kInvalid, term + "demonstrations.counts", "entry 1 is -1", ">= 0"},
      {"counts all zero", counts({0, 0, 0, 0}), kInvalid, term + "demonstrations.counts", "all 0", "at least one"},
      {"unknown kind of separable term", separable(static_cast<v1::Separable::Kind>(9), {}), kInvalid,
       term + "separable.kind", "is 9", "KIND_REVERSE_KL"},
      {"divergence from nothing", separable(v1::Separable::KIND_FORWARD_KL, {}), kInvalid, term + "separable.target",
       "absent", "required"},
      {"divergence from no distribution", separable(v1::Separable::KIND_FORWARD_KL, {0.5, 0.6, 0.5, 0.5}), kInvalid,
       term + "separable.target", "sums to 1.1 in state 0", "1 +- 1e-09"},
      {"divergence that is infinite", separable(v1::Separable::KIND_REVERSE_KL, {0.5, 0.5, 0, 1}), kInvalid,
       term + "separable.target", "entry 2 (s=1, a=0) is 0", "> 0"},
      {"entropy with a target", separable(v1::Separable::KIND_ENTROPY, {0.5, 0.5, 0, 1}), kInvalid,
       term + "separable.target", "present", "has none"},
      {"start of the follower's value", of_term([](auto& m) {
         *m.mutable_follower_value()->mutable_initial_distribution() = Reals({0.5, 0.4});
       }),
       kInvalid, term + "follower_value.initial_distribution", "sums to 0.9", "1 +- "},
  };
}

}  // namespace bilevel::server::malformed
