#include "tests/server/malformed/cases.h"

namespace bilevel::server::malformed {

std::vector<Case> DynamicsCases() {
  const std::string path = "problem.contexts[0].dynamics.";
  // One share of one softmax group, which is always 1.
  const auto dynamics = [](const std::function<void(v1::Problem&, v1::Dynamics&)>& spoil) {
    return OfProblem([spoil](v1::Problem& m) {
      m.clear_parameter_groups();
      v1::ParameterGroup& group = *m.add_parameter_groups();
      group.set_size(1);
      group.set_map(v1::ParameterGroup::MAP_SOFTMAX);
      spoil(m, *m.mutable_contexts(0)->mutable_dynamics());
    });
  };
  const auto transitions = [&](const std::vector<double>& values) {
    return dynamics([values](auto&, auto& d) { *d.mutable_transition_features()->mutable_dense() = Reals(values); });
  };
  return {
      {"features of too few transitions", transitions({1, 1, 1}), kInvalid, path + "transition_features.dense", "has 3",
       "4 rows of 1"},
      {"transition feature negative", transitions({1, -1, 1, 1}), kInvalid, path + "transition_features",
       "row 1 (s=0, a=1, next state 1), column 0 is -1", ">= 0"},
      {"initial feature negative", dynamics([](auto&, auto& d) {
         *d.mutable_initial_features()->mutable_dense() = Reals({1.5, -0.5});
       }),
       kInvalid, path + "initial_features", "row 1 (s=1), column 0 is -0.5", ">= 0"},
      {"transition features that sum to too much", transitions({2, 1, 1, 1}), kInvalid, path + "transition_features",
       "row 0 (s=0, a=0) sums to 2", "must be 1"},
      {"dynamics by what is no share", dynamics([](auto& m, auto& d) {
         m.mutable_parameter_groups(0)->set_map(v1::ParameterGroup::MAP_EXP);
         *d.mutable_transition_features()->mutable_dense() = Reals({1, 1, 1, 1});
       }),
       kInvalid, path + "transition_features", "belongs to no MAP_SOFTMAX", "only those keep probabilities"},
      {"dynamics by half of a group", dynamics([](auto& m, auto& d) {
         m.set_num_parameters(2);
         m.mutable_parameter_groups(0)->set_size(2);
         m.mutable_contexts(0)->clear_reward();
         m.mutable_contexts(0)->clear_objective();
         m.mutable_contexts(0)->add_objective()->mutable_follower_value();
         *d.mutable_transition_features()->mutable_dense() = Reals({1, 0, 1, 1, 1, 1, 1, 1});
       }),
       kInvalid, path + "transition_features", "row 0 (s=0, a=0) has sums between 0 and 1", "must be equal"},
      {"half of a large group", dynamics([](auto& m, auto& d) {
         m.set_num_parameters(2);
         m.mutable_parameter_groups(0)->set_size(2);
         m.mutable_parameter_groups(0)->set_scale(1e9);
         m.mutable_contexts(0)->clear_reward();
         m.mutable_contexts(0)->clear_objective();
         m.mutable_contexts(0)->add_objective()->mutable_follower_value();
         *d.mutable_transition_features()->mutable_dense() = Reals({1e-9, 0, 1e-9, 0, 1e-9, 0, 1e-9, 0});
       }),
       kInvalid, path + "transition_features", "row 0 (s=0, a=0) has sums between 0 and 1e-09", "must be equal"},
      {"dynamics without parameters", Solve([](auto& m) {
         m.mutable_problem()->set_num_parameters(0);
         m.mutable_problem()->clear_parameter_groups();
         v1::Context& context = *m.mutable_problem()->mutable_contexts(0);
         context.clear_reward();
         context.clear_objective();
         *context.mutable_dynamics()->mutable_initial_features()->mutable_dense() = Reals({});
       }),
       kInvalid, path + "initial_features", "sums to 0", "must be 1"},
      {"initial features that sum to too little", dynamics([](auto&, auto& d) {
         *d.mutable_initial_features()->mutable_dense() = Reals({0.5, 0.4});
       }),
       kInvalid, path + "initial_features", "sums to 0.9", "must be 1"},
      {"initial feature infinite", dynamics([](auto&, auto& d) {
         *d.mutable_initial_features()->mutable_dense() = Reals({0.5, kInf});
       }),
       kInvalid, path + "initial_features.dense", "inf", "finite"},
  };
}

std::vector<Case> ProblemCases() {
  const auto group = [](int size, int map, double scale) {
    return OfProblem([=](v1::Problem& m) {
      auto& g = *m.add_parameter_groups();
      g.set_size(size);
      g.set_map(static_cast<v1::ParameterGroup::Map>(map));
      g.set_scale(scale);
    });
  };
  const auto block = [](int size, const std::function<void(v1::FeasibleBlock&)>& set) {
    return OfProblem([=](v1::Problem& m) {
      auto& b = *m.add_feasible_set();
      b.set_size(size);
      set(b);
    });
  };
  return {
      {"negative parameters", OfProblem([](auto& m) { m.set_num_parameters(-1); }), kInvalid, "problem.num_parameters",
       "is -1", ">= 1"},
      {"no parameters for a gradient", OfProblem([](auto& m) { m.set_num_parameters(0); }), kInvalid,
       "problem.num_parameters", "is 0", ">= 1 where a gradient"},
      {"far too many parameters", OfProblem([](auto& m) { m.set_num_parameters(2'147'483'647); }), kExhausted,
       "message_bytes", "3.4", "max_message_bytes"},
      {"group of no size", group(0, 1, 1), kInvalid, "problem.parameter_groups[0].size", "is 0", ">= 1"},
      {"groups too large", group(2, 1, 1), kInvalid, "problem.parameter_groups", "sum to 2", "num_parameters = 1"},
      {"group without a map", group(1, 0, 1), kInvalid, "problem.parameter_groups[0].map", "is unspecified",
       "MAP_IDENTITY"},
      {"group of an unknown map", group(1, 99, 1), kInvalid, "problem.parameter_groups[0].map", "is 99",
       "MAP_IDENTITY"},
      {"group of infinite scale", group(1, 2, kInf), kInvalid, "problem.parameter_groups[0].scale", "inf", "finite"},
      {"penalty of no kind", OfProblem([](auto& m) { m.add_penalties(); }), kInvalid, "problem.penalties[0].kind",
       "is unspecified", "KIND_L1"},
      {"penalty negative", OfProblem([](auto& m) {
         m.add_penalties()->set_kind(v1::Penalty::KIND_L1);
         m.mutable_penalties(0)->set_weight(-1);
       }),
       kInvalid, "problem.penalties[0].weight", "is -1", ">= 0"},
      {"block of no size", block(0, [](auto&) {}), kInvalid, "problem.feasible_set[0].size", "is 0", ">= 1"},
      {"block too large", block(2'000'000'000, [](auto& m) { m.mutable_box(); }), kInvalid, "problem.feasible_set",
       "2000000000", "num_parameters = 1"},
      {"box upside down",
       block(1,
             [](auto& m) {
               *m.mutable_box()->mutable_lower() = Reals({2});
               *m.mutable_box()->mutable_upper() = Reals({1});
             }),
       kInvalid, "problem.feasible_set[0].box.lower", "is 2", "<= upper = 1"},
      {"box not a number", block(1, [](auto& m) { *m.mutable_box()->mutable_upper() = Reals({kNan}); }), kInvalid,
       "problem.feasible_set[0].box.upper", "nan", "+infinity"},
      {"simplex of nothing", block(1, [](auto& m) { m.mutable_simplex()->set_total(0); }), kInvalid,
       "problem.feasible_set[0].simplex.total", "is 0", "> 0"},
      {"simplex of everything", block(1, [](auto& m) { m.mutable_simplex()->set_total(kInf); }), kInvalid,
       "problem.feasible_set[0].simplex.total", "is inf", "finite"},
      {"ball around nowhere", block(1, [](auto& m) { *m.mutable_ball()->mutable_center() = Reals({kInf}); }), kInvalid,
       "problem.feasible_set[0].ball.center", "entry 0 is inf", "finite"},
      {"ball with too many centres",
       block(1,
             [](auto& m) {
               *m.mutable_ball()->mutable_center() = Reals({1, 2});
             }),
       kInvalid, "problem.feasible_set[0].ball.center", "has 2", "[1] = 1"},
      {"ball of no radius", block(1, [](auto& m) { m.mutable_ball()->set_radius(0); }), kInvalid,
       "problem.feasible_set[0].ball.radius", "is 0", "> 0"},
      {"ball of no number", block(1, [](auto& m) { m.mutable_ball()->set_radius(kNan); }), kInvalid,
       "problem.feasible_set[0].ball.radius", "is nan", "finite"},
      {"budget in debt", block(1, [](auto& m) { m.mutable_budget()->set_total(-2); }), kInvalid,
       "problem.feasible_set[0].budget.total", "is -2", "> 0"},
      {"no sense", OfProblem([](auto& m) { m.clear_sense(); }), kInvalid, "problem.sense", "unspecified",
       "SENSE_MINIMIZE"},
      {"unknown sense", OfProblem([](auto& m) { m.set_sense(static_cast<v1::Sense>(9)); }), kInvalid, "problem.sense",
       "is 9", "SENSE_MINIMIZE"},
      {"unknown aggregation", OfProblem([](auto& m) { m.set_aggregation(static_cast<v1::Aggregation>(9)); }), kInvalid,
       "problem.aggregation", "is 9", "AGGREGATION_WORST_CASE"},
      {"no problem", Evaluate([](auto& m) { m.clear_problem(); }), kInvalid, "problem.num_parameters", "is 0", ">= 1"},
  };
}

}  // namespace bilevel::server::malformed
