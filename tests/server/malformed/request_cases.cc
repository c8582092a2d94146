#include "tests/server/malformed/cases.h"

namespace bilevel::server::malformed {

std::vector<Case> RequestCases() {
  const auto exp_map = [](v1::EvaluateHypergradientRequest& m) {
    auto& g = *m.mutable_problem()->add_parameter_groups();
    g.set_size(1);
    g.set_map(v1::ParameterGroup::MAP_EXP);
    *m.mutable_parameters() = Reals({800});
  };
  const auto cotangent = [](v1::PullbackRequest& m, bool masked, v1::Array policy) {
    if (masked)
      *m.mutable_problem()->mutable_contexts(0)->mutable_environment()->mutable_available_actions() =
          Indices({1, 0, 1, 1});
    *m.add_cotangents()->mutable_policy() = std::move(policy);
  };
  const auto pairs = [](v1::OptimizeRequest& m, v1::Array steps, v1::Array changes) {
    v1::QuasiNewtonState& state = *m.mutable_quasi_newton()->mutable_state();
    *state.mutable_steps() = std::move(steps);
    *state.mutable_gradient_changes() = std::move(changes);
  };
  return {
      {"x too long", Evaluate([](auto& m) {
         *m.mutable_parameters() = Reals({1, 2});
       }),
       kInvalid, "parameters", "has 2", "[1] = 1"},
      {"x not a number", Evaluate([](auto& m) { *m.mutable_parameters() = Reals({kNan}); }), kInvalid, "parameters",
       "entry 0 is nan", "finite"},
      {"theta overflows", Evaluate(exp_map), kInvalid, "parameters", "800", "theta must be finite"},
      {"no points", Evaluate([](auto& m) {
         *m.mutable_parameters() = Reals({}, {0, 1});
       }),
       kInvalid, "parameters.shape", "0 points", "k >= 1"},
      {"points too wide", Evaluate([](auto& m) {
         *m.mutable_parameters() = Reals({1, 2}, {1, 2});
       }),
       kInvalid, "parameters.shape", "[1, 2]", "[1, 1]"},
      {"negative number of points", Evaluate([](auto& m) {
         *m.mutable_parameters() = Reals({1}, {-1, 1});
       }),
       kInvalid, "parameters.shape", "-1 points", "k >= 1"},
      {"more points announced than sent", Evaluate([](auto& m) {
         *m.mutable_parameters() = Reals({1}, {2'000'000'000, 1});
       }),
       kInvalid, "parameters", "2000000000", ""},
      {"more points than one answer holds", Evaluate([](auto& m) {
         *m.mutable_parameters() = Reals(std::vector<double>(100'000), {100'000, 1});
       }),
       kExhausted, "message_bytes", "e+0", "fewer points"},
      {"tolerance zero", Evaluate([](auto& m) { m.mutable_lower_level()->set_residual_tolerance(0); }), kInvalid,
       "lower_level.residual_tolerance", "is 0", "> 0"},
      {"tolerance below double precision",
       Evaluate([](auto& m) { m.mutable_lower_level()->set_residual_tolerance(1e-300); }), kInvalid,
       "lower_level.residual_tolerance", "1e-300", "double precision"},
      {"no sweeps", Evaluate([](auto& m) { m.mutable_lower_level()->set_max_sweeps(0); }), kInvalid,
       "lower_level.max_sweeps", "is 0", ">= 1"},
      {"unknown lower-level method",
       Evaluate([](auto& m) { m.mutable_lower_level()->set_method(static_cast<v1::LowerLevelMethod>(50)); }), kInvalid,
       "lower_level.method", "is 50", "LOWER_LEVEL_METHOD_SWEEPS"},
      {"adjoint tolerance too large", Evaluate([](auto& m) { m.mutable_lower_level()->set_adjoint_tolerance(0.5); }),
       kInvalid, "lower_level.adjoint_tolerance", "0.5", "[1e-15, 0.1]"},
      {"time limit zero", Evaluate([](auto& m) { m.mutable_time_limit(); }), kInvalid, "time_limit", "is 0 s", "> 0"},
      {"time limit negative", Evaluate([](auto& m) { m.mutable_time_limit()->set_seconds(-5); }), kInvalid,
       "time_limit", "-5 s", "> 0"},
      {"time limit of mixed signs", Evaluate([](auto& m) {
         m.mutable_time_limit()->set_seconds(5);
         m.mutable_time_limit()->set_nanos(-1);
       }),
       kInvalid, "time_limit", "-1 ns", "valid duration"},
      {"warm start for too many contexts", Evaluate([](auto& m) {
         m.mutable_warm_start()->add_contexts();
         m.mutable_warm_start()->add_contexts();
       }),
       kInvalid, "warm_start.contexts", "has 2", "each context, 1"},
      {"warm start too short",
       Evaluate([](auto& m) { *m.mutable_warm_start()->add_contexts()->mutable_value() = Reals({1}); }), kInvalid,
       "warm_start.contexts[0].value", "has 1", "[2] = 2"},
      {"warm start infinite", Evaluate([](auto& m) {
         *m.mutable_warm_start()->add_contexts()->mutable_adjoint() = Reals({1, kInf});
       }),
       kInvalid, "warm_start.contexts[0].adjoint", "entry 1 is inf", "finite"},
      {"many small terms that need much memory", Evaluate([](auto& m) {
         constexpr int kActions = 20'000;
         auto& context = *m.mutable_problem()->mutable_contexts(0);
         auto& e = *context.mutable_environment();
         e.Clear();
         e.set_num_states(1);
         e.set_num_actions(kActions);
         *e.mutable_transitions()->mutable_dense() = Reals(std::vector<double>(kActions, 1.0));
         context.clear_reward();
         context.clear_objective();
         for (int i = 0; i < 2000; ++i) context.add_objective()->mutable_separable();
       }),
       kExhausted, "memory_budget", "MiB", "--memory_budget"},
      {"a direct method for too many states", Solve([](auto& m) {
         auto& e = *m.mutable_problem()->mutable_contexts(0)->mutable_environment();
         m.mutable_problem()->mutable_contexts(0)->clear_reward();
         const int states = 100'000;
         e.Clear();
         e.set_num_states(states);
         e.set_num_actions(1);
         auto& s = *e.mutable_transitions()->mutable_sparse();
         s.set_rows(states);
         s.set_cols(states);
         *s.mutable_offsets() = MakeArray(std::vector<uint32_t>(states + 1));
         *s.mutable_columns() = MakeArray(std::vector<uint32_t>());
         *s.mutable_values() = Reals({});
         m.mutable_lower_level()->set_method(v1::LOWER_LEVEL_METHOD_NEWTON_DIRECT);
       }),
       kInvalid, "lower_level.method", "100000 states", "limited to 2000"},
      {"too many parameters to hold", Solve([](auto& m) { m.mutable_problem()->set_num_parameters(2'147'483'647); }),
       kExhausted, "memory_budget", "MiB", "--memory_budget"},
      {"validate_only of a bad request", Solve([](auto& m) {
         m.set_validate_only(true);
         m.mutable_problem()->mutable_contexts(0)->set_discount(2);
       }),
       kInvalid, "problem.contexts[0].discount", "is 2", "[0, 1)"},
      {"follower without contexts", Solve([](auto& m) { m.mutable_problem()->clear_contexts(); }), kInvalid,
       "problem.contexts", "empty", "at least one"},
      {"cotangents for too many contexts", PullBack([](auto& m) {
         m.add_cotangents();
         m.add_cotangents();
       }),
       kInvalid, "cotangents", "has 2", "each context, 1"},
      {"cotangent too short", PullBack([&](auto& m) {
         cotangent(m, false, Reals({1, 2}));
       }),
       kInvalid, "cotangents[0].policy", "has 2", "[2, 2]"},
      {"cotangent not a number", PullBack([](auto& m) {
         *m.add_cotangents()->mutable_value() = Reals({1, kNan});
       }),
       kInvalid, "cotangents[0].value", "entry 1 is nan", "finite"},
      {"cotangent of an unavailable action", PullBack([&](auto& m) {
         cotangent(m, true, Reals({1, 2, 3, 4}));
       }),
       kInvalid, "cotangents[0].policy", "entry 1 (s=0, a=1) is 2", "must be 0"},
      {"step of differences", Check([](auto& m) { m.set_step(2); }), kInvalid, "step", "is 2", "[1e-8, 1]"},
      {"step not a number", Check([](auto& m) { m.set_step(kNan); }), kInvalid, "step", "nan", "[1e-8, 1]"},
      {"directions negative", Check([](auto& m) { m.set_directions(-1); }), kInvalid, "directions", "is -1", "10000"},
      {"directions too many", Check([](auto& m) { m.set_directions(10'001); }), kInvalid, "directions", "10001",
       "10000"},
      {"no method", Optimise([](auto& m) { m.clear_method(); }), kInvalid, "method", "absent", "m_sobirl"},
      {"step size zero", Optimise([](auto& m) { m.mutable_m_sobirl()->set_step_size(0); }), kInvalid,
       "m_sobirl.step_size", "is 0", "> 0"},
      {"sweeps zero", Optimise([](auto& m) { m.mutable_m_sobirl()->set_sweeps(0); }), kInvalid, "m_sobirl.sweeps",
       "is 0", ">= 1"},
      {"zeta negative", Optimise([](auto& m) { m.mutable_m_sobirl()->set_zeta(-1); }), kInvalid, "m_sobirl.zeta",
       "is -1", "> 0"},
      {"zeta that must diverge", Optimise([](auto& m) { m.mutable_m_sobirl()->set_zeta(1e6); }), kInvalid,
       "m_sobirl.zeta", "1e+06", "lambda_max"},
      {"unknown adjoint step", Optimise([](auto& m) {
         m.mutable_m_sobirl()->set_adjoint_step(static_cast<v1::MSobirlOptions::AdjointStep>(8));
       }),
       kInvalid, "m_sobirl.adjoint_step", "is 8", "ADJOINT_STEP_L1"},
      {"fixed step infinite", Optimise([](auto& m) { m.mutable_projected_gradient()->set_step_size(kInf); }), kInvalid,
       "projected_gradient.step_size", "inf", "> 0"},
      {"no memory", Optimise([](auto& m) { m.mutable_quasi_newton()->set_memory(0); }), kInvalid, "quasi_newton.memory",
       "is 0", "[1, 100]"},
      {"too much memory", Optimise([](auto& m) { m.mutable_quasi_newton()->set_memory(2'000'000'000); }), kInvalid,
       "quasi_newton.memory", "2000000000", "[1, 100]"},
      {"more pairs than memory", Optimise([&](auto& m) {
         pairs(m, Reals({1, 1}), Reals({1, 1}));
         m.mutable_quasi_newton()->set_memory(1);
       }),
       kInvalid, "quasi_newton.state.steps", "has 2", "memory = 1"},
      {"pairs of unequal number", Optimise([&](auto& m) {
         pairs(m, Reals({1, 1}), Reals({1}));
       }),
       kInvalid, "quasi_newton.state.gradient_changes", "[1, 1]", "[2, 1]"},
      {"pair of another problem", Optimise([&](auto& m) {
         pairs(m, Reals({1, 1}, {1, 2}), Reals({1, 1}, {1, 2}));
       }),
       kInvalid, "quasi_newton.state.steps.shape", "[1, 2]", "[2, 1]"},
      {"pair not a number", Optimise([&](auto& m) { pairs(m, Reals({1}), Reals({kNan})); }), kInvalid,
       "quasi_newton.state.gradient_changes", "entry 0 is nan", "finite"},
      {"no products", Optimise([](auto& m) { m.mutable_truncated_newton()->set_max_products(0); }), kInvalid,
       "truncated_newton.max_products", "is 0", "[1, 1000]"},
      {"too many products", Optimise([](auto& m) { m.mutable_truncated_newton()->set_max_products(2'000'000'000); }),
       kInvalid, "truncated_newton.max_products", "2000000000", "[1, 1000]"},
      {"pair that curves down", Optimise([&](auto& m) { pairs(m, Reals({1}), Reals({-2})); }), kInvalid,
       "quasi_newton.state.gradient_changes", "is -2", "> 1e-10"},
      {"no islands", Optimise([](auto& m) { m.mutable_portfolio()->set_islands(0); }), kInvalid, "portfolio.islands",
       "is 0", "[1, 256]"},
      {"too few evaluations a round", Optimise([](auto& m) { m.mutable_portfolio()->set_evaluations_per_round(9); }),
       kInvalid, "portfolio.evaluations_per_round", "is 9", "[10, 1000000]"},
      {"no patience", Optimise([](auto& m) { m.mutable_portfolio()->set_patience(0); }), kInvalid, "portfolio.patience",
       "is 0", "[1, 1000000]"},
      {"too many optima", Optimise([](auto& m) { m.mutable_portfolio()->set_max_optima(257); }), kInvalid,
       "portfolio.max_optima", "is 257", "[0, 256]"},
      {"gradient tolerance negative", Optimise([](auto& m) { m.set_gradient_tolerance(-1); }), kInvalid,
       "gradient_tolerance", "is -1", ">= 0"},
      {"iterations negative", Optimise([](auto& m) { m.set_max_iterations(-1); }), kInvalid, "max_iterations", "is -1",
       ">= 0"},
      {"evaluations zero", Optimise([](auto& m) { m.set_max_evaluations(0); }), kInvalid, "max_evaluations", "is 0",
       ">= 1"},
      {"progress negative", Optimise([](auto& m) { m.set_progress_every(-1); }), kInvalid, "progress_every", "is -1",
       ">= 0"},
      {"start not a number", Optimise([](auto& m) { *m.mutable_parameters() = Reals({kNan}); }), kInvalid, "parameters",
       "nan", "finite"},
  };
}

}  // namespace bilevel::server::malformed
